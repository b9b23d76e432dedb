"""Dependency profiles: how much each role's tokens depend on what their contrast takes away, from first to last."""

from dataclasses import dataclass, field
from typing import Any

import torch

from srpo.roles import Role

BINS = 10
ROLES = (Role.PERCEPTION, Role.REASONING)
Profile = dict[str, dict[str, Any]]


@dataclass
class DependencyProfile:
    """Mean gap by role and relative position, over any number of batches.

        bin of the k-th of n tokens of a role in a rollout, k = 0 ... n - 1:  floor(k · bins / n)

    Attributes:
        bins: positions that are told apart.
        sums: (roles, bins) sum of gaps in nats.
        counts: (roles, bins) number of tokens.
    """

    bins: int = BINS
    sums: torch.Tensor = field(init=False)
    counts: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"bins {self.bins} must be 1 or more; 10 is usual")
        self.sums = torch.zeros(len(ROLES), self.bins, dtype=torch.float64)
        self.counts = torch.zeros(len(ROLES), self.bins, dtype=torch.long)

    def add(self, gaps: torch.Tensor, roles: torch.Tensor) -> None:
        """Add the (B, T) gaps and (B, T) roles of some rollouts; gaps that are not finite are left out."""
        if gaps.shape != roles.shape or gaps.dim() != 2:
            raise ValueError(f"gaps {tuple(gaps.shape)} and roles {tuple(roles.shape)} must share one shape (B, T)")
        gaps, roles = gaps.detach().double().cpu(), roles.cpu()
        for i, role in enumerate(ROLES):
            of_role = roles == role  # (B, T)
            place = of_role.long().cumsum(1) - 1
            bins = place * self.bins // of_role.sum(1, keepdim=True).clamp(min=1)
            counted = of_role & gaps.isfinite()
            self.sums[i].index_add_(0, bins[counted], gaps[counted])
            self.counts[i] += torch.bincount(bins[counted], minlength=self.bins)

    def result(self) -> Profile:
        """By role: "overall" mean gap in nats, "mean" gap and "count" of tokens of each bin; None for no token."""
        return {
            role.name.lower(): {
                "overall": _mean(sum(sums), sum(counts)),
                "mean": [_mean(s, n) for s, n in zip(sums, counts, strict=True)],
                "count": counts,
            }
            for role, sums, counts in zip(ROLES, self.sums.tolist(), self.counts.tolist(), strict=True)
        }


def dependency_profile(gaps: torch.Tensor, roles: torch.Tensor, bins: int = BINS) -> Profile:
    """The profile of one batch of rollouts; see `DependencyProfile`."""
    profile = DependencyProfile(bins)
    profile.add(gaps, roles)
    return profile.result()


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None
