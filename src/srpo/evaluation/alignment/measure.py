"""Measure the alignment of token credits on a fixed policy: batches of rollouts, their gradients, inner products.

For every batch: rollouts as training makes them, the evidence that all credits need together, one gradient a credit.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from srpo.credits import Credit
from srpo.evaluation.alignment.gradients import (
    GradientSketches,
    chosen_parameters,
    group_advantages,
    loss_normalisation,
    stacked,
)
from srpo.evaluation.alignment.result import Line, make_lines
from srpo.evaluation.alignment.rewards import grounded_rewards, has_truth
from srpo.evaluation.alignment.sketch import Sketch
from srpo.evaluation.alignment.specs import Spec, settled
from srpo.evaluation.alignment.statistics import MIN_BATCHES, effective_tokens
from srpo.evaluation.alignment.store import GradientStore
from srpo.evaluation.replay import ReplayTrainer, Rollouts
from srpo.generation import seed_number, seeded
from srpo.roles import ResponseFormat

Record = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        batches: N.
        prompts: prompts of a batch; each has G rollouts.
        rows_per_pass: rollouts of one forward and backward pass.
        parameters: regular expression on the names of parameters; None for all that are trained.
        sketch: most numbers to keep of a gradient.
        seed: of rows, rollouts and sketches.
    """

    batches: int
    prompts: int
    rows_per_pass: int
    parameters: str | None
    sketch: int
    seed: int


