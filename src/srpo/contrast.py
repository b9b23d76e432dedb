"""The contrasts of a rollout batch, built as data: which contexts to score, and which differences are gaps.

A contrast compares the log-probability of the same completion token under two contexts. This module builds the contexts
and subtracts; `srpo.scoring` runs the model. Axes: B rollouts, P prompt tokens, T completion tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from srpo.pixels import rows_with_images, select_vision
from srpo.roles import Role
from srpo.vision import VISION_INPUTS

TOKEN_TYPE_INPUTS = ("token_type_ids", "mm_token_type_ids")

CONTEXTS = ("original", "corrupted", "cut", "blind_cut", "hinted", "text_only")

VisionOfRows = Callable[[Sequence[int]], Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class Context:
    """Completions and what the policy sees before and while it says them.

    Attributes:
        prompt_ids: (B, P) prompt tokens, padded on the left.
        prompt_mask: (B, P) 1 for prompt tokens, 0 for padding.
        completion_ids: (B, T) completion tokens, padded on the right.
        completion_mask: (B, T) 1 for completion tokens, 0 for padding.
        vision: function from indices of rollouts to the model's image inputs for them. Contexts with one and the same
            function have the same prompt.
        token_types: per-token model inputs over prompt and completion, (B, P + T).
        num_images: images of each rollout, or None where the batch has none.
        num_tiles: tiles of each rollout, for layouts that index pixels by tile.
        has_image: whether each rollout's prompt has an image.
        position: (B, T) index in `completion_ids` of each token of the original completion; -1 where it was cut.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    completion_ids: torch.Tensor
    completion_mask: torch.Tensor
    vision: VisionOfRows
    token_types: Mapping[str, torch.Tensor]
    num_images: list[int] | None
    num_tiles: list[int] | None
    has_image: list[bool]
    position: torch.Tensor

    @classmethod
    def from_batch(cls, batch: Mapping[str, Any]) -> "Context":
        """The context in which the rollouts of a generation batch of TRL's GRPOTrainer were sampled."""
        ids = batch["completion_ids"]
        vision = {k: batch[k] for k in VISION_INPUTS if k in batch}
        num_images, num_tiles = batch.get("num_images"), batch.get("num_tiles")
        return cls(
            prompt_ids=batch["prompt_ids"],
            prompt_mask=batch["prompt_mask"],
            completion_ids=ids,
            completion_mask=batch["completion_mask"],
            vision=partial(select_vision, vision, num_images, num_tiles),
            token_types={k: batch[k] for k in TOKEN_TYPE_INPUTS if k in batch},
            num_images=num_images,
            num_tiles=num_tiles,
            has_image=rows_with_images(vision, num_images, ids.size(0)),
            position=torch.arange(ids.size(1), device=ids.device).expand_as(ids),
        )

    def rows(self, index: list[int]) -> "Context":
        """The context of some of the rollouts."""
        return Context(
            prompt_ids=self.prompt_ids[index],
            prompt_mask=self.prompt_mask[index],
            completion_ids=self.completion_ids[index],
            completion_mask=self.completion_mask[index],
            vision=lambda rows: self.vision([index[row] for row in rows]),
            token_types={name: value[index] for name, value in self.token_types.items()},
            num_images=self.num_images and [self.num_images[row] for row in index],
            num_tiles=self.num_tiles and [self.num_tiles[row] for row in index],
            has_image=[self.has_image[row] for row in index],
            position=self.position[index],
        )

    def without(self, dropped: torch.Tensor) -> "Context":
        """The same completions with some tokens physically cut out (not masked, so packed attention works too).

        Args:
            dropped: (B, T) bool, True for tokens to cut.
        """
        keep = self.completion_mask.bool() & ~dropped  # (B, T)
        order = torch.argsort((~keep).int(), dim=1, stable=True)  # kept tokens first, in order
        position = torch.where(keep, keep.long().cumsum(1) - 1, -1)
        mask = keep.gather(1, order)
        pad = self.completion_ids.masked_fill(~keep, 0)  # what is padding is masked out; any id will do
        return replace(
            self,
            completion_ids=pad.gather(1, order),
            completion_mask=mask.to(self.completion_mask.dtype),
            position=position,
        )


