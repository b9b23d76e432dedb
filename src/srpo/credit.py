"""Role credit: log-probability gaps -> positive token weights -> token-level advantages.

Pure tensor functions; no model, no trainer. Axes: B rollouts, T completion tokens. Roles are the integers of
`srpo.roles.Role`: 0 neutral, 1 perception, 2 reasoning.
"""

import math

import torch

from srpo.roles import Role

BASELINES = ("shared", "per_role", "none")
MIN_WEIGHT = 1e-6  # clips beyond this, or its inverse, could underflow to a weight of 0 in float32
MAX_GAP = 1e30  # nats; keeps the sum over a row finite in float64 without touching any real gap


def role_aware_weights(
    gaps: torch.Tensor,
    roles: torch.Tensor,
    *,
    temperature: float = 1.0,
    weight_min: float = 0.5,
    weight_max: float = 2.0,
    baseline: str = "shared",
    advantages: torch.Tensor | None = None,
) -> torch.Tensor:
    """Positive token weights from contrast gaps, with mean 1 over the role tokens of each rollout.

        b   = mean of s_t over the perception and reasoning tokens          (the shared trajectory-level baseline)
        w_t = clip(exp((s_t - b) / temperature), weight_min, weight_max)    for role tokens, 1 for neutral ones
        w_t = w_t / mean of w over the role tokens                          [choice]

    With `baseline="per_role"` each role has the mean of its own gaps as b, with "none" b = 0. Given `advantages`, the
    exponent is sign(A) (s_t - b) / temperature, and 0 where A = 0. A gap that is not finite counts as 0. No gradient
    flows through the weights.

    Args:
        gaps: (B, T) log-probability differences s_t in nats; values at neutral tokens are ignored.
        roles: (B, T) integers: 0 neutral, 1 perception, 2 reasoning. A row without role tokens gets w = 1 throughout.
        temperature: nats by which a gap must exceed the baseline to raise a weight by a factor of e.
        weight_min: lower clip, before the normalisation.
        weight_max: upper clip, before the normalisation.
        baseline: "shared", "per_role" or "none".
        advantages: (B,) whose sign turns the exponents; None for weights that do not depend on it.

    Returns:
        (B, T) weights, finite and > 0, in the dtype of `gaps` (float32 when gaps are half precision).

    Raises:
        ValueError: on shapes that differ or parameters out of range.

    Source: arXiv 2605.07274 (role-aware credit, shared baseline, positive weights); the exponential, the clip and the
    normalisation are [choice]s.
    """
    with torch.no_grad():
        exponent, credited = _exponents(gaps, roles, temperature, weight_min, weight_max, baseline, advantages)
        w = exponent.clamp(math.log(weight_min), math.log(weight_max)).exp()
        w = torch.where(credited, w / _masked_mean(w, credited).clamp(min=weight_min), 1.0)
        return w.to(gaps.device, gaps.dtype if gaps.dtype == torch.float64 else torch.float32)


def block_gaps(gaps: torch.Tensor, roles: torch.Tensor, role: Role) -> torch.Tensor:
    """Gaps in which every token of one role has the mean gap of that role in its rollout.

        s_t = mean of s over the tokens of the role       for its tokens, s_t for all others

    A result that is computed from copied numbers depends on the perception through them, which its own gap cannot show:
    the cut prefix still holds the numbers. The block as a whole is consistent with the perception, or it is not.

    Args:
        gaps: (B, T) gaps in nats; one that is not finite counts as 0.
        roles: (B, T) token roles.
        role: whose gaps are spread.

    Source: a [choice] for the reasoning role.
    """
    of_role = roles == role
    finite = torch.where(of_role & torch.isfinite(gaps), gaps, 0.0)
    return torch.where(of_role, _masked_mean(finite, of_role).expand_as(gaps), gaps)


def clipped_tokens(
    gaps: torch.Tensor,
    roles: torch.Tensor,
    *,
    temperature: float = 1.0,
    weight_min: float = 0.5,
    weight_max: float = 2.0,
    baseline: str = "shared",
    advantages: torch.Tensor | None = None,
) -> torch.Tensor:
    """(B, T) True where `role_aware_weights`, given the same arguments, clips the weight of a role token."""
    with torch.no_grad():
        exponent, credited = _exponents(gaps, roles, temperature, weight_min, weight_max, baseline, advantages)
        clipped = (exponent < math.log(weight_min)) | (exponent > math.log(weight_max))
        return (credited & clipped).to(gaps.device)