class Measurement:
    """The measurement of some credits on the policy of a trainer.

    Args:
        trainer: of the policy; its settings are those of training.
        specs: the credits, uniform first.
        plan: how much to measure.
        reference: label of a credit that the others are compared with besides uniform.

    Attributes:
        targets: name -> which vector is a target gradient: "reward" (uniform) and, where the truth is known,
            "grounded".
    """

    def __init__(self, trainer: ReplayTrainer, specs: Sequence[Spec], plan: Plan, reference: str | None = None) -> None:
        self.trainer, self.plan, self.reference = trainer, plan, reference
        self.specs = settled(specs, trainer.train_dataset)
        loss_normalisation(torch.ones(1, 1), trainer.args.loss_type, 1)  # refuses what has no token-level advantages
        self.dataset: Any = trainer.train_dataset
        self.parameters = chosen_parameters(trainer.model, plan.parameters)
        self.sketch = Sketch([p.numel() for p in self.parameters.values()], plan.sketch, plan.seed)
        self.targets = {"reward": 0} | ({"grounded": len(specs)} if has_truth(self.dataset) else {})
        self._gradients = GradientSketches(
            trainer.model,
            list(self.parameters.values()),
            self.sketch,
            trainer.log_prob_function,
            plan.rows_per_pass,
        )

    def run(
        self,
        folder: Path,
        progress: Callable[[Record], None] | None = None,
        go_on: Callable[[Sequence[Record]], None] | None = None,
    ) -> tuple[list[Line], list[Record]]:
        """Measure the batches that `folder` lacks; returns a line for each credit and a record for each batch.

        Args:
            folder: that exists; what was measured is kept there (`GradientStore`), so that an interrupted measurement
                can go on.
            progress: called with the record of each batch when it is measured.
            go_on: called first, with the records of the batches that are there.

        Raises:
            ValueError: when fewer than MIN_BATCHES batches have a gradient.
        """
        store = GradientStore(folder, self.plan.batches, self._shape)
        if go_on:
            go_on(store.records)
        for index in range(len(store.records), self.plan.batches):
            sketches, record = self.batch(index)
            store.write(sketches, record)
            if progress:
                progress(record)
        products = store.products(self.targets, self.trainer.args.adam_epsilon)
        usable = products["gradient", "reward"].target.size(0)
        if usable < MIN_BATCHES:
            raise ValueError(
                f"{usable} of {len(store.records)} batches have a gradient and {MIN_BATCHES} are needed; the rewards "
                "of a group must differ: give more batches or prompts_per_batch, or a model that is right sometimes"
            )
        labels = [spec.label for spec in self.specs]
        effective = {
            label: _mean([record["effective_tokens"][label] for record in store.records]) or math.nan
            for label in labels
        }
        return make_lines(labels, products, effective, self.reference), store.records

    def batch(self, index: int) -> tuple[torch.Tensor, Record]:
        """Sketches (V, kinds, K) of the gradients of a batch, and figures about it; they follow from seed and index.

        Dropout is as in training, with the same mask for all credits.
        """
        name = f"{self.plan.seed}/credit/{index}"
        rows = [dict(self.dataset[i]) for i in self._rows(index) for _ in range(self.trainer.num_generations)]
        rollouts = self.trainer.rollouts(rows, step=index, seed=name)
        factors = self._factors(rollouts)
        advantages = [rollouts.advantages.unsqueeze(1) * f for f in factors.values()]
        record = self._record(rollouts, factors)
        if "grounded" in self.targets:
            grounded = grounded_rewards(rollouts.texts, rollouts.rows, ResponseFormat.parse(self._args.response_format))
            scale = str(self._args.scale_rewards)
            advantages.append(group_advantages(grounded, self.trainer.num_generations, scale).to(advantages[0].device))
            record["grounded"] = grounded.mean().item()
        with self.trainer.training_mode(), seeded(f"{name}/gradients", self.trainer.accelerator.device):
            sketches = self._gradients(rollouts.batch, stacked(advantages, self._normalisation(rollouts)))
        return sketches, record

    @property
    def numbers(self) -> int:
        """Float32 numbers that are on disk until the end."""
        return self.plan.batches * math.prod(self._shape)

    @property
    def _shape(self) -> tuple[int, int, int]:
        vectors = len(self.specs) + len(self.targets) - 1
        return vectors, 1 if self.sketch.exact else 2, self.sketch.dimension

    @property
    def _args(self) -> Any:
        return self.trainer.args

    def _rows(self, index: int) -> list[int]:
        """Rows of a batch: pass after pass over the data, each in an order of its own."""
        first, rows = index * self.plan.prompts, len(self.dataset)
        return [self._order(i // rows)[i % rows] for i in range(first, first + self.plan.prompts)]

    def _order(self, epoch: int) -> list[int]:
        order = list(range(len(self.dataset)))
        random.Random(seed_number(f"{self.plan.seed}/rows/{epoch}")).shuffle(order)
        return order

    def _factors(self, rollouts: Rollouts) -> dict[str, torch.Tensor]:
        """(B, T) factors of every credit; credits with the same corruption, or with none, share their evidence."""
        found: dict[str, torch.Tensor] = {}
        corrupting = [spec for spec in self.specs if spec.corruption] or self.specs
        settings_of = {spec.corruption: spec.settings for spec in corrupting}
        first = corrupting[0].corruption
        for corruption, settings in settings_of.items():
            alike = [spec for spec in self.specs if (spec.corruption or first) == corruption]
            evidence = self.trainer.evidence(rollouts, [_bound(spec) for spec in alike], settings=settings)
            found |= {spec.label: spec.factors(evidence) for spec in alike}
        return {spec.label: found[spec.label] for spec in self.specs}

    def _normalisation(self, rollouts: Rollouts) -> torch.Tensor:
        """(B, T) what the loss multiplies a token's advantage by."""
        most = self._args.max_completion_length
        normalisation = loss_normalisation(rollouts.mask, self._args.loss_type, most)
        return normalisation * rollouts.batch.get("importance_sampling_ratio", 1.0)

    def _record(self, rollouts: Rollouts, factors: dict[str, torch.Tensor]) -> Record:
        learns = rollouts.advantages != 0
        learned = rollouts.mask & learns.unsqueeze(1)
        return {
            "rewards": {name: _mean([r for r in values if r == r]) for name, values in rollouts.rewards.items()},
            "structured": (rollouts.roles != 0).any(1).float().mean().item(),
            "learning": learns.float().mean().item(),
            "tokens": rollouts.mask.sum(1).float().mean().item(),
            "effective_tokens": {label: effective_tokens(f, learned) for label, f in factors.items()},
        }


def _bound(spec: Spec) -> Credit:
    """The credit with its own settings in place of those of the run."""
    credit, settings = spec.credit, spec.settings
    return replace(
        credit,
        contexts=lambda _: credit.contexts(settings),
        tokens=lambda evidence, _: credit.tokens(evidence, settings),
    )


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if value is not None and value == value]
    return sum(known) / len(known) if known else None
