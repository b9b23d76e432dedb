"""One figure of a comparison: every quantity by method, paired differences, learning curves; PNG and SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from srpo.evaluation.comparison.results import GAIN, Metric
from srpo.evaluation.comparison.statistics import Interval, mean_interval
from srpo.evaluation.comparison.summary import Summary

# Okabe and Ito's palette, told apart with the common kinds of colour blindness; the baseline is black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BOUNDS = {"≥": ">", "≤": "<"}
PANELS = (
    *("accuracy", "grounded_accuracy", "lucky_rate", "perception/needed"),
    *("steps_to_baseline", "tokens", "reliance/edited", "policy_kl"),  # long titles are no neighbours
)
COLUMNS, WIDTH, DPI = 4, 9.0, 200
FONT_SIZE, TITLE_SIZE = 8.5, 9.5


def draw(summary: Summary, curves: Mapping[str, Mapping[int, Sequence[float]]], folder: Path) -> list[Path]:
    """Write figure.png and figure.svg.

    Args:
        summary: what the comparison found.
        curves: method -> step -> smoothed training accuracy of its seeds.
        folder: where to write.

    Returns:
        The paths of the two files.
    """
    import matplotlib

    style: Any = {"font.size": FONT_SIZE, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}
    with matplotlib.rc_context(style):
        figure = _draw(summary, curves)
        paths = [folder / "figure.png", folder / "figure.svg"]
        for path in paths:
            partial = path.with_name("part-" + path.name)
            figure.savefig(partial, dpi=DPI)
            partial.replace(path)
    return paths


def _draw(summary: Summary, curves: Mapping[str, Mapping[int, Sequence[float]]]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = [summary.metric(name) for name in PANELS if summary.values.get(name)]
    rows = -(-len(metrics) // COLUMNS)
    row_height = 0.75 + 0.2 * len(summary.methods)
    heights = [*[row_height] * rows, row_height, 2.8]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.4 * len(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(3, 1, height_ratios=[max(0.1, rows * row_height), row_height + 0.1, 2.8])
    if metrics:
        _values(parts[0], summary, metrics)
    _differences(parts[1], summary)
    _curves(parts[2], summary, curves)
    return figure


def _values(part: Any, summary: Summary, metrics: Sequence[Metric]) -> None:
    title = "By method: a mark for each seed, mean and 95 % interval; dotted: before training; arrow: better"
    part.suptitle(title, size=TITLE_SIZE)
    axes = part.subplots(-(-len(metrics) // COLUMNS), COLUMNS, sharey=True, squeeze=False)
    for panel in axes.flat[len(metrics) :]:
        panel.set_visible(False)
    for panel, metric in zip(axes.flat, metrics, strict=False):
        panel.set_title(metric.label + _direction(metric), size=FONT_SIZE)
        _method_axis(panel, summary.methods)
        for row, method in enumerate(summary.methods):
            values = summary.values[metric.name].get(method, {})
            interval = summary.intervals[metric.name].get(method)
            _estimate(panel, summary, method, row, list(values.values()), interval and metric.shown(interval))
        if metric.name in summary.start:
            panel.axvline(summary.start[metric.name], color="grey", linestyle=":", linewidth=1)


def _differences(part: Any, summary: Summary) -> None:
    title = f"Difference to {summary.baseline}, paired by seed; right of the line: more than {summary.baseline}"
    part.suptitle(title, size=TITLE_SIZE)
    names = [name for name in dict.fromkeys(["accuracy", summary.primary]) if summary.differences.get(name)]
    if not names or not summary.others:
        return
    axes = part.subplots(1, len(names), sharey=True, squeeze=False)
    for panel, name in zip(axes.flat, names, strict=True):
        primary = ", the primary figure" if name == summary.primary else ""
        panel.set_xlabel(f"difference in {summary.metric(name).label}{primary}")
        panel.axvline(0, color="black", linewidth=0.8)
        _method_axis(panel, summary.others)
        values, baseline = summary.values[name], summary.values[name].get(summary.baseline, {})
        for row, method in enumerate(summary.others):
            of = values.get(method, {})
            paired = summary.differences[name].get(method)
            pairs = [of[seed] - baseline[seed] for seed in of if seed in baseline] if paired else []
            _estimate(panel, summary, method, row, pairs, paired.difference if paired else None)


def _curves(part: Any, summary: Summary, curves: Mapping[str, Mapping[int, Sequence[float]]]) -> None:
    from matplotlib.ticker import MaxNLocator

    part.suptitle(
        "Training accuracy, trailing mean over a tenth of the run; band: 95 % interval over seeds", size=TITLE_SIZE
    )
    panel = part.subplots()
    panel.set_xlabel("optimizer step")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_ylabel("accuracy of rollouts")
    for method in [method for method in summary.methods if curves.get(method)]:
        colour, marker = _look(summary, method)
        steps = list(curves[method])
        intervals = [mean_interval(curves[method][step]) for step in steps]
        means = [interval.mean for interval in intervals]
        style: Any = {"color": colour, "marker": marker, "markersize": 4, "markevery": max(1, len(steps) // 8)}
        panel.plot(steps, means, label=method, linewidth=1.4, **style)
        if intervals and intervals[0].low is not None:
            bounds = [[interval.low for interval in intervals], [interval.high for interval in intervals]]
            panel.fill_between(steps, *bounds, color=colour, alpha=0.12, linewidth=0)
    values = [value for of_method in curves.values() for of_step in of_method.values() for value in of_step]
    if values and min(values) >= 0 and max(values) <= 1:  # the band of an accuracy may reach beyond what there is
        low, high = panel.get_ylim()
        panel.set_ylim(max(-0.02, low), min(1.02, high))
    if summary.target is not None:
        label = f"{GAIN} of {summary.baseline}'s gain"
        panel.axhline(summary.target, color="grey", linestyle=":", linewidth=1, label=label)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, ncols=2, loc="best")


def _estimate(
    panel: Any, summary: Summary, method: str, row: int, values: Sequence[float], interval: Interval | None
) -> None:
    colour, marker = _look(summary, method)
    panel.scatter(values, [row + 0.16] * len(values), color=colour, marker=marker, s=11, alpha=0.55, linewidth=0)
    if interval is None:
        return
    if interval.low is not None:
        panel.plot([interval.low, interval.high], [row - 0.12] * 2, color=colour, linewidth=1.6)
    if interval.bound:
        panel.plot([interval.mean], [row - 0.12], color=colour, marker=BOUNDS[interval.bound], markersize=5)
        return
    panel.plot([interval.mean] * 2, [row - 0.3, row + 0.06], color=colour, linewidth=2.2)


def _method_axis(panel: Any, methods: Sequence[str]) -> None:
    panel.set_yticks(range(len(methods)), methods)
    panel.set_ylim(len(methods) - 0.5, -0.5)
    panel.grid(axis="x", linewidth=0.4, alpha=0.5)
    panel.locator_params(axis="x", nbins=4)


def _look(summary: Summary, method: str) -> tuple[str, str]:
    if method == summary.baseline:
        return "black", "o"
    i = summary.others.index(method)
    return COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]


def _direction(metric: Metric) -> str:
    return {"higher": " →", "lower": " ←"}.get(metric.better, "")
