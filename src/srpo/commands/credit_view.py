"""What `srpo credit` shows and writes: the plan, progress, the table of credits, the sentence."""

import csv
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.measure import Measurement as RichMeasurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from srpo import tiny
from srpo.commands.credit_options import CreditJob
from srpo.commands.rows import Rows
from srpo.evaluation.alignment.measure import Measurement
from srpo.evaluation.alignment.result import SPACE_NAMES, Line
from srpo.evaluation.alignment.statistics import Interval
from srpo.run.console import LINES, clock

LEGEND = (
    "Alignment is the cosine between the gradient of one batch and the summed gradient of all other batches, "
    "which stands for the true policy gradient; the mean over batches. The line of uniform, which is GRPO, shows "
    "it; the others show their difference to uniform on the same rollouts, and ± is half of its 95 % interval. "
    "Above 0 the same rollouts point further uphill. Adam's space divides every coordinate by the root of its "
    "second moment, as the optimizer does. Norm is the length of the gradient against that of uniform; tokens is "
    "the share of a rollout's tokens that the update is spread over, 1 when all count alike. negated (gaps turned "
    "round), surprise (-log π as gap) and confidence (log π as gap) are controls."
)
FIGURES = ("norm_ratio", "effective_tokens")
TITLES = {
    "reward": "Alignment with the gradient of the reward",
    "grounded": "Alignment with the gradient of the grounded reward (answer and needed facts right)",
}


def describe(job: CreditJob, name: str, model_type: str, rows: Rows, run: Path) -> dict[str, str]:
    """Name -> one line of the plan."""
    own, config = job.arguments, job.config
    group = config.num_generations or 1
    skipped = {"skipped": f"{rows.counted()}"} if rows.skipped else {}
    return {
        "model": f"{'tiny' if name == str(tiny.model_path()) else name} ({model_type})",
        "data": f"{own.dataset_name}: {len(rows.train)} rows",
        **skipped,
        "credits": ", ".join(spec.label for spec in job.specs),
        "batches": f"{own.batches} of {own.prompts_per_batch} prompts x {group} rollouts, up to "
        f"{config.max_completion_length} tokens, temperature {config.temperature:g}",
        "gradients": f"loss {config.loss_type}, parameters {own.parameters or 'all that are trained'}, at most "
        f"{own.sketch:,} numbers each",
        "contrasts": f"image corrupted by {config.corruption}, seed {config.seed}",
        "run": str(run),
    }


