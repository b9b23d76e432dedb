"""SRPOConfig: TRL's GRPOConfig plus the few settings of role-aware credit."""

from dataclasses import dataclass, field
from typing import Any

from trl import GRPOConfig

from srpo.credit_settings import NAMES, CreditSettings, check_choice
from srpo.roles import ResponseFormat

CREDITS = NAMES
SCORINGS = ("shared", "plain")


@dataclass
class SRPOConfig(CreditSettings, GRPOConfig):
    """Configuration of `SRPOTrainer`: every field of `trl.GRPOConfig` and of `CreditSettings`, and these.

    Args:
        scoring: how contrast log-probabilities are computed: "shared" encodes each prompt once for its group and runs
            only what a gap needs; "plain" runs whole forward passes over every rollout. Both give the same numbers.
        scoring_max_tokens: most tokens in one forward pass of "shared", which bounds its memory; by default half of
            those in one of TRL's own passes, `per_device_train_batch_size` rows of prompt and completion, but no less
            than 2,048.
        skip_zero_advantage: leave rollouts with A = 0 out of the forward and backward pass of the update. The gradient
            is the same, but for rounding and the draws of dropout; logged entropy covers the other rollouts only.
            Refused where A = 0 does not mean no gradient: beta, an entropy term, an auxiliary loss.
        log_policy_kl: score each generation batch again after the updates on it, and log how far the policy moved, at
            the cost of one or two scoring passes over all rollouts.
        response_format: names of the perception, reasoning and answer tags, separated by commas.
        ban_placeholder_tokens: never sample the tokens that stand for an image or a video, because the next forward
            pass would look for the image that they announce.
        freeze_vision_tower: train the language model only (as EasyR1 can), which keeps perception stable in small runs.

    Raises:
        ValueError: at construction, for a value out of range and for a GRPO option that token-level advantages would
            silently break, naming value, rule and remedy.
    """

    scoring: str = field(default="shared", metadata={"help": "shared: prompts encoded once; plain: whole passes."})
    scoring_max_tokens: int | None = field(
        default=None, metadata={"help": "Most tokens in a forward pass of shared scoring; lower it to save memory."}
    )
    skip_zero_advantage: bool = field(
        default=False, metadata={"help": "Leave rollouts with A = 0 out of the update, which changes no gradient."}
    )
    log_policy_kl: bool = field(
        default=False, metadata={"help": "Log the KL that the updates on a generation moved the policy by."}
    )
    response_format: str = field(
        default="perception,think,answer", metadata={"help": "Tag names: perception,reasoning,answer."}
    )
    ban_placeholder_tokens: bool = field(
        default=True, metadata={"help": "Never sample tokens that stand for an image or a video."}
    )
    freeze_vision_tower: bool = field(default=False, metadata={"help": "Leave the vision tower out of training."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check()
        check_choice("scoring", self.scoring, SCORINGS)
        if self.scoring_max_tokens is not None and self.scoring_max_tokens < 1:
            raise ValueError(
                f"scoring_max_tokens {self.scoring_max_tokens} must be positive; it is the most tokens in one forward "
                "pass, some thousands, or unset to follow per_device_train_batch_size"
            )
        if not self.temperature > 0:
            raise ValueError(
                f"temperature {self.temperature} must be positive, because the rollouts of a group must differ; "
                "the default is 1.0"
            )
        ResponseFormat.parse(self.response_format)
        if self.skip_zero_advantage:
            self._refuse_gradients_at_zero_advantage()
        if self.credit != "uniform":
            self._refuse_sequence_level_options()

    def _refuse_gradients_at_zero_advantage(self) -> None:
        """Refuse what gives a rollout with A = 0 a gradient, or lets it change the gradient of others."""
        found = {
            "beta": (self.beta, self.beta != 0),
            "entropy_coef": (self.entropy_coef, self.entropy_coef != 0),
            "use_adaptive_entropy": (self.use_adaptive_entropy, self.use_adaptive_entropy),
            "top_entropy_quantile": (self.top_entropy_quantile, self.top_entropy_quantile < 1),
            "credit": (self.credit, self.adds_perception_term),
        }
        for name, (value, refused) in found.items():
            if refused:
                raise ValueError(
                    f"{name} {value!r} cannot be combined with skip_zero_advantage, because rollouts with A = 0 then "
                    f"change the gradient; set skip_zero_advantage=False, or unset {name}"
                )

    def _refuse_sequence_level_options(self) -> None:
        """Refuse what assumes one advantage per sequence and would run on (B, T) advantages without complaint."""
        remedy = 'unset it, or set credit="uniform" to train with GRPO\'s credit'
        if self.loss_type in ("vespo", "luspo"):
            raise ValueError(
                f"loss_type {self.loss_type!r} assumes one advantage per sequence and cannot be combined with "
                f'token-level credit {self.credit!r}; use "grpo", "dapo", "dr_grpo", "bnpo", "cispo" or "sapo", or set '
                'credit="uniform"'
            )
        if self.importance_sampling_level != "token":
            raise ValueError(
                f"importance_sampling_level {self.importance_sampling_level!r} assumes one advantage per sequence and "
                f"cannot be combined with token-level credit {self.credit!r}; {remedy}"
            )
        if self.off_policy_mask_threshold is not None:
            raise ValueError(
                f"off_policy_mask_threshold {self.off_policy_mask_threshold} compares one advantage per sequence and "
                f"cannot be combined with token-level credit {self.credit!r}; {remedy}"
            )


def refuse_tools(arguments: dict[str, Any]) -> None:
    """Refuse trainer arguments whose text inside the completion would have no role."""
    for name in ("tools", "environment_factory"):
        if arguments.get(name):
            raise ValueError(
                f"{name} writes text of its own into the completion, which has no role in token-level credit; "
                f'leave {name} out, or set credit="uniform"'
            )
