"""Leave rollouts with A = 0 out of the update: their forward and backward passes, not what the loss is made of.

The log-probabilities of such a rollout are multiplied by A = 0, so any finite number in their place gives the same loss
and the same gradients, whatever the loss divides by. Axes: B rollouts, K run, T completion tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from srpo.pixels import rows_with_images, select_vision
from srpo.vision import VISION_INPUTS


@dataclass(frozen=True)
class RowsToRun:
    """Which rollouts of a micro-batch go through the model, and what stands in for the others.

    Attributes:
        rows: K rollouts.
        stand_in: (B, T) log-probabilities for the others: those of π_old where TRL has them (ratio 1), or 0.
    """

    rows: list[int]
    stand_in: torch.Tensor

    @classmethod
    def of(cls, batch: dict[str, Any]) -> "RowsToRun":
        """The rollouts of a micro-batch, as TRL's `_compute_loss` gets it, with A != 0.

        Every parameter that had a gradient still gets one, if only zeros: where all rollouts have A = 0, and where none
        that is left has an image, the shortest (with an image) stays. So every rank runs the same modules, and the
        optimizer moves the vision tower by its momentum as it would have.
        """
        advantages, mask = batch["advantages"], batch["completion_mask"]  # (B,) or (B, T); (B, T)
        keep = (advantages != 0).reshape(len(advantages), -1).any(1)  # (B,)
        vision = {name: batch[name] for name in VISION_INPUTS if name in batch}
        images = torch.tensor(rows_with_images(vision, batch.get("num_images"), len(keep)), device=keep.device)
        candidates = images if images.any() else torch.ones_like(keep)
        if not (keep & candidates).any():
            keep[mask.sum(1).masked_fill(~candidates, mask.size(1) + 1).argmin()] = True
        old = batch.get("old_per_token_logps")
        stand_in = torch.zeros_like(mask, dtype=torch.float32) if old is None else old
        return cls(keep.nonzero().flatten().tolist(), stand_in)

    def run(
        self,
        log_prob_function: Callable[..., tuple[Any, ...]],
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *,
        num_images: Sequence[int] | None = None,
        num_tiles: Sequence[int] | None = None,
        **options: Any,
    ) -> tuple[Any, ...]:
        """TRL's `_get_per_token_logps_and_entropies` over the K rollouts, spread out to B.

        The others get the mean entropy of those that ran, which leaves the logged mean as it is.
        """
        if len(self.rows) == len(input_ids):
            return log_prob_function(
                model, input_ids, attention_mask, logits_to_keep, num_images=num_images, num_tiles=num_tiles, **options
            )
        vision = {name: options.pop(name) for name in VISION_INPUTS if options.get(name) is not None}
        options |= {
            name: value[self.rows] if isinstance(value, torch.Tensor) else value for name, value in options.items()
        }
        log_probs, entropies, auxiliary = log_prob_function(
            model,
            input_ids[self.rows],
            attention_mask[self.rows],
            logits_to_keep,
            num_images=num_images and [num_images[row] for row in self.rows],
            num_tiles=num_tiles and [num_tiles[row] for row in self.rows],
            **select_vision(vision, num_images, num_tiles, self.rows),
            **options,
        )
        index = (torch.tensor(self.rows, device=log_probs.device),)
        log_probs = self.stand_in.to(log_probs.dtype).index_put(index, log_probs)
        if entropies is not None:
            mask = attention_mask[self.rows, -logits_to_keep:]
            mean = ((entropies * mask).sum() / mask.sum().clamp(min=1)).detach()
            entropies = mean.expand(log_probs.shape).index_put(index, entropies)
        return log_probs, entropies, auxiliary
