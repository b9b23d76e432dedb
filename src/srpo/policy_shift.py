"""How far the updates on a generation moved the policy: what makes learning rates of two methods comparable."""

from typing import Any

import torch

from srpo.assignment import BatchView
from srpo.metrics import Totals
from srpo.scoring import Scorer


class PolicyShift:
    """Scores each generation batch twice: when it was sampled, and before the next one is.

    Holds the inputs of one generation batch meanwhile.

    Args:
        scorer: log-probabilities of contexts.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._previous: tuple[BatchView, torch.Tensor, torch.Tensor] | None = None

    def remember(self, model: Any, view: BatchView, mask: torch.Tensor) -> None:
        """Keep a batch and its log-probabilities under the policy that sampled it.

        Args:
            model: the policy.
            view: the batch.
            mask: (B, T) bool, completion tokens.
        """
        old = view.old_log_probs if view.old_log_probs is not None else self._score(model, view, mask)
        self._previous = view, mask, old

    def measure(self, model: Any) -> Totals:
        """Metrics of the batch that was kept: nothing before the first.

        KL(π_old || π_new) by k3: mean over completion tokens of exp(d) - 1 - d,  d = log π_new - log π_old
        """
        if self._previous is None:
            return {}
        view, mask, old = self._previous
        d = self._score(model, view, mask).double() - old.double()  # (B, T)
        at = mask & torch.isfinite(d)
        return {"srpo/policy/kl": ((d.exp() - 1 - d)[at].sum(), at.sum())}

    def _score(self, model: Any, view: BatchView, mask: torch.Tensor) -> torch.Tensor:
        return self._scorer(model, {"original": view.original}, {"original": mask}, view.prompts.groups)["original"]
