"""What `srpo credit` found, on the screen and in files: tables of credits, the sentence, what makes it doubtful."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from srpo.evaluation.alignment.result import SPACE_NAMES, TARGET_NAMES, Line, chance_findings
from srpo.evaluation.alignment.statistics import Interval

LEGEND = (
    "Alignment is the cosine between the gradient of one batch and the summed gradient of all other batches, "
    "which stands for the true policy gradient; the mean over batches. The line of uniform, which is GRPO, shows "
    "it; the others show their difference to uniform on the same rollouts, and ± is half of its 95 % interval. "
    "Above 0 the same rollouts point further uphill. Adam's space divides every coordinate by the root of its "
    "second moment, as the optimizer does. Norm is the length of the gradient against that of uniform; tokens is "
    "the share of a rollout's tokens that the update is spread over, 1 when all count alike. negated (gaps turned "
    "round), surprise (-log π as gap) and confidence (log π as gap) are controls."
)
GROUNDED = "The grounded reward is 1 where the answer and every fact that it needs are right."
COLUMNS = (
    *("credit", "space", "target", "batches", "alignment", "difference", "error", "low", "high"),
    *("norm_ratio", "effective_tokens"),
    *("reference", "to_reference", "to_reference_error", "to_reference_low", "to_reference_high"),
)


def show_result(
    console: Console, lines: Sequence[Line], reference: str | None, verdict: str, remarks: Sequence[str]
) -> None:
    """Print the tables of each target, what they mean, the sentence, and what makes it doubtful."""
    targets = [target for target in TARGET_NAMES if ("gradient", target) in lines[0].difference]
    for target in targets:
        console.print()
        console.print(_alignments(lines, target))
        if _compared(lines):
            console.print()
            console.print(_differences(lines, target, f"Paired difference to {reference}, {TARGET_NAMES[target]}"))
    console.print()
    console.print(" ".join([LEGEND, *[GROUNDED] * ("grounded" in targets), chance_findings(lines)]), style="dim")
    console.print(f"\n{verdict}", style="bold", soft_wrap=True)
    for remark in remarks:
        console.print(remark, style="yellow", soft_wrap=True)


class _Label:
    """The label of a credit, broken behind a comma or a colon where it is too long for its column."""

    def __init__(self, label: str) -> None:
        self._pieces = re.findall(r"[^:,]+[:,]?", label)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        lengths = [len(piece) for piece in self._pieces]
        return Measurement(max(lengths), sum(lengths)).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        lines = [""]
        for piece in self._pieces:
            if len(lines[-1]) + len(piece) > options.max_width:
                lines.append("")
            lines[-1] += piece
        yield Text("\n".join(lines), overflow="fold")


def _alignments(lines: Sequence[Line], target: str) -> Table:
    note = f"cosine ± half of the 95 % interval, {lines[0].batches} batches"
    table = _table(f"Alignment with the {TARGET_NAMES[target]}\n{note}", "norm", "tokens")
    for i, line in enumerate(lines):
        shown = [(line.difference if i else line.alignment)[space, target] for space in SPACE_NAMES]
        cells = [_cell(interval, signed=i > 0) for interval in shown]
        style = _style(shown[0]) if i else None
        table.add_row(
            _Label(line.credit), *cells, f"{line.norm_ratio:.2f}", f"{line.effective_tokens:.2f}", style=style
        )
    return table


def _differences(lines: Sequence[Line], target: str, title: str) -> Table:
    table = _table(title)
    for line in _compared(lines):
        shown = [line.to_reference[space, target] for space in SPACE_NAMES]
        table.add_row(_Label(line.credit), *(_cell(x, signed=True) for x in shown), style=_style(shown[0]))
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("credit")
    for heading in (*SPACE_NAMES.values(), *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def write_tables(run: Path, lines: Sequence[Line], reference: str | None, remarks: Sequence[str]) -> None:
    """Write credit.md, with what makes the figures doubtful, and credit.csv."""
    keys = list(lines[0].difference)
    heads = [f"{SPACE_NAMES[space]}, {target}" for space, target in keys]
    unit = f"Cosines ± half of the 95 % interval; {lines[0].batches} batches."
    rows = [
        [
            line.credit,
            *(_cell((line.difference if i else line.alignment)[key], signed=i > 0) for key in keys),
            f"{line.norm_ratio:.2f}",
            f"{line.effective_tokens:.2f}",
        ]
        for i, line in enumerate(lines)
    ]
    text = ["## Alignment", *_markdown([*heads, "norm", "tokens"], rows)]
    text += [f"uniform: the alignment itself; others: paired difference to it. {unit} {chance_findings(lines)}".strip()]
    if _compared(lines):
        rows = [
            [line.credit, *(_cell(line.to_reference[key], signed=True) for key in keys)] for line in _compared(lines)
        ]
        text += ["", f"## Paired difference to {reference}", *_markdown(heads, rows), unit]
    text += [part for remark in remarks for part in ("", remark)]
    (run / "credit.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    _write_csv(run / "credit.csv", lines, reference)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table with an empty line before and behind it."""
    lines = [f"| {' | '.join(row)} |" for row in (["credit", *heads], *rows)]
    return ["", lines[0], "|---" * (len(heads) + 1) + "|", *lines[1:], ""]


def _write_csv(path: Path, lines: Sequence[Line], reference: str | None) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for line in lines:
            for key, found in line.difference.items():
                own = (line.credit, *key, line.batches, line.alignment[key].value, *_numbers(found))
                also = (reference, *_numbers(line.to_reference[key])) if line.to_reference else ("",) * 5
                writer.writerow([*own, line.norm_ratio, line.effective_tokens, *also])


def _compared(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line.to_reference]


def _numbers(interval: Interval) -> tuple[float, float, float, float]:
    return interval.value, interval.error, interval.low, interval.high


def _cell(interval: Interval, *, signed: bool) -> str:
    value = f"{interval.value:+.3f}" if signed else f"{interval.value:.3f}"
    return f"{value} ± {(interval.high - interval.low) / 2:.3f}"


def _style(difference: Interval) -> str | None:
    if difference.low > 0:
        return "green"
    return "red" if difference.high < 0 else None
