"""What `srpo eval` shows: how far it is, and the figures."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from srpo.evaluation.audit import legend
from srpo.evaluation.bootstrap import Estimate
from srpo.evaluation.run import Advance, Result
from srpo.evaluation.store import AS_IS
from srpo.run.console import LINES, clock


class Bars:
    """A bar for each variant, with replies a second and the time left; a dozen lines where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def __call__(self, variant: str, there: int, total: int) -> Iterator[Advance]:
        title = "replies" if variant == AS_IS else f"audit: {variant}"
        if total == there:
            yield lambda count: None
            return
        started = time.perf_counter()
        if there:
            self.console.print(f"{title}: {there} of {total} are there already")

        def pace(count: int) -> str:
            rate = max(count - there, 0) / (time.perf_counter() - started)
            return f"{rate:.1f} replies/s  left {clock((total - count) / rate)}" if rate else ""

        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[pace]}"),
            )
            with Progress(*columns, console=self.console) as bar:
                task = bar.add_task(title, total=total, completed=there, pace="")
                yield lambda count: bar.update(task, completed=count, pace=pace(count))
        else:
            yield _lines(self.console, title, there, total, pace)


def _lines(console: Console, title: str, there: int, total: int, pace: Callable[[int], str]) -> Advance:
    """Prints a line at the first advance, at every twelfth of the whole and at the end."""
    shown = [-1]

    def advance(count: int) -> None:
        step = count * LINES // total
        if step > shown[0] or count == total:
            shown[0] = step
            console.print(f"{title}  {count}/{total}  {pace(count)}", soft_wrap=True)

    return advance


def show_result(console: Console, result: Result, samples: int) -> None:
    """Print all figures with their intervals, and those of each task and family where there are several."""
    console.print()
    title = f"{result.questions} questions, {samples} replies each"
    console.print(_table(title, result.metrics))
    for name, groups in (("task", result.by_task), ("family", result.by_family)):
        if len(groups) > 1:
            console.print(_by_group(name, groups))
    if result.audit:
        console.print(_table("Grounding audit", result.audit))
        for line in legend(result.audit):
            console.print(f"  {line}", style="dim", highlight=False, markup=False)


def _table(title: str, estimates: Mapping[str, Estimate]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("value", "95 % interval", "questions"):
        table.add_column(heading, justify="right")
    for name, found in estimates.items():
        table.add_row(name, _figure(name, found.value), _interval(name, found), str(found.n))
    return table


def _by_group(column: str, groups: Mapping[str, Mapping[str, Estimate]]) -> Table:
    names = [name for name in next(iter(groups.values())) if name not in ("format", "ended")]
    table = Table(title=f"By {column}", title_justify="left")
    table.add_column(column)
    for name in (*names, "questions"):
        table.add_column(name, justify="right")
    for group, estimates in groups.items():
        cells = [f"{_figure(n, estimates[n].value)}" if n in estimates else "" for n in names]
        table.add_row(group, *cells, str(estimates["accuracy"].n))
    return table


def _figure(name: str, value: float) -> str:
    return f"{value:.1f}" if name == "tokens" else f"{value:.3f}"


def _interval(name: str, estimate: Estimate) -> str:
    return f"{_figure(name, estimate.low)} to {_figure(name, estimate.high)}"
