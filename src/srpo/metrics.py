"""The figures that SRPO adds to a training step; docs/metrics.md has a line on each.

Every metric is a (sum, count) pair, so that ranks add up before they divide. Axes: B rollouts, T completion tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from srpo.roles import Role

Totals = dict[str, tuple[torch.Tensor | float, torch.Tensor | float]]


@dataclass(frozen=True)
class CreditBatch:
    """One generation batch of this process with its credit, in the order of `rows`.

    Attributes:
        step: optimizer steps done when the rollouts were sampled.
        rows: B data rows; the G rollouts of a prompt stand side by side.
        batch: TRL's tensors of the batch, with the (B, T) advantages that are trained on.
        rewards: per reward function, B rewards before weighting; None where a function did not apply.
        advantages: (B,) group-relative advantages before credit.
        learns: (B,) whether a rollout has an advantage, beyond what rounding leaves of 0.
        roles: (B, T) token roles.
        gaps: (B, T) contrast gaps in nats; 0 at tokens that the credit does not look at, in rollouts that do not learn,
            and throughout for "uniform" and "papo".
        weights: (B, T) token weights; 1 at these tokens.
        eos: tokens that end a reply.
        measures: whether the credit measures gaps at all; "uniform" and "papo" do not.
        corruption: what the contrast does to images, such as "patch_mask 0.6"; "" where the credit corrupts none.
        corrupted: index of a rollout -> its corrupted images, pixel by pixel those that are scored.
    """

    step: int
    rows: list[dict[str, Any]]
    batch: dict[str, Any]
    rewards: dict[str, list[float | None]]
    advantages: torch.Tensor
    learns: torch.Tensor
    roles: torch.Tensor
    gaps: torch.Tensor
    weights: torch.Tensor
    eos: Sequence[int]
    measures: bool
    corruption: str
    corrupted: Callable[[int], list[Image.Image]]


def role_metrics(roles: torch.Tensor, mask: torch.Tensor, learns: torch.Tensor) -> Totals:
    """Structured fraction, share of each role among completion tokens, share of rollouts with A = 0.

    Args:
        roles: (B, T) token roles.
        mask: (B, T) True for completion tokens.
        learns: (B,) whether a rollout has an advantage.
    """
    rollouts, tokens = roles.size(0), mask.sum()
    return {
        "srpo/structured/fraction": ((roles != Role.NEUTRAL).any(1).sum(), rollouts),
        "srpo/role/perception_share": ((roles == Role.PERCEPTION).sum(), tokens),
        "srpo/role/reasoning_share": ((roles == Role.REASONING).sum(), tokens),
        "srpo/advantage/zero_fraction": ((~learns).sum(), rollouts),
    }


def credit_metrics(roles: torch.Tensor, gaps: torch.Tensor, weights: torch.Tensor, clipped: torch.Tensor) -> Totals:
    """Mean gap and weight of each role, share of clipped weights.

    Args:
        roles: (B, T) token roles.
        gaps: (B, T) contrast gaps in nats.
        weights: (B, T) token weights.
        clipped: for each token that the credit weighs, whether its weight was clipped.
    """
    totals: Totals = {"srpo/weight/clipped_fraction": (clipped.sum(), clipped.numel())}
    finite_gaps = torch.where(torch.isfinite(gaps), gaps, 0.0)
    for role in (Role.PERCEPTION, Role.REASONING):
        of_role = roles == role
        name = role.name.lower()
        totals[f"srpo/gap/{name}_mean"] = ((finite_gaps * of_role).sum(), of_role.sum())
        totals[f"srpo/weight/{name}_mean"] = ((weights * of_role).sum(), of_role.sum())
    return totals
