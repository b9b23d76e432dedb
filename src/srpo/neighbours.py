"""Token weights of the methods next to SRPO, as pure tensor functions; docs/method.md compares them.

Each gives w of Â_t = A · w_t from log-probability gaps of one contrast. Axes: B rollouts, T completion tokens,
N rollouts of all ranks.
"""

import math
from collections.abc import Callable

import torch

MAX_DEPENDENCY = 10.0  # upper clamp of k3, of PAPO's and VPPO's code
MAX_EXPONENT = 20.0  # exp(20) is far above the clamp; larger values would overflow


def k3(d: torch.Tensor) -> torch.Tensor:
    """The estimator exp(d) - d - 1 of a KL divergence in nats, clamped to [0, 10]; 0 where d is not finite.

    For y sampled from p and d = log q(y) - log p(y), its mean over y is KL(p || q).

    Args:
        d: log-probability differences in nats, any shape.

    Source: J. Schulman, "Approximating KL divergence"; the clamp is that of VPPO (2510.09285).
    """
    d = torch.where(torch.isfinite(d), d, 0.0).clamp(-MAX_EXPONENT, MAX_EXPONENT)
    return (d.exp() - d - 1).clamp(0.0, MAX_DEPENDENCY)


def _alone(values: torch.Tensor) -> torch.Tensor:
    return values


@torch.no_grad()
def vppo_weights(
    gaps: torch.Tensor,
    mask: torch.Tensor,
    *,
    top_fraction: float = 0.4,
    scale_min: float = 0.9,
    gather: Callable[[torch.Tensor], torch.Tensor] = _alone,
) -> torch.Tensor:
    """VPPO: only the most visually dependent tokens learn, and dependent rollouts learn more.

        D_t = k3(log π(y_t | Ĩ) - log π(y_t | I))                        visual dependency, in [0, 10]
        m_t = 1 for the ceil(top_fraction · |y|) tokens of largest D_t, 0 for the others
        u   = (mean of D over y - min) / (max - min)                     min and max over all rollouts
        a   = scale_min + u (1 - scale_min) / mean of u                  so that the mean of a is 1
        w_t = a m_t

    Args:
        gaps: (B, T) log π(y_t | I) - log π(y_t | Ĩ) in nats.
        mask: (B, T) bool, tokens that take part; w is 1 at all others.
        top_fraction: share of tokens that keep their gradient.
        scale_min: smallest a.
        gather: (B,) values of this process -> (N,) values of all, so that a does not depend on the split over ranks.

    Returns:
        (B, T) weights >= 0 without gradient.

    Source: arXiv 2510.09285. Departs from it: min, max and mean of u are over all rollouts with A != 0 of the
    generation (its code: min and max of one process, mean of one micro-batch); ties go to the earlier token.
    """
    lengths = mask.sum(1)  # (B,)
    dependency = k3(-gaps.float()) * mask  # (B, T)
    kept = torch.ceil(lengths.double().cpu() * top_fraction - 1e-9).to(gaps.device)  # 0.4 * 5 is 2, not 2.0000000001
    order = torch.argsort(dependency.masked_fill(~mask, -1.0), dim=1, descending=True, stable=True)
    rank = order.argsort(1)  # (B, T)
    means = (dependency.sum(1) / lengths.clamp(min=1)).masked_fill(lengths == 0, math.nan)  # (B,)
    every = gather(means)  # (N,)
    every = every[~every.isnan()]
    scale = torch.ones_like(means)
    if every.numel() and every.max() - every.min() > 1e-6:
        spread = every.max() - every.min()
        u, mean_u = (means - every.min()) / spread, ((every - every.min()) / spread).mean()
        scale = scale_min + u * (1 - scale_min) / mean_u
    weights = scale.unsqueeze(1) * (rank < kept.unsqueeze(1))  # (B, T)
    return torch.where(mask, weights, 1.0)


@torch.no_grad()
def rlsd_weights(
    differences: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor, *, clip: float = 0.2
) -> torch.Tensor:
    """RLSD: tokens that the policy, told the reference answer, finds likelier get more of a reward and less of a blame.

        w_t = clip(exp(sign(A) · Δ_t), 1 - ε, 1 + ε)

    Args:
        differences: (B, T) Δ_t = log π(y_t | prompt with the reference answer) - log π(y_t | prompt) in nats; one that
            is not finite counts as 0.
        mask: (B, T) bool, tokens that take part; w is 1 at all others.
        advantages: (B,) advantages A.
        clip: ε.

    Returns:
        (B, T) weights in [1 - ε, 1 + ε] without gradient.

    Source: arXiv 2604.03128. Departs from it: the wording of the hint, and its teacher is the current policy
    (`srpo.rewording`); its λ is `credit_strength` and does not change over the run.
    """
    exponent = differences.masked_fill(~(mask & torch.isfinite(differences)), 0.0) * advantages.sign().unsqueeze(1)
    return exponent.float().clamp(math.log(1 - clip), math.log(1 + clip)).exp()


@torch.no_grad()
def pgpo_weights(gaps: torch.Tensor, mask: torch.Tensor, *, threshold: float = 0.5, gain: float = 1.0) -> torch.Tensor:
    """PGPO: tokens that depend on the image above a threshold are amplified, and the rollout keeps its total.

        D_t = k3(log π(y_t | text only) - log π(y_t | I))                visual dependency
        v_t = D_t / max of D over y
        g_t = 1 + gain · v_t where v_t > threshold, 1 elsewhere
        w_t = g_t / mean of g over y                                     mass-conserving: the mean of w is 1

    Args:
        gaps: (B, T) log π(y_t | I) - log π(y_t | text only) in nats.
        mask: (B, T) bool, tokens that take part; w is 1 at all others.
        threshold: share of the rollout's largest dependency above which a token is amplified.
        gain: amplification at the largest dependency.

    Returns:
        (B, T) weights > 0, of mean 1 over the mask, without gradient.

    Source: arXiv 2604.01840, of which we know "KL to the text-only distribution, threshold-gated, mass-conserving";
    the form of gate and gain is a [choice], and D is estimated at the sampled token instead of over the vocabulary.
    """
    dependency = k3(-gaps.float()) * mask  # (B, T)
    relative = dependency / dependency.amax(1, keepdim=True).clamp(min=1e-12)
    gated = 1 + gain * relative * (relative > threshold)
    mean = (gated * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)  # (B, 1)
    return torch.where(mask, gated / mean, 1.0)
