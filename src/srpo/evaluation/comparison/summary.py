"""Results of all runs in one structure: intervals over seeds, paired differences to the baseline, tests."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from srpo.evaluation.comparison.results import (
    FEWEST_POINTS,
    GAIN,
    METRICS,
    STEPS_TO_BASELINE,
    Metric,
    Result,
    by_method,
)
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
        censored: method -> seeds of the runs that never reached it.
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
    censored: dict[str, list[int]]
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
    censored: dict[str, list[int]] = {}
    for result in results:
        if result.censored:
            censored.setdefault(result.method, []).append(result.seed)
    of_figure = {name: censored if name == STEPS_TO_BASELINE else {} for name in names}
    intervals = {name: _intervals(values[name], of_figure[name]) for name in names}
    differences = {name: _differences(values[name], baseline, of_figure[name]) for name in names}
    tested = {m: paired.p_t for m, paired in differences.get(primary, {}).items() if paired.p_t is not None}
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
        censored=censored,
        notes=notes,
    )
    summary.notes += _notes(summary)
    return summary


def _intervals(values: Mapping[str, Mapping[int, float]], censored: Mapping[str, Sequence[int]]) -> dict[str, Interval]:
    return {
        method: mean_interval(list(of.values()), bound="≥" if method in censored else "")
        for method, of in values.items()
    }


def _differences(
    values: Mapping[str, Mapping[int, float]], baseline: str, censored: Mapping[str, Sequence[int]]
) -> dict[str, Paired]:
    compared = {
        method: paired_comparison(
            of_method,
            values.get(baseline, {}),
            censored=censored.get(method, ()),
            baseline_censored=censored.get(baseline, ()),
        )
        for method, of_method in values.items()
        if method != baseline
    }
    return {method: paired for method, paired in compared.items() if paired is not None}


def _notes(summary: Summary) -> list[str]:
    notes = []
    primary = summary.differences.get(summary.primary, {})
    pairs = {paired.difference.n for paired in primary.values()}
    tested = {method: paired for method, paired in primary.items() if not paired.difference.bound}
    equal = [method for method, paired in tested.items() if paired.difference.n > 1 and paired.p_t is None]
    if equal:
        notes.append(f"{', '.join(equal)}: the differences are equal in all seeds, so that the t test says nothing.")
    if pairs and max(pairs) <= MAX_EXACT:
        n = max(pairs)
        notes.append(
            f"With {n} pair{'s' if n > 1 else ''} the sign-flip p cannot fall below 2/2^{n} = {sign_flip_floor(n):.4g}."
        )
    if len(pairs) > 1:
        notes.append("Methods have different numbers of pairs, because some runs are missing.")
    return notes + _notes_on_steps(summary)


def _notes_on_steps(summary: Summary) -> list[str]:
    baseline = summary.baseline
    if summary.target is None and summary.values:
        return [
            f"Steps to {GAIN} of the baseline's gain are left out, because no run of {baseline} logged "
            f"{FEWEST_POINTS} or more generations, or its accuracy did not rise."
        ]
    if summary.target is None or not summary.values.get(STEPS_TO_BASELINE):
        return []
    notes = [
        f"Steps count up to the first at which the smoothed training accuracy is at {summary.target:.3f}, "
        f"{GAIN} of the way that {baseline} rises on average, in this window and the next."
    ]
    if summary.censored:
        notes.append(
            "A run that does not get there counts with the first step too late to be confirmed. So a mean "
            "with such a run is a lower bound (≥); a difference is one where the run is of the method, an upper bound "
            f"(≤) where it is of {baseline}, and left out where both have one. Bounds have no interval and no test."
        )
    return notes