class BatchProgress:
    """A live bar with the figures of the last batch; in a file or a pipe, a dozen lines."""

    def __init__(self, console: Console, batches: int, measurement: Measurement) -> None:
        self.console, self.batches, self.done = console, batches, 0
        self.there, self.started = 0, time.perf_counter()
        kept = "whole" if measurement.sketch.exact else f"sketched to {measurement.sketch.dimension:,}"
        count = sum(parameter.numel() for parameter in measurement.parameters.values())
        disk = 4e-9 * measurement.numbers
        console.print(
            f"\nGradients of {count:,} coordinates, kept {kept}; {disk:.1f} GB on disk until the end.\n", soft_wrap=True
        )
        self.bar: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("batch"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
            self.bar = Progress(*columns, TextColumn("{task.fields[figures]}"), console=console)
            self.task = self.bar.add_task("", total=batches, left="", figures="")

    def __enter__(self) -> "BatchProgress":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def go_on(self, records: Sequence[dict[str, Any]]) -> None:
        """Start behind the batches that an earlier run left, which say nothing about the time that the others take."""
        if records:
            self.console.print(f"{len(records)} of {self.batches} batches are there already")
        self.done = self.there = len(records)
        self.started = time.perf_counter()
        if self.bar:
            self.bar.update(self.task, completed=self.done)

    def __call__(self, record: dict[str, Any]) -> None:
        """Count a batch that was measured."""
        self.done += 1
        rewards = {
            name.removesuffix("_reward"): value for name, value in record["rewards"].items() if value is not None
        }
        figures = {**rewards, "structured": record["structured"], "A not 0": record["learning"]}
        text = "  ".join(f"{name} {value:.2f}" for name, value in figures.items())
        seconds = (time.perf_counter() - self.started) / (self.done - self.there)
        left = f"{clock(seconds * (self.batches - self.done))} left"
        if self.bar:
            self.bar.update(self.task, completed=self.done, left=left, figures=text)
        elif self.done in (self.there + 1, self.batches) or self.done % max(1, self.batches // LINES) == 0:
            self.console.print(f"batch {self.done}/{self.batches}  {text}  {left}", soft_wrap=True)


def show_result(console: Console, lines: Sequence[Line], verdict: str, remarks: Sequence[str]) -> None:
    """Print a table for each target, what they mean, the sentence, and what makes it doubtful."""
    for target, title in TITLES.items():
        if ("gradient", target) in lines[0].difference:
            console.print()
            console.print(_table(lines, target, title))
    console.print()
    console.print(LEGEND, style="dim")
    console.print(f"\n{verdict}", style="bold", soft_wrap=True)
    for remark in remarks:
        console.print(remark, style="yellow", soft_wrap=True)


class _Label:
    """The label of a credit, broken behind a comma or a colon where it is too long for its column."""

    def __init__(self, label: str) -> None:
        self._pieces = re.findall(r"[^:,]+[:,]?", label)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> RichMeasurement:
        lengths = [len(piece) for piece in self._pieces]
        return RichMeasurement(max(lengths), sum(lengths)).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        lines = [""]
        for piece in self._pieces:
            if len(lines[-1]) + len(piece) > options.max_width:
                lines.append("")
            lines[-1] += piece
        yield Text("\n".join(lines), overflow="fold")


def _table(lines: Sequence[Line], target: str, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("credit")
    for space in SPACE_NAMES:
        table.add_column(SPACE_NAMES[space], justify="right", no_wrap=True)
    for heading in ("norm", "tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    for i, line in enumerate(lines):
        shown = [(line.difference if i else line.alignment)[space, target] for space in SPACE_NAMES]
        cells = [_cell(interval, signed=i > 0) for interval in shown]
        style = _style(shown[0]) if i else None
        table.add_row(
            _Label(line.credit), *cells, f"{line.norm_ratio:.2f}", f"{line.effective_tokens:.2f}", style=style
        )
    return table


def write_tables(run: Path, lines: Sequence[Line], remarks: Sequence[str]) -> None:
    """Write credit.md, with what makes the figures doubtful, and credit.csv."""
    keys = list(lines[0].difference)
    heads = [f"{SPACE_NAMES[space]}, {target}" for space, target in keys]
    rows = ["| credit | " + " | ".join(heads) + " | norm | tokens |", "|---" * (len(keys) + 3) + "|"]
    for i, line in enumerate(lines):
        cells = [_cell(line.alignment[key] if i == 0 else line.difference[key], signed=i > 0) for key in keys]
        rows.append(f"| {line.credit} | {' | '.join(cells)} | {line.norm_ratio:.2f} | {line.effective_tokens:.2f} |")
    note = "\nuniform: the alignment itself; others: paired difference to it; ± half of the 95 % interval."
    (run / "credit.md").write_text(
        "\n".join([*rows, note, *("\n" + remark for remark in remarks)]) + "\n", encoding="utf-8"
    )
    with (run / "credit.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*("credit", "space", "target", "alignment", "difference", "error", "low", "high"), *FIGURES])
        for line in lines:
            for (space, target), found in line.difference.items():
                figures = (found.value, found.error, found.low, found.high, line.norm_ratio, line.effective_tokens)
                writer.writerow([line.credit, space, target, line.alignment[space, target].value, *figures])


def _cell(interval: Interval, *, signed: bool) -> str:
    value = f"{interval.value:+.3f}" if signed else f"{interval.value:.3f}"
    return f"{value} ± {(interval.high - interval.low) / 2:.3f}"


def _style(difference: Interval) -> str | None:
    if difference.low > 0:
        return "green"
    return "red" if difference.high < 0 else None
