"""The settings that a credit depends on, apart from any training engine."""

from dataclasses import dataclass, field, fields

from srpo.corruption import CORRUPTIONS, check_ratio
from srpo.credit import check_parameters

AUTO_CORRUPTION = "auto"
NAMES = ("srpo", "uniform", "perception", "reasoning", "vppo", "rlsd", "pgpo", "papo")
RATIO = 0.6  # as in PAPO's ablation
REASONING_CONTRASTS = ("drop", "blind")
REASONING_GAPS = ("token", "block")


@dataclass(kw_only=True)
class CreditSettings:
    """What turns evidence into credit; `SRPOConfig` has the same fields.

    Args:
        credit: "srpo" weighs both roles; "perception" and "reasoning" weigh one role and leave the other at 1;
            "uniform" is GRPO: no contrasts are scored and every token keeps the advantage of its rollout; "vppo",
            "rlsd", "pgpo" and "papo" are other methods (docs/method.md).
        credit_baseline: mean gap subtracted from each gap: one for the rollout ("shared"), one per role ("per_role"),
            or 0 ("none").
        credit_temperature: τ, nats of gap above the baseline that raise a weight by a factor of e.
        credit_weight_min: lower clip of a token weight, before the weights of a rollout are scaled to mean 1.
        credit_weight_max: upper clip of a token weight, before the weights of a rollout are scaled to mean 1.
        credit_sign_aware: weigh tokens of rollouts with A < 0 by exp((b - s_t) / τ), so that blame goes where the
            evidence was ignored.
        credit_strength: λ in [0, 1]. 0 trains exactly as GRPO but still measures and logs the contrasts.
        corruption: how the image of the perception contrast is corrupted, a name of `srpo.corruption.CORRUPTIONS`, or
            "auto": "other_image", another image of the data set; "patch_mask" where there is none to draw (a stream,
            or one and the same first image in the first 100 rows), for "vppo" and "papo" as in their papers, and where
            `corruption_ratio` is not 0.6.
        corruption_ratio: share of the image that `corruption="patch_mask"` blacks out, in (0, 1].
        reasoning_contrast: "drop" compares each reasoning token with and without the generated perception; "blind" does
            so with the image corrupted in both arms, so only evidence that passes through the text counts.
        reasoning_gap: the weight of a reasoning token comes from its own gap ("token") or from the mean gap of all
            reasoning tokens of its rollout ("block"); credit "reasoning" takes its own, since equal gaps weigh nothing.
        vppo_top_fraction: share of a rollout's tokens that keep their gradient, in (0, 1].
        vppo_scale_min: factor of the rollout with the least visual dependency, in (0, 1].
        rlsd_clip: ε, the weight of a token stays within [1 - ε, 1 + ε], in (0, 1).
        pgpo_threshold: share of a rollout's largest dependency above which a token is amplified, in [0, 1].
        pgpo_gain: how much a token at the largest dependency is amplified, >= 0.
        papo_gamma: γ, coefficient of the perception term of the loss, >= 0.
        papo_entropy_coef: coefficient of the entropies under the original and the corrupted image, >= 0.
        papo_corrupted_gradient: whether the gradient of the perception term also flows through the pass under the
            corrupted image.
    """

    credit: str = field(default="srpo", metadata={"help": f"Token credit: {', '.join(NAMES)}; uniform is GRPO."})
    credit_baseline: str = field(default="shared", metadata={"help": "Baseline of the gaps: shared, per_role or none."})
    credit_temperature: float = field(default=1.0, metadata={"help": "Nats of gap per factor e of weight, > 0."})
    credit_weight_min: float = field(default=0.5, metadata={"help": "Lower clip of a token weight, in (0, 1]."})
    credit_weight_max: float = field(default=2.0, metadata={"help": "Upper clip of a token weight, >= 1."})
    credit_sign_aware: bool = field(default=True, metadata={"help": "Turn the gaps round in rollouts with A < 0."})
    credit_strength: float = field(default=1.0, metadata={"help": "0 is GRPO, 1 the whole credit."})
    corruption: str = field(
        default=AUTO_CORRUPTION,
        metadata={"help": f"One of: {', '.join(CORRUPTIONS)}; auto: other_image where the data has others."},
    )
    corruption_ratio: float = field(default=RATIO, metadata={"help": "Share that patch_mask masks, in (0, 1]."})
    reasoning_contrast: str = field(default="drop", metadata={"help": "drop or blind."})
    reasoning_gap: str = field(
        default="block", metadata={"help": "A reasoning token's own gap, or the mean gap of its block: token or block."}
    )
    vppo_top_fraction: float = field(default=0.4, metadata={"help": "vppo: share of tokens that keep their gradient."})
    vppo_scale_min: float = field(default=0.9, metadata={"help": "vppo: factor of the least dependent rollout."})
    rlsd_clip: float = field(default=0.2, metadata={"help": "rlsd: a weight stays within 1 - ε and 1 + ε."})
    pgpo_threshold: float = field(default=0.5, metadata={"help": "pgpo: gate, as a share of the largest dependency."})
    pgpo_gain: float = field(default=1.0, metadata={"help": "pgpo: amplification at the largest dependency."})
    papo_gamma: float = field(default=0.02, metadata={"help": "papo: coefficient of the perception term of the loss."})
    papo_entropy_coef: float = field(default=0.03, metadata={"help": "papo: coefficient of both entropy terms."})
    papo_corrupted_gradient: bool = field(
        default=False, metadata={"help": "papo: gradient through the pass under the corrupted image, too."}
    )

    @property
    def adds_perception_term(self) -> bool:
        """Whether PAPO's term is part of the loss."""
        return bool(self.credit == "papo" and self.credit_strength and (self.papo_gamma or self.papo_entropy_coef))

    def check(self) -> None:
        """Raise ValueError (value, rule, remedy) for a value out of range."""
        check_choice("credit", self.credit, NAMES)
        check_choice("corruption", self.corruption, (*CORRUPTIONS, AUTO_CORRUPTION))
        check_ratio(self.corruption_ratio)
        check_choice("reasoning_gap", self.reasoning_gap, REASONING_GAPS)
        check_choice("reasoning_contrast", self.reasoning_contrast, REASONING_CONTRASTS)
        check_parameters(self.credit_temperature, self.credit_weight_min, self.credit_weight_max, self.credit_baseline)
        if not 0 <= self.credit_strength <= 1:
            raise ValueError(
                f"credit_strength {self.credit_strength} must lie in [0, 1]; 0 is GRPO, 1 the whole credit"
            )
        ranges = {
            "vppo_top_fraction": (0 < self.vppo_top_fraction <= 1, "lie in (0, 1]", "it is the share of tokens"),
            "vppo_scale_min": (0 < self.vppo_scale_min <= 1, "lie in (0, 1]", "1 leaves all rollouts alike"),
            "rlsd_clip": (0 < self.rlsd_clip < 1, "lie in (0, 1)", "a weight stays within 1 - ε and 1 + ε"),
            "pgpo_threshold": (0 <= self.pgpo_threshold <= 1, "lie in [0, 1]", "1 amplifies no token"),
            "pgpo_gain": (0 <= self.pgpo_gain < float("inf"), "be 0 or more", "0 amplifies no token"),
            "papo_gamma": (0 <= self.papo_gamma < float("inf"), "be 0 or more", "0 leaves the perception term out"),
            "papo_entropy_coef": (0 <= self.papo_entropy_coef < float("inf"), "be 0 or more", "0 leaves it out"),
        }
        defaults = {field.name: field.default for field in fields(CreditSettings)}
        for name, (good, rule, meaning) in ranges.items():
            if not good:
                raise ValueError(f"{name} {getattr(self, name)} must {rule}; {meaning}, {defaults[name]} by default")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless a value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} {value!r} must be one of {', '.join(allowed)}; choose one of these")
