"""Token credits by name: which contexts each has to score, and the factors f of Â_t = A · f_t that it makes of them.

A credit is data and pure tensor functions, so that a trainer, a study of gradients and a test use the same one.
Axes: B rollouts, T completion tokens, N rollouts of all ranks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from srpo.contrast import contrast_gaps, cut_context, tokens_to_score
from srpo.credit import block_gaps, clipped_tokens, role_aware_weights
from srpo.credit_settings import AUTO_CORRUPTION, RATIO
from srpo.neighbours import pgpo_weights, rlsd_weights, vppo_weights
from srpo.roles import Role

Tensors = dict[str, torch.Tensor]


def _nothing(evidence: "Evidence", settings: Any) -> torch.Tensor:
    return torch.zeros(0, dtype=torch.bool)


def _alone(values: torch.Tensor) -> torch.Tensor:
    return values


@dataclass(frozen=True)
class Evidence:
    """What a credit may look at.

    Attributes:
        log_probs: by context, (B, T) log-probabilities in nats of the completion tokens; anything where not asked for.
        roles: (B, T) token roles.
        mask: (B, T) bool, True for completion tokens.
        advantages: (B,) group-relative advantages; nothing is asked for, and every factor is 1, where they are 0.
        has_image: (B,) bool, whether a rollout's prompt has an image.
        gather: (B,) values of this process -> (N,) values of all of them.
    """

    log_probs: Mapping[str, torch.Tensor]
    roles: torch.Tensor
    mask: torch.Tensor
    advantages: torch.Tensor
    has_image: torch.Tensor
    gather: Callable[[torch.Tensor], torch.Tensor] = field(default=_alone)

    @property
    def learned_roles(self) -> torch.Tensor:
        """(B, T) roles, neutral in rollouts with A = 0."""
        return self.roles * (self.advantages != 0).unsqueeze(1)

    @property
    def learned_mask(self) -> torch.Tensor:
        """(B, T) completion tokens of rollouts with A != 0."""
        return self.mask & (self.advantages != 0).unsqueeze(1)

    @property
    def seen(self) -> torch.Tensor:
        """(B, T) completion tokens of rollouts with A != 0 and an image."""
        return self.learned_mask & self.has_image.unsqueeze(1)


@dataclass(frozen=True)
class Credit:
    """A token credit.

    Attributes:
        contexts: settings -> names of the contexts whose log-probabilities it needs, of `srpo.contrast.CONTEXTS`.
        tokens: (evidence without log-probabilities, settings) -> by context, (B, T) tokens that have to be scored.
        gaps: (evidence, settings) -> (B, T) log-probability gaps in nats that it goes by; 0 where it looks at nothing.
        weights: (evidence, settings) -> (B, T) factors of the whole credit, before `credit_strength`.
        clipped: (evidence, settings) -> (K,) bool, for each token that it weighs, whether its weight was clipped.

    Settings are a `CreditSettings` or anything with its fields, such as an `SRPOConfig`.
    """

    contexts: Callable[[Any], tuple[str, ...]]
    tokens: Callable[[Evidence, Any], Tensors]
    gaps: Callable[[Evidence, Any], torch.Tensor]
    weights: Callable[[Evidence, Any], torch.Tensor]
    clipped: Callable[[Evidence, Any], torch.Tensor] = _nothing

    def factors(self, evidence: Evidence, settings: Any) -> torch.Tensor:
        """(B, T) factors f_t = (1 - λ) + λ · w_t of the advantage, without gradient; λ is `credit_strength`."""
        strength = settings.credit_strength
        return (1.0 - strength) + strength * self.weights(evidence, settings)


def _role_contexts(settings: Any) -> tuple[str, ...]:
    return ("original", "corrupted", cut_context(settings.reasoning_contrast))


def _role_tokens(evidence: Evidence, settings: Any) -> Tensors:
    return tokens_to_score(evidence.learned_roles, settings.reasoning_contrast, evidence.has_image)


def _role_gaps(evidence: Evidence, settings: Any) -> torch.Tensor:
    return contrast_gaps(evidence.log_probs, evidence.learned_roles, settings.reasoning_contrast, evidence.has_image)


def _role_credit(*weighed: Role) -> Credit:
    """SRPO, or an ablation that leaves one role at weight 1."""

    def arguments(evidence: Evidence, settings: Any) -> dict[str, Any]:
        roles, gaps = evidence.learned_roles, _role_gaps(evidence, settings)
        if settings.reasoning_gap == "block" and len(weighed) > 1:  # alone, one gap for the block weighs nothing
            gaps = block_gaps(gaps, roles, Role.REASONING)
        return {
            "gaps": gaps,
            "roles": roles * sum(roles == role for role in weighed),
            "temperature": settings.credit_temperature,
            "weight_min": settings.credit_weight_min,
            "weight_max": settings.credit_weight_max,
            "baseline": settings.credit_baseline,
            "advantages": evidence.advantages if settings.credit_sign_aware else None,
        }

    def weights(evidence: Evidence, settings: Any) -> torch.Tensor:
        return role_aware_weights(**arguments(evidence, settings))

    def clipped(evidence: Evidence, settings: Any) -> torch.Tensor:
        given = arguments(evidence, settings)
        return clipped_tokens(**given)[given["roles"] != Role.NEUTRAL]

    return Credit(_role_contexts, _role_tokens, _role_gaps, weights, clipped)


def _ones(evidence: Evidence, settings: Any) -> torch.Tensor:
    return torch.ones_like(evidence.mask, dtype=torch.float)


def _zeros(evidence: Evidence, settings: Any) -> torch.Tensor:
    return torch.zeros_like(evidence.mask, dtype=torch.float)


def _pair_credit(
    other: str,
    tokens: Callable[[Evidence], torch.Tensor],
    weights: Callable[..., torch.Tensor],
    clipped: Callable[[Evidence, Any], torch.Tensor] = _nothing,
) -> Credit:
    """A credit that compares the original context with one other at the same tokens.

    Args:
        other: the other context.
        tokens: evidence -> (B, T) tokens that it looks at.
        weights: (gaps, evidence, settings) -> (B, T) weights; gaps are log π(original) - log π(other), 0 elsewhere.
        clipped: as in `Credit`.
    """

    def gaps(evidence: Evidence, settings: Any) -> torch.Tensor:
        difference = evidence.log_probs["original"] - evidence.log_probs[other]
        return torch.where(tokens(evidence), difference, 0.0)

    return Credit(
        contexts=lambda settings: ("original", other),
        tokens=lambda evidence, settings: dict.fromkeys(("original", other), tokens(evidence)),
        gaps=gaps,
        weights=lambda evidence, settings: weights(gaps(evidence, settings), evidence, settings),
        clipped=clipped,
    )


def _vppo(gaps: torch.Tensor, evidence: Evidence, settings: Any) -> torch.Tensor:
    return vppo_weights(
        gaps,
        evidence.seen,
        top_fraction=settings.vppo_top_fraction,
        scale_min=settings.vppo_scale_min,
        gather=evidence.gather,
    )


def _rlsd(gaps: torch.Tensor, evidence: Evidence, settings: Any) -> torch.Tensor:
    return rlsd_weights(-gaps, evidence.learned_mask, evidence.advantages, clip=settings.rlsd_clip)


def _rlsd_clipped(evidence: Evidence, settings: Any) -> torch.Tensor:
    weights = CREDITS["rlsd"].weights(evidence, settings)[evidence.learned_mask]
    return (weights - 1).abs() >= settings.rlsd_clip - 1e-6


def _pgpo(gaps: torch.Tensor, evidence: Evidence, settings: Any) -> torch.Tensor:
    return pgpo_weights(gaps, evidence.seen, threshold=settings.pgpo_threshold, gain=settings.pgpo_gain)


UNIFORM = Credit(contexts=lambda settings: (), tokens=lambda evidence, settings: {}, gaps=_zeros, weights=_ones)
CREDITS: dict[str, Credit] = {
    "srpo": _role_credit(Role.PERCEPTION, Role.REASONING),
    "uniform": UNIFORM,
    "perception": _role_credit(Role.PERCEPTION),
    "reasoning": _role_credit(Role.REASONING),
    "vppo": _pair_credit("corrupted", lambda evidence: evidence.seen, _vppo),
    "rlsd": _pair_credit("hinted", lambda evidence: evidence.learned_mask, _rlsd, _rlsd_clipped),
    "pgpo": _pair_credit("text_only", lambda evidence: evidence.seen, _pgpo),
    "papo": UNIFORM,  # its term is in the loss (`srpo.papo`)
}


def settled_corruption(settings: Any, has_others: Callable[[], bool]) -> str:
    """The name of a corruption that `settings.corruption` stands for; see `CreditSettings`.

    Args:
        settings: an `SRPOConfig` or `CreditSettings`.
        has_others: whether the data set has another image to draw; asked only where it matters.
    """
    if settings.corruption != AUTO_CORRUPTION:
        return str(settings.corruption)
    of_papers = settings.credit in ("vppo", "papo") or settings.corruption_ratio != RATIO
    return "other_image" if corruption_of(settings) and not of_papers and has_others() else "patch_mask"


def corruption_of(settings: Any) -> str:
    """What a method does to images, such as "patch_mask 0.6"; "" where it corrupts none.

    Args:
        settings: a `CreditSettings`, or anything with its fields.
    """
    if "corrupted" not in CREDITS[settings.credit].contexts(settings) and not settings.adds_perception_term:
        return ""
    ratio = f" {settings.corruption_ratio:g}" if settings.corruption == "patch_mask" else ""
    return f"{settings.corruption}{ratio}"
