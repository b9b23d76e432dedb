"""`srpo report`: what runs did, as one HTML page; with --watch, anew whenever they write something."""

import argparse
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from srpo.cli import UsageError
from srpo.report import ReportError, Summary, write_report
from srpo.run.terminal import Terminal

NAME = "report.html"
EVERY = 20
LONGEST = 86_400  # a day
USAGE = f"""usage: srpo report RUN [RUN ...] [--output FILE] [--watch]

Writes one HTML page that opens from disk and fetches nothing: curves of all runs, rollouts with every token's role,
gap, weight and advantage, distributions, audit, comparison, options, versions. RUN is a folder that srpo train, eval,
compare, credit or inspect wrote; of a run that has not finished, the page shows what is there.

  --output FILE         RUN/{NAME} by default, {NAME} for several runs
  --max_megabytes SIZE  rollouts that do not fit are left out; 10 by default
  --watch               write the page anew when a run has written something, until all have finished; an open page
                        reads itself again
  --every SECONDS       between two looks of --watch, and between two readings of an open page; {EVERY} by default
"""
_SUFFIXES = (".jsonl", ".json", ".yaml", ".parquet", ".md", ".png")
_NOT_READ = ("model", "checkpoint-", "parts")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see srpo report --help")


def main(arguments: Sequence[str]) -> int:
    """Run `srpo report`; returns the exit status."""
    console = Terminal()
    if {"-h", "--help"} & set(arguments):
        console.print(USAGE, end="", soft_wrap=True)
        return 0
    given = _parser().parse_args(list(arguments))
    if not given.runs:
        raise UsageError("no run is named; name a folder, such as srpo report runs/pips-srpo")
    if not 1 <= given.every <= LONGEST:
        raise UsageError(f"every {given.every} must lie between 1 and {LONGEST} seconds; {EVERY} is the default")
    by_place: dict[str, Path] = {}
    for run in given.runs:
        by_place.setdefault(os.path.realpath(run), Path(run))
    runs = list(by_place.values())
    output = Path(given.output or (runs[0] / NAME if len(runs) == 1 else NAME))
    write = partial(write_report, runs, output, max_megabytes=given.max_megabytes)
    try:
        if given.watch:
            _watch(console, runs, write, given.every)
        else:
            _show(console, write())
    except ReportError as error:
        raise UsageError(str(error)) from error
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="srpo report", add_help=False, allow_abbrev=False)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--output")
    parser.add_argument("--max_megabytes", type=float, default=10.0)
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--every", type=int, default=EVERY)
    return parser


def _watch(console: Console, runs: Sequence[Path], write: "partial[Summary]", every: int) -> None:
    """Write the page whenever a run has changed, until all have finished or the user stops it; then once without
    `refresh`, so that an open page stops reading itself."""
    summary = write(refresh=every)
    _show(console, summary)
    try:
        seen = _state(runs)
        while not summary.finished:
            time.sleep(every)
            if (state := _state(runs)) != seen:
                seen, summary = state, write(refresh=every)
                console.print(f"{time.strftime('%H:%M:%S')}  {_size(summary)}", soft_wrap=True)
    except KeyboardInterrupt:
        console.print("\nStopped.")
    _show(console, write(refresh=None))


def _state(runs: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """Time and size of the files that a report may read."""
    found = {}
    for run in runs:
        for folder, folders, files in os.walk(run):
            folders[:] = [name for name in folders if not name.startswith(_NOT_READ)]
            for path in (os.path.join(folder, name) for name in files if name.endswith(_SUFFIXES)):
                try:
                    status = os.stat(path)
                except OSError:  # it went in the meantime
                    continue
                found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _show(console: Console, summary: Summary) -> None:
    for remark in summary.remarks:
        console.print(f"* {remark}", soft_wrap=True)
    console.print(f"{summary.output}  {_size(summary)}", soft_wrap=True)


def _size(summary: Summary) -> str:
    rollouts = f"{summary.replies:,} rollouts of {summary.prompts:,} prompts" if summary.replies else "no rollouts"
    return f"{summary.size / 1e6:.1f} MB, {rollouts}"
