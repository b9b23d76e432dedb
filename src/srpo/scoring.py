"""Log-probabilities of completions under a context. The plain way: whole forward passes, the reference for any other.

Axes: B rollouts, T completion tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from srpo.contrast import Context

LogProbFunction = Callable[..., tuple[torch.Tensor, ...]]


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
    prompt_and_completion = torch.cat([context.prompt_ids, context.completion_ids], dim=1)  # (B, P + T)
    attention_mask = torch.cat([context.prompt_mask, context.completion_mask], dim=1)  # (B, P + T)
    with evaluation_mode(model):
        log_probs, *_ = log_prob_function(
            model,
            prompt_and_completion,
            attention_mask,
            context.completion_ids.size(1),
            batch_size=batch_size,
            num_images=context.num_images,
            num_tiles=context.num_tiles,
            **context.vision,
            **context.token_types,
        )
    aligned = log_probs.float().gather(1, context.position.clamp(min=0))  # (B, T)
    return aligned.masked_fill(context.position < 0, torch.nan)


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
