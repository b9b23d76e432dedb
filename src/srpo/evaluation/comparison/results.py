"""What finished runs left behind: figures and learning curves, from their metrics and evaluation files."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from srpo.evaluation.comparison.plan import Run, read_json
from srpo.evaluation.comparison.statistics import Interval, first_reach, smoothed
from srpo.run.log import logged_total

SMOOTHED_SHARE = 0.1  # of the generations of a run, for learning curves
FEWEST_POINTS = 10  # of a curve that says when a target is reached
GAIN_SHARE = 0.75  # of the baseline's gain: a target that nearly all its runs reach; see docs/compare.md
GAIN = f"{100 * GAIN_SHARE:g} %"
ACCURACY, REWARD = "rewards/accuracy_reward/mean", "reward"
STEPS_TO_BASELINE = "steps_to_baseline"


@dataclass(frozen=True)
class Metric:
    """A figure of a run, as tables and figures show it; `digits` behind the point; a `share` lies in [0, 1]."""

    name: str
    label: str
    better: str = ""
    digits: int = 3
    share: bool = False

    def shown(self, interval: Interval) -> Interval:
        """The interval without what lies beyond the values that a share can have."""
        if not self.share or interval.low is None or interval.high is None:
            return interval
        return replace(interval, low=max(0.0, interval.low), high=min(1.0, interval.high))


METRICS = (
    Metric("accuracy", "accuracy", "higher", share=True),
    Metric("grounded_accuracy", "grounded accuracy", "higher", share=True),
    Metric("lucky_rate", "lucky rate", "lower", share=True),
    Metric("lucky_share", "lucky among right replies", "lower", share=True),
    Metric("unsupported_rate", "unsupported rate", "lower", share=True),
    Metric("perception/needed", "perception, needed facts", "higher", share=True),
    Metric("perception/precision", "perception, precision", "higher", share=True),
    Metric("perception/recall", "perception, recall", "higher", share=True),
    Metric("reliance/edited", "reliance, edited perception", "higher", share=True),
    Metric("reliance/edited_chance", "reliance, edited, by chance", "", share=True),
    Metric("reliance/other", "reliance, other perception", "higher"),
    Metric("vision_gain/corrupted", "vision gain, corrupted", "higher"),
    Metric("vision_gain/blank", "vision gain, blank", "higher"),
    Metric("vision_gain/swapped", "vision gain, swapped", "higher"),
    Metric("structured", "structured replies", "higher", share=True),
    Metric("tokens", "completion tokens", "", 1),
    Metric("train_seconds", "seconds of training", "lower", 1),
    Metric("train_accuracy", "accuracy over training", "higher", share=True),
    Metric(STEPS_TO_BASELINE, f"steps to {GAIN} of baseline's gain", "lower", 1),
    Metric("policy_kl", "KL per generation (nats/token)", "", 5),
)


@dataclass(frozen=True)
class Curve:
    """A quantity at the optimizer steps at which it was logged."""

    steps: list[int]
    values: list[float]

    @property
    def window(self) -> int:
        """A tenth of the points."""
        return max(1, round(SMOOTHED_SHARE * len(self.values)))

    @property
    def ends(self) -> tuple[float, float]:
        """The means over the first and over the last window."""
        means = self.smoothed().values
        return means[self.window - 1], means[-1]

    def smoothed(self) -> "Curve":
        """The trailing mean over a tenth of the points."""
        return Curve(self.steps, smoothed(self.values, self.window))


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
    figures["train_seconds"] = logged_total(entries, "step_time")
    divergences = _curve(entries, "srpo/policy/kl").values
    if divergences:
        figures["policy_kl"] = math.fsum(divergences) / len(divergences)
    accuracy = _curve(entries, ACCURACY)
    if accuracy.values:
        figures["train_accuracy"] = math.fsum(accuracy.values) / len(accuracy.values)
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
    """The logged training steps in order, each once: a run that went on from a checkpoint logs some steps again.

    The steps behind the last multiple of `logging_steps` are in an entry at the end that has `step_time` but no loss.
    """
    if not path.exists():
        return []
    by_step: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the last line of an interrupted run
            continue
        if "loss" in entry or "step_time" in entry:
            by_step[int(entry["step"])] = entry
    return [by_step[step] for step in sorted(by_step)]


def add_steps_to_baseline(results: Sequence[Result], baseline: str) -> float | None:
    """Set `steps_to_baseline`: the first step at which a run's training accuracy has made most of the baseline's gain.

    Target: start + GAIN_SHARE · (end − start), means over the baseline's seeds of the first and the last full window
    of the smoothed curve; one target for all runs. `first_reach` says when a curve is there. A run that does not get
    there is `censored` and counts with the first step that could no longer be confirmed, a lower bound. Curves of
    fewer than FEWEST_POINTS points are left out.

    Returns:
        The target; None without a long enough run of the baseline, or where it gained nothing.
    """
    long = [result for result in results if len(result.accuracy.values) >= FEWEST_POINTS]
    ends = [result.accuracy.ends for result in long if result.method == baseline]
    if not ends:
        return None
    start, end = (math.fsum(of_runs) / len(ends) for of_runs in zip(*ends, strict=True))
    if end <= start:
        return None
    target = start + GAIN_SHARE * (end - start)
    for result in long:
        curve = result.accuracy
        reached = first_reach(curve.steps, curve.values, target, curve.window)
        result.censored = reached is None
        result.figures[STEPS_TO_BASELINE] = float(curve.steps[-curve.window] if reached is None else reached)
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
