"""Rollouts and their evidence outside a training run, through the trainer's own code, so that the numbers are its own.

A `ReplayTrainer` never trains. It samples replies to given rows, or takes given ones, and then does what training does
up to the credit: rewards, advantages, roles, contexts, log-probabilities.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import torch

from srpo.assignment import BatchView
from srpo.config import SRPOConfig
from srpo.credits import CREDITS, Credit, Evidence
from srpo.evaluation.dependency import DependencyProfile, Profile
from srpo.generation import seeded
from srpo.trainer import SRPOTrainer

GROUP = 2  # the smallest group that TRL accepts


@dataclass(frozen=True)
class Rollouts:
    """A generation batch of B rollouts with T completion tokens, before credit.

    Attributes:
        view: the batch as contrasts see it; its rows stand in groups.
        batch: TRL's tensors, with (B,) advantages.
        roles: (B, T) token roles.
        mask: (B, T) bool, True for completion tokens.
        learns: (B,) whether a rollout has an advantage.
        rewards: by reward function, B rewards; NaN where a function did not apply.
        texts: B replies without special tokens.
        step: in place of the optimizer steps done.
    """

    view: BatchView
    batch: dict[str, Any]
    roles: torch.Tensor
    mask: torch.Tensor
    learns: torch.Tensor
    rewards: dict[str, list[float]]
    texts: list[str]
    step: int

    @property
    def rows(self) -> Sequence[Any]:
        """B data rows."""
        return self.view.rows

    @property
    def advantages(self) -> torch.Tensor:
        """(B,) advantages, exactly 0 where a rollout does not learn."""
        return self.batch["advantages"] * self.learns


class ReplayTrainer(SRPOTrainer):
    """An `SRPOTrainer` that makes rollouts and evidence and leaves the policy as it is.

    Arguments are SRPOTrainer's. `args.credit` must not be "uniform" if its options are to be checked for token credit;
    it is otherwise without effect: each call names its credits.
    """

    _given: list[list[int]] | None = None
    _rollouts: Rollouts | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model = self.model_wrapped = self.accelerator.prepare_model(self.model)  # as `train` would
        if self.args.gradient_checkpointing:  # transformers 5.17 has only this name of activation_checkpointing
            options: Any = self.args.gradient_checkpointing_kwargs or {}
            enable = getattr(self.model, "activation_checkpointing_enable", self.model.gradient_checkpointing_enable)
            enable({**options, "use_reentrant": False})

    @property
    def log_prob_function(self) -> Any:
        """(model, input_ids, attention_mask, T, image inputs ...) -> log-probabilities (B, T), ..., with gradient."""
        return self._get_per_token_logps_and_entropies

    def rollouts(
        self, rows: Sequence[dict[str, Any]], *, step: int, seed: str, replies: Sequence[Any] | None = None
    ) -> Rollouts:
        """Sample a reply to each row, or take the given ones, and score them as in training.

        Args:
            rows: B rows; those of a group side by side, G copies of each.
            step: in place of the optimizer steps done, which decide on the corruption.
            seed: of the sampling.
            replies: B replies instead of sampled ones, each a list of completion tokens or a text. A text is tokenized
                and ended as if the policy had ended it; its tokens may be others than those that were sampled.

        Raises:
            ValueError: for a number of rows that is no multiple of G, or another number of replies.
        """
        self._check(rows, replies)
        given = None if replies is None else [self._tokens(reply) for reply in replies]
        before, self.state.global_step = self.state.global_step, step
        self._given = given
        try:
            with self.training_mode(), seeded(seed, self.accelerator.device):
                self._generate_and_score_completions([dict(row) for row in rows])
        finally:
            self._given, self.state.global_step = None, before
            self._metrics["train"].clear()
        assert self._rollouts is not None
        return self._rollouts

    def evidence(
        self, rollouts: Rollouts, credits: Sequence[Credit], *, all_rollouts: bool = False, settings: Any = None
    ) -> Evidence:
        """What some credits need to see, scored together and once.

        Args:
            rollouts: of `self.rollouts`.
            credits: of `srpo.credits.CREDITS`.
            all_rollouts: score those without an advantage too, as if each had the advantage 1.
            settings: whose corruption the images get, in place of those of this run.
        """
        advantages = torch.ones_like(rollouts.advantages) if all_rollouts else rollouts.advantages
        view = rollouts.view
        if settings is not None:
            view = self._assigner.view(rollouts.rows, rollouts.batch, rollouts.step, settings)
        with self.training_mode():
            return self._assigner.evidence(self.model, view, credits, rollouts.roles, rollouts.mask, advantages)

    def gaps(self, rollouts: Rollouts, credit: str = "srpo") -> torch.Tensor:
        """(B, T) contrast gaps in nats of every rollout under this run's settings, with or without an advantage."""
        evidence = self.evidence(rollouts, [CREDITS[credit]], all_rollouts=True)
        return CREDITS[credit].gaps(evidence, self.args)

    def _assign_credit(
        self, view: BatchView, batch: dict[str, Any], roles: torch.Tensor, mask: torch.Tensor, learns: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep the batch in place of weighing it."""
        rewards = self._local(self._rewards, len(view.rows)).T.tolist()
        self._rollouts = Rollouts(
            view,
            batch,
            roles,
            mask,
            learns,
            dict(zip(self.reward_func_names, rewards, strict=True)),
            self._tokenizer.batch_decode(batch["completion_ids"], skip_special_tokens=True),
            self.state.global_step,
        )
        return torch.zeros_like(roles, dtype=torch.float), torch.ones_like(roles, dtype=torch.float)

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        return super()._generate_single_turn(*args, **kwargs) if self._given is None else (self._given, None)

    def _tokens(self, reply: Any) -> list[int]:
        if isinstance(reply, str):
            return [*self._tokenizer(reply, add_special_tokens=False)["input_ids"], self._tokenizer.eos_token_id]
        return list(reply)

    def _check(self, rows: Sequence[Any], replies: Sequence[Any] | None) -> None:
        if not rows or len(rows) % self.num_generations:
            raise ValueError(
                f"{len(rows)} rows do not make groups of {self.num_generations}; repeat each row num_generations times"
            )
        if replies is not None and len(replies) != len(rows):
            raise ValueError(f"{len(replies)} replies do not fit {len(rows)} rows; give one for each")

    @contextmanager
    def training_mode(self) -> Iterator[None]:
        """TRL takes what it generates for training only in this mode; dropout is as in training."""
        was_training = self.model.training
        self.model.train()
        try:
            yield
        finally:
            self.model.train(was_training)


def replayed_profile(
    trainer: ReplayTrainer,
    rows: Any,
    replies: Sequence[Any],
    *,
    batch_size: int,
    step: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Profile:
    """The dependency profile (`srpo.evaluation.dependency`) of replies to rows, one reply a row.

    Args:
        trainer: with `num_generations` 1 reply a group or more; rows need not stand in groups.
        rows: one for each reply, a Dataset or a list.
        replies: texts or completion tokens.
        batch_size: replies that are scored together.
        step: decides on the corruption.
        progress: told how many replies are scored.
    """
    profile = DependencyProfile()
    group = trainer.num_generations
    for start in range(0, len(replies), batch_size):
        said = list(replies[start : start + batch_size])
        part = [rows[start + i] for i in range(len(said))]
        missing = -len(part) % group  # whole groups are asked for; what fills them up is not counted
        rollouts = trainer.rollouts(
            part + part[-1:] * missing, step=step, seed=f"profile/{start}", replies=said + said[-1:] * missing
        )
        gaps = trainer.gaps(rollouts)
        profile.add(gaps[: len(part)], rollouts.roles[: len(part)])
        if progress:
            progress(start + len(part))
    return profile.result()


def dependency_of(
    model: Any,
    processor: Any,
    rows: Any,
    replies: Sequence[Any],
    *,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
    **settings: Any,
) -> Profile:
    """The dependency profile of replies under a model, without a trainer at hand. In one process only.

    Call it when the model has nothing else to do: TRL's trainer prepares a model for training.

    Args:
        model: a vision-language model, or its name or folder.
        processor: its processor, padding on the left.
        rows: a Dataset with one row for each reply, in the one schema.
        replies: texts or completion tokens.
        batch_size: replies that are scored together, rounded up to an even number.
        progress: told how many replies are scored.
        settings: fields of SRPOConfig, such as `response_format`, `corruption` and `seed`.
    """
    even = batch_size + batch_size % 2
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": even,
        "num_generations": GROUP,
        "gradient_checkpointing": False,
        "bf16": False,
        "remove_unused_columns": False,
        "report_to": [],
        "use_cpu": not torch.accelerator.is_available(),
    }
    with TemporaryDirectory(prefix="srpo-replay-") as folder:  # TRL's trainer makes its output directory
        config = SRPOConfig(folder, **(defaults | settings))
        trainer = ReplayTrainer(model, no_reward, config, train_dataset=rows, processing_class=processor)
        return replayed_profile(trainer, rows, replies, batch_size=even, progress=progress)


def no_reward(completions: Sequence[Any], **columns: Any) -> list[float]:
    """A reward function for replays that need none."""
    return [0.0] * len(completions)
