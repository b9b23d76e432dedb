"""Write the report of some runs."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from srpo.report.page import render
from srpo.report.payload import make_payload, read_runs
from srpo.report.runs import ReportError

SMALLEST, LARGEST = 1.0, 1e6  # megabytes of a page


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        size: of the page in bytes.
        runs: names of the runs that were named.
        prompts: prompts in the page.
        replies: replies in the page.
        finished: have all runs finished?
        remarks: what is missing, run by run, and what was left out.
    """

    output: Path
    size: int
    runs: list[str]
    prompts: int
    replies: int
    finished: bool
    remarks: list[str]


def write_report(
    runs: Sequence[Path], output: Path, *, max_megabytes: float = 10.0, refresh: int | None = None
) -> Summary:
    """Write one self-contained HTML page on runs, whatever state they are in.

    Args:
        runs: run directories, of `srpo train`, `eval`, `compare`, `credit` or `inspect`.
        output: the file; a reader never sees half of it.
        max_megabytes: what the page may take (1 MB = 10^6 bytes); rollouts that do not fit are left out.
        refresh: seconds after which an open page reads itself again.

    Raises:
        ReportError: for a folder that holds no run, for a file that cannot be written, and for too little room.
    """
    if not SMALLEST <= max_megabytes <= LARGEST:
        rule = f"must be {SMALLEST:g} or more, and no more than {LARGEST:,.0f}"
        raise ReportError(f"max_megabytes {max_megabytes} {rule}; 10 is the default")
    found = read_runs(runs)
    bare = len(render({"title": ""}, []).encode("utf-8"))
    data, blobs = make_payload(found, int(max_megabytes * 1e6) - bare, refresh)
    page = render(data, blobs).encode("utf-8")
    partial = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(page)
        partial.replace(output)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise ReportError(f"report {output} cannot be written ({error.strerror}); name another --output") from error
    named = [run for run in found if run.kind != "mean"]
    return Summary(
        output=output,
        size=len(page),
        runs=[run.name for run in named],
        prompts=len(data["groups"]),
        replies=sum(len(group["replies"]) for group in data["groups"]),
        finished=all(run.finished for run in named),
        remarks=[f"{run.name}: {sentence}" for run in named for sentence in run.missing]
        + [data["left_out"]] * bool(data["left_out"]),
    )
