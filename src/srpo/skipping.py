"""Leave rollouts with A = 0 out of the update, where that is exact.

Such a rollout adds 0 to the loss and to every gradient, but for what the loss divides by. So its forward and backward
pass can be left out when the loss is then scaled by (what is left of the divisor) / (the whole divisor).
Axes: B rollouts, K kept, T completion tokens.
"""

from collections.abc import Callable
from typing import Any

import torch

from srpo.pixels import padded_per_rollout, select_vision
from srpo.vision import VISION_INPUTS

BY_ROLLOUTS = ("grpo", "dr_grpo", "sapo")  # divide by the rollouts of the micro-batch
BY_TOKENS = ("bnpo",)  # divides by the tokens of the micro-batch
BY_WHOLE_BATCH = ("cispo", "dapo")  # divide by tokens counted when the batch was generated
EXACT_LOSS_TYPES = (*BY_ROLLOUTS, *BY_TOKENS, *BY_WHOLE_BATCH)


def drop_zero_advantage(
    batch: dict[str, Any], loss_type: str, agree: Callable[[list[int]], list[int]] = list
) -> tuple[dict[str, Any], float | torch.Tensor]:
    """A micro-batch without its rollouts of A = 0, and the factor that its loss must be multiplied by.

        loss(batch) = factor * loss(kept)        factor = K / B, kept tokens / all tokens, or 1, by loss type

    Every parameter that had a gradient still gets one, if only zeros: where all rollouts have A = 0, and where none
    that is left has an image, the shortest (with an image) stays. So every rank runs the same modules, and the
    optimizer moves the vision tower by its momentum as it would have. Every rank keeps as many rollouts as the one that
    needs most, because TRL gathers a figure of each rollout from all ranks, which must be as many.

    Args:
        batch: a micro-batch as TRL's `_compute_loss` gets it; its tensors are (B, ...) but for the image inputs.
        loss_type: one of `EXACT_LOSS_TYPES`.
        agree: the elementwise maximum of a list of counts over all ranks.
    """
    advantages = batch["advantages"]  # (B,) or (B, T)
    mask = batch["completion_mask"] * batch.get("tool_mask", 1)  # (B, T)
    keep = (advantages != 0).reshape(len(advantages), -1).any(1)  # (B,)
    pictured = _with_image(batch, len(advantages)).to(keep.device)  # (B,)
    lengths = mask.sum(1)  # (B,)
    if pictured.any() and not (keep & pictured).any():
        keep[lengths.masked_fill(~pictured, mask.size(1) + 1).argmin()] = True
    (count,) = agree([max(1, int(keep.sum()))])
    spare = lengths.masked_fill(keep, mask.size(1) + 1).argsort(stable=True)  # the shortest rollouts to drop first
    keep[spare[: count - int(keep.sum())]] = True
    if keep.all():
        return batch, 1.0
    kept = keep.nonzero().flatten().tolist()
    vision = {name: batch[name] for name in VISION_INPUTS if name in batch}
    smaller = {name: _rows(value, kept) for name, value in batch.items() if name not in vision}
    smaller |= select_vision(vision, batch.get("num_images"), batch.get("num_tiles"), kept)
    if loss_type in BY_ROLLOUTS:
        return smaller, len(kept) / len(advantages)
    if loss_type in BY_TOKENS:
        return smaller, mask[kept].sum().clamp(min=1) / mask.sum().clamp(min=1)
    return smaller, 1.0


def _with_image(batch: dict[str, Any], count: int) -> torch.Tensor:
    """(B,) bool: the rollouts whose prompt has an image."""
    pixels = batch.get("pixel_values")
    if pixels is None:
        return torch.zeros(count, dtype=torch.bool)
    if padded_per_rollout(pixels):
        return pixels.flatten(1).any(1)
    return torch.tensor([images > 0 for images in batch["num_images"]])


def _rows(value: Any, kept: list[int]) -> Any:
    if isinstance(value, torch.Tensor):
        return value[kept] if value.dim() else value
    return [value[row] for row in kept] if isinstance(value, list) else value
