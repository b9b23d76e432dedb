"""What a training command shows: the plan, a progress bar (or lines, where there is no terminal), the summary."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from transformers import TrainerCallback

LINES = 12  # progress lines of a whole run where there is no terminal

LEGEND = """Training. Figures of the last generation: mean reward, right answers, replies in the response format,
mean weight of perception and of reasoning tokens (1 is GRPO), entropy in nats a token.
"""

Columns = dict[str, tuple[str, str]]

COLUMNS: Columns = {
    "reward": ("reward", "{:.3f}"),
    "accuracy": ("rewards/accuracy_reward/mean", "{:.3f}"),
    "structured": ("srpo/structured/fraction", "{:.0%}"),
    "w perception": ("srpo/weight/perception_mean", "{:.2f}"),
    "w reasoning": ("srpo/weight/reasoning_mean", "{:.2f}"),
    "entropy": ("entropy", "{:.2f}"),
}


def show_plan(console: Console, plan: dict[str, str]) -> None:
    """Print name: value lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in plan.items():
        table.add_row(name, value)
    console.print(table)


def show_summary(console: Console, before: dict[str, float], after: dict[str, float]) -> None:
    """Print held-out figures before and after training."""
    table = Table(title="Held-out questions, one sampled reply each", title_justify="left")
    for heading in ("", "before", "after", "change"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, value in after.items():
        old = before.get(name)
        change = "" if old is None else f"{value - old:+.3f}"
        table.add_row(name, "" if old is None else f"{old:.3f}", f"{value:.3f}", change)
    console.print(table)


class ProgressCallback(TrainerCallback):
    """A live bar with the figures of the last step; in a file or a pipe, a dozen lines over the run.

    Args:
        console: where to show it.
        columns: heading -> (name in the trainer's log, format) of each figure.
        legend: what the figures mean.
    """

    def __init__(self, console: Console, columns: Columns | None = None, legend: str = LEGEND) -> None:
        self.console = console
        self.columns, self.legend = columns or COLUMNS, legend
        self.bar: Progress | None = None
        self.started = 0.0
        self.first_step = 0
        self.latest: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started, self.first_step = time.perf_counter(), state.global_step
        if not state.is_world_process_zero:
            return
        self.console.print(self.legend, soft_wrap=True)
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("[bold]step"),
                MofNCompleteColumn(),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self.console,
            )
            self.task = self.bar.add_task("train", total=state.max_steps, completed=state.global_step, figures="")
            self.bar.start()
        else:
            self.console.print("  ".join(["step".rjust(9), *self.columns, "s/step", "time left"]), soft_wrap=True)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        # With several updates a generation, only the first of them has figures of the rollouts.
        known = {name: (logs or {}).get(key) for name, (key, _) in self.columns.items()}
        self.latest |= {name: self.columns[name][1].format(value) for name, value in known.items() if value is not None}
        if not state.is_world_process_zero or "loss" not in (logs or {}):
            return
        done = max(1, state.global_step - self.first_step)
        pace = (time.perf_counter() - self.started) / done
        self.latest["s/step"] = f"{pace:.1f}"
        if self.bar is not None:
            figures = "  ".join(f"{name} {cell}" for name, cell in self.latest.items())
            self.bar.update(self.task, completed=state.global_step, figures=figures)
        elif state.global_step in (1, state.max_steps) or state.global_step % max(1, state.max_steps // LINES) == 0:
            left = pace * (state.max_steps - state.global_step)
            step = f"{state.global_step}/{state.max_steps}".rjust(9)
            cells = [self.latest.get(name, "-").rjust(len(name)) for name in (*self.columns, "s/step")]
            self.console.print("  ".join([step, *cells, clock(left).rjust(9)]), soft_wrap=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
