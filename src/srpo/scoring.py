"""Log-probabilities of completions under the contexts of the contrasts: the plain reference, and the choice of a way.

"plain" runs whole forward passes over every row. "shared" (`srpo.shared_scoring`) gives the same log-probabilities for
a fraction of the time. Axes: B rollouts, T completion tokens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate.logging import get_logger
from torch import nn

from srpo.contrast import Context
from srpo.prompt_cache import sharing_obstacle
from srpo.shared_scoring import shared_log_probs

logger = get_logger(__name__)

LogProbFunction = Callable[..., tuple[torch.Tensor, ...]]

MIN_TOKENS = 2048  # a pass with fewer leaves a GPU idle; nothing is kept for a backward pass
TOLERANCE = {torch.float32: 1e-3}
HALF_PRECISION_TOLERANCE = 5e-2
FALLBACK_WARNING = (
    'scoring="shared" does not work with this model and falls back to scoring="plain", which is exact but runs whole '
    "forward passes over every rollout: {reason}"
)


@torch.no_grad()
def plain_log_probs(
    log_prob_function: LogProbFunction, model: nn.Module, context: Context, batch_size: int
) -> torch.Tensor:
    """Log-probabilities of the original completion tokens under a context, by whole forward passes over every row.

    The number of passes depends on B and `batch_size` alone, never on the rollouts, so all ranks make as many.

    Args:
        log_prob_function: `GRPOTrainer._get_per_token_logps_and_entropies`, which divides logits by the sampling
            temperature.
        model: the policy.
        context: the rollouts and what the policy sees.
        batch_size: rows per forward pass.

    Returns:
        (B, T) log-probabilities in nats, float32; NaN at tokens that the context does not contain.
    """
    passes = []
    with evaluation_mode(model):
        for start in range(0, context.prompt_ids.size(0), batch_size):
            part = context.rows(list(range(start, min(start + batch_size, context.prompt_ids.size(0)))))
            log_probs, *_ = log_prob_function(
                model,
                torch.cat([part.prompt_ids, part.completion_ids], dim=1),
                torch.cat([part.prompt_mask, part.completion_mask], dim=1),
                part.completion_ids.size(1),
                num_images=part.num_images,
                num_tiles=part.num_tiles,
                **part.vision(range(part.prompt_ids.size(0))),
                **part.token_types,
            )
            passes.append(log_probs.float())
    aligned = torch.cat(passes).gather(1, context.position.clamp(min=0))  # (B, T)
    return aligned.masked_fill(context.position < 0, torch.nan)


class Scorer:
    """Scores the contexts of a batch, in the way asked for or, where a model cannot share prompts, in the plain way.

    Before the first batch, and before the first one with an image, "shared" is compared with "plain" on up to three
    rollouts: a model that is not what it seems falls back with one warning. All ranks decide alike.

    Args:
        log_prob_function: `GRPOTrainer._get_per_token_logps_and_entropies`.
        shared: whether to share encoded prompts.
        batch_size: rows of a plain forward pass.
        max_tokens: tokens of a shared forward pass; None for half as many as a plain one has, which leaves room for the
            keys and values of the prompts, but no less than `MIN_TOKENS`.
        agree: the elementwise maximum of lists of counts over all ranks.
        autocast: context for shared forward passes; the plain ones have their own.
    """

    def __init__(
        self,
        log_prob_function: LogProbFunction,
        *,
        shared: bool,
        batch_size: int,
        max_tokens: int | None = None,
        agree: Callable[[list[int]], list[int]] = list,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self.log_prob_function = log_prob_function
        self.batch_size, self.max_tokens, self.agree, self.autocast = batch_size, max_tokens, agree, autocast
        self.shared = shared
        self._checked: set[bool] = set()  # whether a rollout with an image was among those compared

    def __call__(
        self, model: Any, contexts: Mapping[str, Context], wanted: Mapping[str, torch.Tensor], groups: Sequence[int]
    ) -> dict[str, torch.Tensor]:
        """By name, (B, T) log-probabilities in nats of at least the wanted tokens; NaN where nothing was scored.

        Args:
            model: the policy, as `GRPOTrainer` calls it.
            contexts: by name, the rollouts and what the policy sees.
            wanted: by name, (B, T) tokens of the original completion that are needed.
            groups: (B,) for each rollout, the first rollout of this process with the same prompt.
        """
        context = next(iter(contexts.values()))
        if self.shared and self.agree([int(self._must_check(context))])[0]:
            reason = sharing_obstacle(model) or self._difference_to_plain(model, context, groups)
            if self.agree([int(reason is not None)])[0]:
                self.shared = False
                logger.warning(FALLBACK_WARNING.format(reason=reason or "another process found so"))
        if self.shared:
            return self._shared(model, contexts, wanted, groups)
        return {name: self._plain(model, context) for name, context in contexts.items()}

    def _plain(self, model: Any, context: Context) -> torch.Tensor:
        return plain_log_probs(self.log_prob_function, model, context, self.batch_size)

    def _shared(
        self, model: Any, contexts: Mapping[str, Context], wanted: Mapping[str, torch.Tensor], groups: Sequence[int]
    ) -> dict[str, torch.Tensor]:
        any_context = next(iter(contexts.values()))
        tokens_of_a_plain_pass = self.batch_size * (any_context.prompt_ids.size(1) + any_context.completion_ids.size(1))
        with evaluation_mode(model):
            return shared_log_probs(
                model,
                contexts,
                wanted,
                groups,
                max_tokens=self.max_tokens or max(MIN_TOKENS, tokens_of_a_plain_pass // 2),
                agree=self.agree,
                autocast=self.autocast,
            )

    def _must_check(self, context: Context) -> bool:
        """Whether this batch can show more than what was compared so far."""
        tokens = context.completion_mask.any(1).tolist()
        comparable = {image for image, any_token in zip(context.has_image, tokens, strict=True) if any_token}
        return bool(comparable) and True not in self._checked and not comparable <= self._checked

    def _difference_to_plain(self, model: Any, context: Context, groups: Sequence[int]) -> str | None:
        """What is wrong with shared log-probabilities of a few rollouts.

        They are the one with the longest prompt (with an image, if any has one), another of its group, and the one with
        the shortest prompt, as far as they have tokens to compare.
        """
        lengths = context.prompt_mask.sum(1).tolist()
        usable = [row for row, any_token in enumerate(context.completion_mask.any(1).tolist()) if any_token]
        usable = sorted(usable, key=lambda row: (context.has_image[row], lengths[row])) or [0]
        mates = [row for row in usable if groups[row] == groups[usable[-1]]]
        rows = list(dict.fromkeys((usable[-1], mates[0], usable[0])))
        self._checked |= {context.has_image[row] for row in rows}
        part, same = context.rows(rows), [groups[row] for row in rows]
        wanted = part.completion_mask.bool()
        expected = self._plain(model, part)
        try:
            found = self._shared(model, {"check": part}, {"check": wanted}, [same.index(group) for group in same])[
                "check"
            ]
        except torch.OutOfMemoryError:
            raise
        except (
            AssertionError,
            AttributeError,
            IndexError,
            KeyError,
            NotImplementedError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            return f"its forward pass does not accept a prompt cache ({type(error).__name__}: {error})"
        difference = (found - expected).abs()[wanted]
        mean = difference.mean().item() if difference.numel() else 0.0
        with self.autocast():
            low_precision = torch.is_autocast_enabled(expected.device.type)
        dtype = torch.bfloat16 if low_precision else next(model.parameters()).dtype
        allowed = TOLERANCE.get(dtype, HALF_PRECISION_TOLERANCE)
        if mean <= allowed:
            return None
        return f"its log-probabilities differ by {mean:.2g} nats on average, where rounding explains {allowed}"


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Turn dropout off for the scope, then give every module its own mode back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def has_dropout(model: nn.Module) -> bool:
    """Whether a forward pass in training mode is random: some dropout layer or attention dropout is above zero."""
    if any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in model.modules()):
        return True
    configs = [getattr(m, "config", None) for m in model.modules()]
    return any((getattr(config, "attention_dropout", 0) or 0) > 0 for config in configs)
