"""PAPO's perception term: not a credit but a part of the loss, so its corrupted forward pass belongs to the update.

Axes: B rollouts of a micro-batch, T completion tokens.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from srpo.assignment import BatchView
from srpo.contrast import TOKEN_TYPE_INPUTS
from srpo.metrics import Totals
from srpo.neighbours import k3

ROWS = "rollout_index"  # in TRL's batch: (B,) place of each rollout in its generation batch


@dataclass(frozen=True)
class Forward:
    """What a forward pass says of the completion tokens: log-probabilities and entropies in nats, (B, T) each."""

    log_probs: torch.Tensor
    entropies: torch.Tensor


def perception_term(
    seen: Forward,
    corrupted: Forward,
    mask: torch.Tensor,
    has_image: torch.Tensor,
    normalizer: torch.Tensor | float,
    *,
    gamma: float,
    entropy_coef: float,
) -> tuple[torch.Tensor, Totals]:
    """The part that PAPO adds to the loss of a micro-batch, and its metrics.

        L = (-γ Σ k3(log π(y_t | Ĩ) - log π(y_t | I)) + η Σ (H[π(· | I)] + H[π(· | Ĩ)])) / normalizer

    The sums are over completion tokens of rollouts with an image; of the others, only H[π(· | x)] counts. k3 is clamped
    at 10 nats, above which a token has no gradient.

    Args:
        seen: under the original image, with gradient.
        corrupted: under the corrupted image, with or without gradient.
        mask: (B, T) completion tokens.
        has_image: (B,) bool.
        normalizer: tokens that the loss is a mean over.
        gamma: γ.
        entropy_coef: η.

    Source: arXiv 2507.06448 (implicit perception loss, double entropy loss). Departs from it: entropies are those of
    the whole distribution, where its code takes -log π of the sampled token, and the mean is over the tokens of the
    generation batch. As in its code, no gradient flows through the corrupted pass unless asked for.
    """
    mask = mask.to(seen.log_probs.dtype)
    with_image = mask * has_image.unsqueeze(1)
    kl = (k3(corrupted.log_probs - seen.log_probs) * with_image).sum()
    entropy, corrupted_entropy = (seen.entropies * mask).sum(), (corrupted.entropies * with_image).sum()
    loss = (entropy_coef * (entropy + corrupted_entropy) - gamma * kl) / normalizer
    tokens = with_image.sum()
    return loss, {
        "srpo/papo/kl": (kl.detach(), tokens),
        "srpo/papo/corrupted_entropy": (corrupted_entropy.detach(), tokens),
    }


class PerceptionLoss:
    """PAPO's term for the micro-batches of a run, whatever their number and however often each is trained on.

    The trainer hands in each generation batch, and the forward pass that its own loss made of a micro-batch; this adds
    one under the corrupted image. Nothing is written into the micro-batch but `ROWS`.

    Args:
        settings: an `SRPOConfig`.
        processes: ranks of the run.
    """

    def __init__(self, settings: Any, processes: int) -> None:
        self._settings, self._processes = settings, processes
        self._generation: BatchView | None = None
        self._seen: Forward | None = None
        self._totals: Totals = {}

    def generated(self, view: BatchView, batch: dict[str, Any]) -> None:
        """Take a generation batch; its tensors get `ROWS`, by which TRL's shuffling and splitting are traced back."""
        self._generation = view
        batch[ROWS] = torch.arange(len(batch["completion_ids"]), device=batch["completion_ids"].device)

    def saw(self, log_probs: torch.Tensor, entropies: torch.Tensor) -> None:
        """Take the trainer's own forward pass over a micro-batch."""
        self._seen = Forward(log_probs, entropies)

    def term(
        self, log_prob_function: Callable[..., tuple[Any, ...]], model: Any, inputs: Mapping[str, Any], accumulated: int
    ) -> torch.Tensor:
        """The term of a micro-batch; over a step it is a mean over tokens, as in `loss_type="dapo"`.

        Args:
            log_prob_function: TRL's `_get_per_token_logps_and_entropies`.
            model: the policy as it trains.
            inputs: the micro-batch that was seen last.
            accumulated: micro-batches of an optimizer step.
        """
        assert self._generation is not None
        assert self._seen is not None
        seen, self._seen = self._seen, None
        with nullcontext() if self._settings.papo_corrupted_gradient else torch.no_grad():
            corrupted = self._corrupted_forward(log_prob_function, model, inputs, self._generation)
        tokens = inputs["num_items_in_batch"].clamp(min=1) / self._processes
        loss, totals = perception_term(
            seen,
            corrupted,
            inputs["completion_mask"] * inputs.get("tool_mask", 1),
            self._generation.has_image[inputs[ROWS]],
            tokens * accumulated / self._settings.steps_per_generation,
            gamma=self._settings.papo_gamma,
            entropy_coef=self._settings.papo_entropy_coef,
        )
        for name, pair in totals.items():
            before = self._totals.get(name, (0.0, 0.0))
            self._totals[name] = before[0] + pair[0], before[1] + pair[1]
        return self._settings.credit_strength * loss

    def metrics(self) -> Totals:
        """Metrics of the micro-batches since the last call."""
        totals, self._totals = self._totals, {}
        return totals

    def _corrupted_forward(
        self, log_prob_function: Callable[..., tuple[Any, ...]], model: Any, inputs: Mapping[str, Any], view: BatchView
    ) -> Forward:
        log_probs, entropies, _ = log_prob_function(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1),
            inputs["completion_ids"].size(1),
            compute_entropy=True,
            num_images=inputs.get("num_images"),
            num_tiles=inputs.get("num_tiles"),
            **view.corrupted(inputs[ROWS].tolist()),
            **{name: inputs[name] for name in TOKEN_TYPE_INPUTS if name in inputs},
        )
        return Forward(log_probs, entropies)
