"""From run directories to what the page shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from srpo.report.comparison import method_series
from srpo.report.curves import charts, thinned
from srpo.report.distributions import distributions
from srpo.report.notes import run_note
from srpo.report.prompts import Chosen, Prompt, choose, prompt_of
from srpo.report.rollouts import Rollout, read_groups
from srpo.report.runs import WITHOUT_GAPS, RunFiles, read_run, short_names
from srpo.report.tables import audit_tables, comparison, headline
from srpo.report.text import page_json, plain, shortened

Payload = tuple[dict[str, Any], list[str]]
_SENTENCES = 2_000  # bytes kept free for what is said of prompts that are left out and of pictures
_NAMED = 8  # steps, and runs
_TOLD_ELSEWHERE = ("credit", "weights_assume")  # of inspection.json


def read_runs(paths: Sequence[Path]) -> list[RunFiles]:
    """The runs of these folders; behind a comparison, one for the mean of each of its methods.

    Raises:
        ReportError: for what is no run.
    """
    named = zip(paths, short_names(list(paths)), strict=True)
    return [run for path, name in named for run in _with_methods(read_run(path, name))]


def make_payload(runs: Sequence[RunFiles], room: int, refresh: int | None) -> Payload:
    """The data of a page and the replies of its prompts.

    Args:
        runs: what to show.
        room: bytes that data and replies may take; prompts that do not fit are left out.
        refresh: seconds after which the page reads itself again; None for never.
    """
    prompts: list[Prompt] = []
    rollouts: dict[int, list[Rollout]] = {}
    for i, run in enumerate(runs):
        measured = run.credit not in WITHOUT_GAPS
        for group in read_groups(run.path, run.missing, measured=measured) if run.kind != "mean" else ():
            prompts.append(prompt_of(i, group))
            rollouts.setdefault(i, []).extend(replace(reply, tokens=[]) for reply in group.replies)
        if run.kind in ("train", "inspect") and i not in rollouts:
            run.missing.append("There are no rollouts to show: rollouts/ holds no readable file.")
    data = _without_prompts(runs, rollouts, refresh)
    chosen = choose(prompts, room - _SENTENCES - len(page_json(data).encode("utf-8")))
    for i, count in chosen.unreadable.items():
        runs[i].missing.extend([f"{count} picture{'s' * (count > 1)} of rollouts cannot be read."] * bool(count))
    left_out = _left_out(chosen, [run.name for run in runs])
    return data | {"images": chosen.images, "groups": chosen.groups, "left_out": left_out}, chosen.blobs


def _left_out(chosen: Chosen, names: Sequence[str]) -> str:
    """How many prompts are left out, and of which steps nothing is left."""
    if not chosen.left:
        return ""
    total = chosen.left + len(chosen.groups)
    gone = {run: steps for run, steps in chosen.gone.items() if steps}
    parts = []
    for run, steps in gone.items():
        of = f" of {shortened(names[run], 60)}" if len(chosen.gone) > 1 else ""
        more = f" and {len(steps) - _NAMED} more" if len(steps) > _NAMED else ""
        named = ", ".join(map(str, steps[:_NAMED])) + more
        parts.append(f"of {len(steps)} step{'s' * (len(steps) > 1)}{of} none is here: {named}")
    steps_gone = "; ".join(parts[:_NAMED]) if parts else "of every step, some are here"
    return (
        f"{chosen.left} of {total} prompts are left out to keep the page small; {steps_gone}. "
        "The rollouts folder holds all; --max_megabytes makes room for more."
    )


def _without_prompts(
    runs: Sequence[RunFiles], rollouts: Mapping[int, list[Rollout]], refresh: int | None
) -> dict[str, Any]:
    drawn = charts([run.series for run in runs])
    metrics = {name for chart in drawn for name, _ in chart["metrics"]}
    compared = [(i, comparison(run)) for i, run in enumerate(runs)]
    return {
        "version": 1,
        "title": ", ".join(run.name for run in runs if run.kind != "mean")[:200],
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "refresh": refresh,
        "runs": [_shown(run, metrics) for run in runs],
        "charts": drawn,
        "distributions": distributions(rollouts.items()),
        "images": [],
        "groups": [],
        "left_out": "",
        "audit": [
            {"run": i, **table} for i, run in enumerate(runs) if run.kind == "eval" for table in audit_tables(run)
        ],
        "comparison": [{"run": i, **found} for i, found in compared if found is not None],
    }


def _with_methods(run: RunFiles) -> Iterator[RunFiles]:
    yield run
    if run.kind == "compare":
        for name, series in method_series(run.path).items():
            yield RunFiles(run.path, f"{run.name}: {name}", "mean", series=series)


def _shown(run: RunFiles, metrics: set[str]) -> dict[str, Any]:
    return {
        "name": shortened(run.name, 200),
        "kind": "train" if run.kind == "mean" else run.kind,
        "credit": run.credit,
        "strength": run.strength,
        "clip": run.clip,
        "headline": headline(run) if run.kind == "eval" else [],
        "note": run_note(run),
        "held_out": run.held_out,
        "config": plain(run.config),
        "environment": plain(run.environment),
        "summary": _summary(run),
        "missing": run.missing,
        "series": {name: thinned(points) for name, points in run.series.items() if name in metrics},
    }


def _summary(run: RunFiles) -> dict[str, Any] | None:
    """What a run ended with; of long results, the figures and sentences at their top."""
    if run.result is None or run.kind == "train":
        return None if run.result is None else plain(run.result)
    shown = {name: value for name, value in run.result.items() if name not in _TOLD_ELSEWHERE}
    return {name: value for name, value in plain(shown).items() if not isinstance(value, (dict, list))}
