"""Results of all runs in one structure: intervals over seeds, paired differences to the baseline, tests."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from srpo.evaluation.comparison.results import FEWEST_POINTS, METRICS, STEPS_TO_BASELINE, Metric, Result, by_method
from srpo.evaluation.comparison.statistics import (
    MAX_EXACT,
    Interval,
    Paired,
    holm,
    mean_interval,
    paired_comparison,
    sign_flip_floor,
)

PRIMARY = "grounded_accuracy"


@dataclass
class Summary:
    """What a comparison found.

    Attributes:
        baseline: the method that the others are compared with.
        primary: name of the figure whose p-values are adjusted for the number of methods.
        methods: all methods, the baseline among them, in the order in which they were named.
        seeds: those that are reported.
        values: figure -> method -> seed -> value.
        intervals: figure -> method -> mean and interval over seeds.
        differences: figure -> method -> paired differences to the baseline.
        holm: method -> adjusted p-value of the t test on the primary figure, for as many tests as there are methods.
        start: the figures of the model before training.
        target: training accuracy that `steps_to_baseline` waits for.
        censored: method -> runs that never reached it.
        settings: method -> the options of `srpo train` that it sets, its learning rate among them.
        tuning: method -> how its learning rate was chosen; empty without a grid.
        missing: runs without a result, in words.
        notes: what a reader must know, in sentences.
    """

    baseline: str
    primary: str
    methods: list[str]
    seeds: list[int]
    values: dict[str, dict[str, dict[int, float]]]
    intervals: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Paired]]
    holm: dict[str, float]
    start: dict[str, float]
    target: float | None
    censored: dict[str, int]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def others(self) -> list[str]:
        """The methods but for the baseline."""
        return [method for method in self.methods if method != self.baseline]

    def shown(self) -> list[Metric]:
        """The figures that tables and figures show: those that some run has."""
        return [metric for metric in METRICS if self.values.get(metric.name)]

    def metric(self, name: str) -> Metric:
        """How a figure is called."""
        return next((metric for metric in METRICS if metric.name == name), Metric(name, name))

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self)


def summarize(
    results: Sequence[Result],
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    baseline: str,
    primary: str,
    start: Mapping[str, float],
    target: float | None,
) -> Summary:
    """Intervals, paired differences and tests of every figure that some run has.

    Where no run knows grounded accuracy, because no perception is known, accuracy takes its place as primary figure.
    """
    names = sorted({name for result in results for name in result.figures})
    values = {name: by_method(results, name) for name in names}
    notes = []
    if results and primary not in values:
        instead = "accuracy is the primary figure" if primary == PRIMARY else "there is no test"
        notes.append(f"No run has {primary}, so {instead}.")
        primary = "accuracy" if primary == PRIMARY else primary
    intervals = {
        name: {method: mean_interval(list(of.values())) for method, of in values[name].items()} for name in names
    }
    differences = {name: _differences(values[name], baseline) for name in names}
    tested = {m: paired.p_t for m, paired in differences.get(primary, {}).items() if paired.p_t is not None}
    censored = {m: sum(r.censored for r in results if r.method == m) for m in methods}
    summary = Summary(
        baseline=baseline,
        primary=primary,
        methods=list(methods),
        seeds=list(seeds),
        values=values,
        intervals=intervals,
        differences=differences,
        holm=holm(tested, len(methods) - 1),
        start=dict(start),
        target=target,
        censored={method: count for method, count in censored.items() if count},
        notes=notes,
    )
    summary.notes += _notes(summary)
    return summary


def _differences(values: Mapping[str, Mapping[int, float]], baseline: str) -> dict[str, Paired]:
    compared = {
        method: paired_comparison(of_method, values.get(baseline, {}))
        for method, of_method in values.items()
        if method != baseline
    }
    return {method: paired for method, paired in compared.items() if paired is not None}


def _notes(summary: Summary) -> list[str]:
    notes = []
    primary = summary.differences.get(summary.primary, {})
    pairs = {paired.difference.n for paired in primary.values()}
    equal = [method for method, paired in primary.items() if paired.difference.n > 1 and paired.p_t is None]
    if equal:
        notes.append(f"{', '.join(equal)}: the differences are equal in all seeds, so that the t test says nothing.")
    if pairs and max(pairs) <= MAX_EXACT:
        n = max(pairs)
        notes.append(
            f"With {n} pair{'s' if n > 1 else ''} the sign-flip p cannot fall below 2/2^{n} = {sign_flip_floor(n):.4g}."
        )
    if len(pairs) > 1:
        notes.append("Methods have different numbers of pairs, because some runs are missing.")
    if summary.target is None and summary.values:
        notes.append(
            f"Steps to the baseline's accuracy are left out, because no run of {summary.baseline} logged "
            f"{FEWEST_POINTS} or more generations."
        )
    if summary.target is not None and summary.values.get(STEPS_TO_BASELINE):
        sentence = (
            f"Steps count up to the first at which the smoothed training accuracy is at {summary.target:.3f}, "
            f"where {summary.baseline} ends on average, in this window and the next"
        )
        never = ", ".join(f"{method} {count}" for method, count in summary.censored.items())
        never = f"; runs that never do count with their last step, marked * ({never})" if never else ""
        notes.append(f"{sentence}{never}.")
    return notes
