"""Alignment of gradients from their inner products: leave-one-out, paired differences, jackknife intervals.

Axes: V vectors (one a credit, and the gradient of a further reward where there is one), N batches.
"""

import math
from dataclasses import dataclass

import torch

from srpo.evaluation.student import t_quantile

MIN_BATCHES = 3


@dataclass(frozen=True)
class Products:
    """Inner products of the gradients of N batches in one space, in float64.

    Attributes:
        cross: (V, N, N) <g_v(b), t(b')> with the target gradient t of every batch.
        squared_norms: (V, N) <g_v(b), g_v(b)>.
        target: (N, N) <t(b), t(b')>.
    """

    cross: torch.Tensor
    squared_norms: torch.Tensor
    target: torch.Tensor


@dataclass(frozen=True)
class Interval:
    """An estimate with its standard error and its 95 % interval."""

    value: float
    error: float
    low: float
    high: float


def leave_one_out_cosines(products: Products) -> torch.Tensor:
    """cos(g_v(b), Σ_{b' ≠ b} t(b')) of every vector and batch, (V, N); 0 where a gradient is 0."""
    batches = products.target.size(0)
    without_itself = 1.0 - torch.eye(batches, dtype=torch.float64)
    dots = (products.cross * without_itself).sum(-1)  # (V, N)
    row_sums = products.target.sum(1)  # (N,)
    rest = row_sums.sum() - 2 * row_sums + products.target.diagonal()  # (N,) |Σ_{b' ≠ b} t(b')|²
    return _cosine(dots, products.squared_norms, rest)


def jackknife_means(products: Products) -> torch.Tensor:
    """Mean leave-one-out cosine of every vector with one batch j taken out altogether, (V, N) over j.

    Batch j leaves both roles: its own cosine, and its part in the targets of the others.
    """
    cross, target = products.cross, products.target
    batches = target.size(0)
    others = 1.0 - torch.eye(batches, dtype=torch.float64)  # (b, j)
    dots = (cross * others).sum(-1, keepdim=True) - cross  # (V, b, j) <g(b), Σ_{b' ≠ b, j} t(b')>
    row_sums = target.sum(1)
    rest = row_sums.sum() - 2 * row_sums + target.diagonal()  # (b,)
    with_j = row_sums.unsqueeze(0) - target  # (b, j) <t(j), Σ_{b' ≠ b} t(b')>
    rest_without_j = rest.unsqueeze(1) - 2 * with_j + target.diagonal().unsqueeze(0)  # (b, j)
    cosines = _cosine(dots, products.squared_norms.unsqueeze(2), rest_without_j)
    return (cosines * others).sum(1) / (batches - 1)


def alignments(products: Products) -> list[Interval]:
    """alignment(v) = mean over b of cos(g_v(b), Σ_{b' ≠ b} t(b')), for every vector."""
    return _intervals(leave_one_out_cosines(products).mean(1), jackknife_means(products))


def differences(products: Products, reference: int = 0) -> list[Interval]:
    """alignment(v) - alignment(vector `reference`), paired batch by batch, for every vector."""
    means, jackknife = leave_one_out_cosines(products).mean(1), jackknife_means(products)
    return _intervals(means - means[reference], jackknife - jackknife[reference])


def _intervals(values: torch.Tensor, jackknife: torch.Tensor) -> list[Interval]:
    """The jackknife standard error, sqrt((N - 1) / N Σ_j (θ_j - mean θ)²), and t intervals with N - 1 degrees."""
    batches = jackknife.size(1)
    spread = (jackknife - jackknife.mean(1, keepdim=True)).square().sum(1)
    errors = (spread * (batches - 1) / batches).sqrt()
    reach = t_quantile(0.95, batches - 1)
    return [
        Interval(value, error, value - reach * error, value + reach * error)
        for value, error in zip(values.tolist(), errors.tolist(), strict=True)
    ]


def effective_tokens(factors: torch.Tensor, mask: torch.Tensor) -> float:
    """How evenly a credit spreads the update: mean over rollouts of (Σ|f|)² / (T Σ f²), 1 for equal factors.

    Args:
        factors: (B, T) factors of the advantage.
        mask: (B, T) True for the tokens that are trained on; rollouts without any are left out.
    """
    factors, counts = (factors * mask).double(), mask.sum(1)
    squares = factors.square().sum(1)
    shares = factors.abs().sum(1).square() / (counts * squares).clamp(min=1e-300)
    shares = shares[(counts > 0) & (squares > 0)]
    return shares.mean().item() if shares.numel() else math.nan


def _cosine(dots: torch.Tensor, squared_a: torch.Tensor, squared_b: torch.Tensor) -> torch.Tensor:
    scale = (squared_a.clamp(min=0) * squared_b.clamp(min=0)).sqrt()
    return torch.where(scale > 0, dots / scale.clamp(min=1e-300), 0.0)
