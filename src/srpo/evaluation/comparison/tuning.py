"""The learning rate of each method, from one grid, on seeds that are not reported."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from srpo.evaluation.comparison.methods import ComparisonError
from srpo.evaluation.comparison.plan import Run, read_json
from srpo.run.directory import write_json


@dataclass(frozen=True)
class Choice:
    """The learning rate chosen for a method.

    Attributes:
        rate: the one chosen.
        means: learning rate -> mean held-out accuracy over the tuning seeds.
        at_edge: is it the lowest or highest of several rates, so that the best may lie outside the grid?
    """

    rate: float
    means: dict[float, float]
    at_edge: bool


def choose(accuracies: Mapping[float, Sequence[float]]) -> Choice:
    """The rate of the highest mean held-out accuracy over the tuning seeds; the lower rate on a tie.

    Args:
        accuracies: learning rate -> held-out accuracy of each tuning seed.

    Raises:
        ComparisonError: where no rate has a run.
    """
    means = {rate: math.fsum(values) / len(values) for rate, values in sorted(accuracies.items()) if values}
    if not means:
        raise ComparisonError("no learning rate is left to choose from; give others, or remove tuning/dropped.json")
    rate = max(means, key=lambda rate: means[rate])  # the first, lowest one on a tie
    return Choice(rate, means, len(means) > 1 and rate in (min(means), max(means)))


def held_out_accuracy(run: Run) -> float:
    """Held-out accuracy that a training run measured after training, one sampled reply a question.

    Raises:
        ComparisonError: where it measured none.
    """
    after = read_json(run.folder / "train" / "summary.json").get("after") or {}
    if not isinstance(after.get("accuracy"), (int, float)):
        raise ComparisonError(
            f"{run.name} measured no held-out accuracy, so no learning rate can be chosen; set eval_rows and keep "
            "accuracy among the reward_funcs"
        )
    return float(after["accuracy"])


def read_dropped(root: Path) -> dict[str, list[float]]:
    """Method -> learning rates that a comparison left out because a run failed."""
    path = _dropped(root)
    return read_json(path) if path.exists() else {}


def write_dropped(root: Path, dropped: Mapping[str, Sequence[float]]) -> None:
    """Keep them, so that a later call chooses from the same rates; without any, nothing is written."""
    if dropped:
        write_json(_dropped(root), dropped)


def _dropped(root: Path) -> Path:
    return root / "tuning" / "dropped.json"
