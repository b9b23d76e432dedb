"""What `srpo credit` shows before its result: the plan, and progress."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from srpo import tiny
from srpo.commands.credit_options import CreditJob
from srpo.commands.rows import Rows
from srpo.evaluation.alignment.measure import Measurement
from srpo.run.console import LINES, clock


def describe(job: CreditJob, name: str, model_type: str, rows: Rows, run: Path) -> dict[str, str]:
    """Name -> one line of the plan."""
    own, config = job.arguments, job.config
    group = config.num_generations or 1
    repeats = own.batches * own.prompts_per_batch / len(rows.train)
    corruptions = dict.fromkeys(spec.corruption for spec in job.specs if spec.corruption)
    skipped = {"skipped": f"{rows.counted()}"} if rows.skipped else {}
    return {
        "model": f"{'tiny' if name == str(tiny.model_path()) else name} ({model_type})",
        "data": f"{own.dataset_name}: {len(rows.train)} rows"
        + (f", each in about {repeats:.1f} batches (--rows)" if repeats > 1 else ""),
        **skipped,
        "credits": ", ".join(spec.label for spec in job.specs),
        "batches": f"{own.batches} of {own.prompts_per_batch} prompts x {group} rollouts, up to "
        f"{config.max_completion_length} tokens, temperature {config.temperature:g}",
        "gradients": f"loss {config.loss_type}, parameters {own.parameters or 'all that are trained'}, at most "
        f"{own.sketch:,} numbers each",
        "contrasts": f"image corrupted by {', '.join(corruptions) or 'nothing'}, seed {config.seed}",
        "run": str(run),
    }


class BatchProgress:
    """A live bar with the figures of the last batch; in a file or a pipe, a dozen lines."""

    def __init__(self, console: Console, batches: int, measurement: Measurement, *, keep: bool = False) -> None:
        self.console, self.batches, self.done = console, batches, 0
        self.there, self.started = 0, time.perf_counter()
        kept = "whole" if measurement.sketch.exact else f"sketched to {measurement.sketch.dimension:,}"
        count = sum(parameter.numel() for parameter in measurement.parameters.values())
        disk, until = 4e-9 * measurement.numbers, "" if keep else " until the end"
        console.print(
            f"\nGradients of {count:,} coordinates, kept {kept}; {disk:.1f} GB on disk{until}.\n", soft_wrap=True
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