def with_prompts(original: Context, prompts: Sequence[Sequence[int]], images: bool) -> Context:
    """The same completions behind other prompts.

    Args:
        original: the rollouts as sampled.
        prompts: per rollout, the tokens of its other prompt, with those of its images where it has them.
        images: whether the other prompts have the images of the original ones, or none.
    """

    def padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
        device, dtype = original.prompt_ids.device, original.prompt_ids.dtype
        return torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device, dtype=dtype)

    width = max(len(prompt) for prompt in prompts)
    token_types = {}
    for name, value in original.token_types.items():  # the type of a token follows from its id
        of_prompts = value[:, : original.prompt_ids.size(1)]
        typed = of_prompts != 0
        special = dict(zip(original.prompt_ids[typed].tolist(), of_prompts[typed].tolist(), strict=True))
        types = padded([[special.get(token, 0) for token in prompt] for prompt in prompts]).to(value.dtype)
        token_types[name] = torch.cat([types, value.new_zeros(original.completion_ids.shape)], 1)
    changed = replace(
        original,
        prompt_ids=padded(prompts),
        prompt_mask=padded([[1] * len(prompt) for prompt in prompts]).to(original.prompt_mask.dtype),
        token_types=token_types,
        vision=lambda rows: original.vision(rows) if images else {},  # a function of its own: another prompt
    )
    if images:
        return changed
    return replace(changed, num_images=None, num_tiles=None, has_image=[False] * len(prompts))


def role_contexts(
    original: Context, corrupted_vision: VisionOfRows, roles: torch.Tensor, names: Sequence[str]
) -> dict[str, Context]:
    """Contexts of the rollouts that differ in their image, or in the perception they read back.

    Args:
        original: the rollouts as sampled.
        corrupted_vision: function from indices of rollouts to the image inputs of their corrupted images, in the
            layout of the original ones.
        roles: (B, T) token roles.
        names: "original", "corrupted" (same tokens, corrupted image), "cut" (perception tokens cut out), "blind_cut"
            (the same under the corrupted image); others are left out.
    """
    corrupted = replace(original, vision=corrupted_vision)
    build: dict[str, Callable[[], Context]] = {
        "original": lambda: original,
        "corrupted": lambda: corrupted,
        "cut": lambda: original.without(roles == Role.PERCEPTION),
        "blind_cut": lambda: corrupted.without(roles == Role.PERCEPTION),
    }
    return {name: build[name]() for name in names if name in build}


def cut_context(reasoning_contrast: str) -> str:
    """Name of the context without the perception: under the corrupted image for "blind"."""
    return "blind_cut" if reasoning_contrast == "blind" else "cut"


def tokens_to_score(
    roles: torch.Tensor, reasoning_contrast: str, has_image: Sequence[bool] | torch.Tensor
) -> dict[str, torch.Tensor]:
    """For each context, the (B, T) tokens of the original completion whose log-probability a gap needs.

    Without an image, (B,) `has_image` false, there is nothing to corrupt, and the gap of a perception token is 0 by
    definition.
    """
    reasoning = roles == Role.REASONING
    perception = _perception(roles, has_image)
    if reasoning_contrast == "blind":
        return {"original": perception, "corrupted": perception | reasoning, "blind_cut": reasoning}
    return {"original": perception | reasoning, "corrupted": perception, "cut": reasoning}


def contrast_gaps(
    log_probs: Mapping[str, torch.Tensor],
    roles: torch.Tensor,
    reasoning_contrast: str,
    has_image: Sequence[bool] | torch.Tensor,
) -> torch.Tensor:
    """Log-probability gaps, one per role token, 0 at neutral tokens.

        t in P:  s_t = log π(y_t | x, I, y_<t) - log π(y_t | x, Ĩ, y_<t)
        t in R:  s_t = log π(y_t | x, I, y_<t) - log π(y_t | x, I, y_<t \\ P)       ("blind": Ĩ in place of I)

    Args:
        log_probs: (B, T) log-probabilities in nats under "original", "corrupted" and "cut" ("blind_cut" for "blind"),
            at the tokens of the original completion.
        roles: (B, T) token roles.
        reasoning_contrast: "drop" or "blind".
        has_image: (B,) bool, whether each prompt has an image; where it has none, perception gaps are 0.

    Returns:
        (B, T) gaps in nats; where either log-probability is not finite the gap is not finite either.

    Source: arXiv 2605.07274; cutting the perception out and "blind" are [choice]s.
    """
    with_perception = log_probs["corrupted" if reasoning_contrast == "blind" else "original"]
    gaps = torch.zeros_like(log_probs["original"])
    gaps = torch.where(_perception(roles, has_image), log_probs["original"] - log_probs["corrupted"], gaps)
    return torch.where(roles == Role.REASONING, with_perception - log_probs[cut_context(reasoning_contrast)], gaps)


def _perception(roles: torch.Tensor, has_image: Sequence[bool] | torch.Tensor) -> torch.Tensor:
    """(B, T) perception tokens of rollouts whose prompt has an image."""
    return (roles == Role.PERCEPTION) & torch.as_tensor(has_image, device=roles.device).unsqueeze(1)
