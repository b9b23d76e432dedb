"""The table of a comparison: Markdown to read, CSV and JSON to compute with."""

import csv
import io
from typing import Any

from srpo.evaluation.comparison.results import STEPS_TO_BASELINE, Metric
from srpo.evaluation.comparison.statistics import Interval, Paired
from srpo.evaluation.comparison.summary import Summary

CSV_COLUMNS = (
    *("metric", "method", "mean", "low", "high", "bound", "seeds"),
    *("difference", "difference_low", "difference_high", "difference_bound", "pairs"),
    *("p_t", "p_holm", "p_sign_flip", "values"),
)


def markdown(summary: Summary) -> str:
    """The whole report: figures by method, differences to the baseline, tests, settings, notes."""
    parts = [
        f"# {', '.join(summary.others) or 'no method'} against {summary.baseline}\n",
        *_missing(summary),
        "## Mean over seeds and 95 % interval\n",
        _figures(summary),
        f"\n## Difference to {summary.baseline}, paired by seed: mean and 95 % interval\n",
        _differences(summary),
        f"\n## Test of the primary figure, {summary.metric(summary.primary).label}\n",
        _tests(summary),
        "\n## Settings\n",
        _settings(summary),
        "\n## Notes\n",
        *(f"- {note}" for note in _all_notes(summary)),
    ]
    return "\n".join(parts) + "\n"


def to_csv(summary: Summary) -> str:
    """One line for each figure and method; `values` holds seed=value pairs."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name, by_method in summary.intervals.items():
        for method in [method for method in summary.methods if method in by_method]:
            writer.writerow(_csv_row(summary, name, method))
    return buffer.getvalue()


def cell(metric: Metric, interval: Interval | None, *, signed: bool = False) -> str:
    """A mean with its interval, such as "0.803 [0.791, 0.815]", or a bound, such as "≥ 57.0"; "-" without one.

    A signed one keeps the sign of what rounds to 0: "[-0.000, +0.033]" has 0 inside.
    """
    if interval is None:
        return "-"
    sign = "+" if signed else "z"
    interval = interval if signed else metric.shown(interval)
    mean = f"{interval.bound} {interval.mean:{sign}.{metric.digits}f}".lstrip()
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{interval.low:{sign}.{metric.digits}f}, {interval.high:{sign}.{metric.digits}f}]"


def p_cell(p: float | None) -> str:
    """A p-value in four digits behind the point; "-" where there is none."""
    if p is None:
        return "-"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _csv_row(summary: Summary, name: str, method: str) -> dict[str, Any]:
    interval = summary.intervals[name][method]
    row: dict[str, Any] = {
        "metric": name,
        "method": method,
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "bound": interval.bound,
        "seeds": interval.n,
        "values": " ".join(f"{seed}={value:g}" for seed, value in sorted(summary.values[name][method].items())),
    }
    paired = summary.differences.get(name, {}).get(method)
    if paired is not None:
        row |= {
            "difference": paired.difference.mean,
            "difference_low": paired.difference.low,
            "difference_high": paired.difference.high,
            "difference_bound": paired.difference.bound,
            "pairs": paired.difference.n,
            "p_t": paired.p_t,
            "p_holm": summary.holm.get(method) if name == summary.primary else None,
            "p_sign_flip": paired.p_sign_flip,
        }
    return row


def _missing(summary: Summary) -> list[str]:
    if not summary.missing:
        return []
    return ["**Incomplete.** Without a result:\n", *(f"- {run}" for run in summary.missing), ""]


def _figures(summary: Summary) -> str:
    start = {"before training": summary.start} if summary.start else {}
    rows = []
    for metric in summary.shown():
        first = [f"{of[metric.name]:.{metric.digits}f}" if metric.name in of else "-" for of in start.values()]
        intervals = summary.intervals[metric.name]
        cells = [cell(metric, intervals.get(method)) + _reached(summary, metric, method) for method in summary.methods]
        rows.append([_label(metric), *first, *cells])
    return _table(["", *start, *summary.methods], rows)


def _differences(summary: Summary) -> str:
    rows = []
    for metric in summary.shown():
        paired = summary.differences[metric.name]
        rows.append([_label(metric), *(_signed(metric, paired.get(method)) for method in summary.others)])
    return _table(["", *summary.others], rows)


def _tests(summary: Summary) -> str:
    metric, paired = summary.metric(summary.primary), summary.differences.get(summary.primary, {})
    rows = []
    for method in summary.others:
        of = paired.get(method)
        p_t, flips, pairs = (of.p_t, of.p_sign_flip, of.difference.n) if of else (None, None, 0)
        p_values = [p_cell(p_t), p_cell(summary.holm.get(method)), p_cell(flips)]
        rows.append([method, _signed(metric, of), *p_values, str(pairs)])
    return _table(["", "difference", "p, paired t", "p, Holm", "p, sign flips", "pairs"], rows)


def _settings(summary: Summary) -> str:
    rows = []
    for method in summary.methods:
        options = summary.settings.get(method, {})
        listed = ", ".join(f"{name} {value}" for name, value in options.items() if name != "learning_rate")
        rate = options.get("learning_rate")
        rows.append([method, "the recipe's" if rate is None else f"{float(rate):g}", listed, _grid(summary, method)])
    heading = [
        "",
        "learning rate",
        "options",
        *(["held-out accuracy on the tuning seeds, by rate"] * bool(summary.tuning)),
    ]
    return _table(heading, [row if summary.tuning else row[:3] for row in rows])


def _grid(summary: Summary, method: str) -> str:
    means = summary.tuning.get(method, {}).get("means", {})
    return ", ".join(f"{rate:g}: {mean:.3f}" for rate, mean in means.items()) or "-"


def _all_notes(summary: Summary) -> list[str]:
    return [
        f"Seeds {', '.join(map(str, summary.seeds))}; intervals are Student's t over seeds. A difference is that of "
        "two runs with the same seed, so with the same prompts in the same order.",
        "The p-values ask whether the mean difference is 0; Holm's are adjusted for the number of methods compared.",
        *summary.notes,
    ]


def _reached(summary: Summary, metric: Metric, method: str) -> str:
    """Behind the steps to a target: how many of the method's runs got there."""
    runs = len(summary.values[metric.name].get(method, {})) if metric.name == STEPS_TO_BASELINE else 0
    return f" (reached {runs - len(summary.censored.get(method, []))} of {runs})" if runs else ""


def _signed(metric: Metric, paired: Paired | None) -> str:
    return cell(metric, paired.difference if paired else None, signed=True)


def _label(metric: Metric) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(metric.better, "")
    return metric.label + arrow


def _table(heading: list[str], rows: list[list[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(value.replace("|", "\\|") for value in line) + " |" for line in lines)