def _exponents(
    gaps: torch.Tensor,
    roles: torch.Tensor,
    temperature: float,
    weight_min: float,
    weight_max: float,
    baseline: str,
    advantages: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(s_t - b) / temperature, turned by the sign of A if given, and the mask of role tokens, both (B, T).

    Checks the arguments first. In float64 on the CPU: the tensors are small, and some accelerators (MPS) have no
    float64.
    """
    check_parameters(temperature, weight_min, weight_max, baseline)
    if gaps.dim() != 2 or gaps.shape != roles.shape:
        raise ValueError(
            f"gaps {tuple(gaps.shape)} and roles {tuple(roles.shape)} must share one shape (B, T); "
            "pass one gap and one role per completion token"
        )
    if advantages is not None and advantages.shape != gaps.shape[:1]:
        raise ValueError(
            f"advantages {tuple(advantages.shape)} must be (B,) with the B of gaps {tuple(gaps.shape)}; "
            "pass one advantage per rollout"
        )
    gaps, roles = gaps.detach().cpu(), roles.cpu()
    credited = roles != Role.NEUTRAL  # (B, T)
    s = torch.where(credited & torch.isfinite(gaps), gaps.double().clamp(-MAX_GAP, MAX_GAP), 0.0)  # (B, T)
    exponent = (s - _baselines(s, roles, baseline)) / temperature
    if advantages is not None:
        exponent = exponent * advantages.detach().cpu().sign().unsqueeze(1)
    return exponent, credited


def _baselines(s: torch.Tensor, roles: torch.Tensor, baseline: str) -> torch.Tensor:
    """b of each role token, (B, 1) or (B, T)."""
    if baseline == "none":
        return torch.zeros_like(s[:, :1])
    if baseline == "shared":
        return _masked_mean(s, roles != Role.NEUTRAL)
    is_perception = roles == Role.PERCEPTION
    return torch.where(is_perception, _masked_mean(s, is_perception), _masked_mean(s, roles == Role.REASONING))


def token_advantages(advantages: torch.Tensor, weights: torch.Tensor, *, strength: float = 1.0) -> torch.Tensor:
    """Token-level advantages that keep the sign of the group-relative advantage.

        Â_t = A * ((1 - strength) + strength * w_t)

    Args:
        advantages: (B,) advantages as the trainer computed them.
        weights: (B, T) positive token weights.
        strength: the λ of the method, in [0, 1]; 0 gives every token A (GRPO), 1 gives A * w_t.

    Returns:
        (B, T) advantages in the dtype of `advantages`, without gradient.

    Raises:
        ValueError: on shapes that do not fit or a strength outside [0, 1].

    Source: arXiv 2605.07274; the interpolation is a [choice].
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength {strength} must lie in [0, 1]; 0 is GRPO, 1 is the whole role credit")
    if advantages.dim() != 1 or weights.dim() != 2 or advantages.size(0) != weights.size(0):
        raise ValueError(
            f"advantages {tuple(advantages.shape)} and weights {tuple(weights.shape)} must be (B,) and (B, T) "
            "with one B; pass one advantage per rollout"
        )
    factor = (1.0 - strength) + strength * weights.detach().to(advantages.dtype)  # (B, T)
    return advantages.detach().unsqueeze(1) * factor


def check_parameters(temperature: float, weight_min: float, weight_max: float, baseline: str) -> None:
    """Raise ValueError (value, rule, remedy) unless the parameters define positive finite weights."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"credit_temperature {temperature} must be a positive number of nats; the default is 1.0")
    if not (MIN_WEIGHT <= weight_min <= 1 <= weight_max <= 1 / MIN_WEIGHT):
        raise ValueError(
            f"credit_weight_min {weight_min} and credit_weight_max {weight_max} must satisfy "
            f"{MIN_WEIGHT:g} <= min <= 1 <= max <= {1 / MIN_WEIGHT:g}; the defaults are 0.5 and 2.0"
        )
    if baseline not in BASELINES:
        raise ValueError(f"credit_baseline {baseline!r} must be one of {', '.join(BASELINES)}; choose one of these")


def _masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of x over mask along T, (B, 1); 0 where the mask is empty."""
    return (x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)


def equal_rewards(rewards: torch.Tensor, num_generations: int) -> torch.Tensor:
    """Whether a rollout has no advantage because each reward function gave its whole group the same.

    GRPO's A is then 0 but for rounding: the group mean is off by 1e-8, and dividing by (std + 1e-4) leaves some 1e-4.

    Args:
        rewards: (N, F) rewards of whole groups, one column a function; NaN where a function did not apply.
        num_generations: G, rollouts of a group, side by side.

    Returns:
        (N,) bool.
    """
    groups = rewards.unflatten(0, (len(rewards) // num_generations, num_generations))  # (N / G, G, F)
    same = (groups == groups[:, :1]) | (groups.isnan() & groups[:, :1].isnan())
    return same.flatten(1).all(1).repeat_interleave(num_generations)
