"""What finished runs left behind: figures and learning curves, from their metrics and evaluation files."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from srpo.evaluation.comparison.plan import Run, read_json
from srpo.evaluation.comparison.statistics import first_reach, smoothed

SMOOTHED_SHARE = 0.1  # of the generations of a run, for learning curves
ACCURACY, REWARD = "rewards/accuracy_reward/mean", "reward"
STEPS_TO_BASELINE = "steps_to_baseline"


@dataclass(frozen=True)
class Metric:
    """A figure of a run, as tables and figures show it; `digits` behind the point."""

    name: str
    label: str
    better: str = ""
    digits: int = 3


METRICS = (
    Metric("accuracy", "accuracy", "higher"),
    Metric("grounded_accuracy", "grounded accuracy", "higher"),
    Metric("lucky_rate", "lucky rate", "lower"),
    Metric("perception/needed", "perception, needed facts", "higher"),
    Metric("perception/precision", "perception, precision", "higher"),
    Metric("perception/recall", "perception, recall", "higher"),
    Metric("reliance/edited", "reliance, edited perception", "higher"),
    Metric("reliance/other", "reliance, other perception", "higher"),
    Metric("vision_gain/corrupted", "vision gain, corrupted", "higher"),
    Metric("vision_gain/blank", "vision gain, blank", "higher"),
    Metric("vision_gain/swapped", "vision gain, swapped", "higher"),
    Metric("structured", "structured replies", "higher"),
    Metric("tokens", "completion tokens", "", 1),
    Metric("train_seconds", "seconds of training", "lower", 1),
    Metric(STEPS_TO_BASELINE, "steps to baseline's accuracy", "lower", 1),
    Metric("policy_kl", "KL per generation (nats/token)", "", 5),
)


@dataclass(frozen=True)
class Curve:
    """A quantity at the optimizer steps at which it was logged."""

    steps: list[int]
    values: list[float]

    def smoothed(self) -> "Curve":
        """The trailing mean over a tenth of the points."""
        window = max(1, round(SMOOTHED_SHARE * len(self.values)))
        return Curve(self.steps, smoothed(self.values, window))


@dataclass
class Result:
    """The figures of one finished run, by name, and its training accuracy."""

    method: str
    seed: int
    figures: dict[str, float]
    accuracy: Curve
    censored: bool = field(default=False)


def read_result(run: Run) -> Result:
    """The result of a finished run.

    Raises:
        ComparisonError: for an evaluation file that cannot be read.
    """
    entries = read_metrics(run.folder / "train" / "metrics.jsonl")
    figures = evaluation_figures(run.folder / "eval" / "evaluation.json")
    figures["train_seconds"] = math.fsum(entry["step_time"] for entry in entries if "step_time" in entry)
    divergences = _curve(entries, "srpo/policy/kl").values
    if divergences:
        figures["policy_kl"] = math.fsum(divergences) / len(divergences)
    accuracy = _curve(entries, ACCURACY)
    return Result(run.method, run.seed, figures, accuracy if accuracy.values else _curve(entries, REWARD))


def evaluation_figures(path: Path) -> dict[str, float]:
    """Name -> value of the metrics and audit metrics of an evaluation; those without a value are left out."""
    content = read_json(path)
    found = {**(content.get("metrics") or {}), **(content.get("audit") or {})}
    return {
        name: float(estimate["value"])
        for name, estimate in found.items()
        if isinstance(estimate, dict) and _is_number(estimate.get("value"))
    }


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The logged training steps in order, each once: a run that went on from a checkpoint logs some steps again."""
    if not path.exists():
        return []
    by_step: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the last line of an interrupted run
            continue
        if "loss" in entry:
            by_step[int(entry["step"])] = entry
    return [by_step[step] for step in sorted(by_step)]


def add_steps_to_baseline(results: Sequence[Result], baseline: str) -> float | None:
    """Set `steps_to_baseline`: the first step at which its training accuracy is that of the baseline's end.

    Target: the mean over the baseline's seeds of the last value of the smoothed curve; one target for all runs, so that
    a baseline run need not reach it either. A run that never reaches it counts with its last step and is `censored`.

    Returns:
        The target; None without a finished run of the baseline.
    """
    curves = {id(result): result.accuracy.smoothed() for result in results if result.accuracy.values}
    ends = [curves[id(result)].values[-1] for result in results if result.method == baseline and id(result) in curves]
    if not ends:
        return None
    target = math.fsum(ends) / len(ends)
    for result in results:
        curve = curves.get(id(result))
        if curve is not None:
            reached = first_reach(curve.steps, curve.values, target)
            result.censored = reached is None
            result.figures[STEPS_TO_BASELINE] = float(curve.steps[-1] if reached is None else reached)
    return target


def mean_curves(results: Sequence[Result]) -> dict[str, dict[int, list[float]]]:
    """Method -> step -> smoothed training accuracy of its seeds, at the steps that all its seeds have."""
    curves: dict[str, list[Curve]] = {}
    for result in results:
        if result.accuracy.values:
            curves.setdefault(result.method, []).append(result.accuracy.smoothed())
    return {method: _aligned(of_method) for method, of_method in curves.items()}


def by_method(results: Sequence[Result], name: str) -> dict[str, dict[int, float]]:
    """Method -> seed -> value of one figure, where it is known."""
    values: dict[str, dict[int, float]] = {}
    for result in results:
        if name in result.figures:
            values.setdefault(result.method, {})[result.seed] = result.figures[name]
    return values


def _aligned(curves: Sequence[Curve]) -> dict[int, list[float]]:
    points: list[Mapping[int, float]] = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves]
    common = sorted(set.intersection(*(set(of_curve) for of_curve in points)))
    return {step: [of_curve[step] for of_curve in points] for step in common}


def _curve(entries: Sequence[Mapping[str, float]], name: str) -> Curve:
    known = [entry for entry in entries if _is_number(entry.get(name))]
    return Curve([int(entry["step"]) for entry in known], [float(entry[name]) for entry in known])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
