"""From run directories to what the page shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from srpo.report.comparison import method_series
from srpo.report.curves import charts, thinned
from srpo.report.distributions import distributions
from srpo.report.prompts import Prompt, choose, prompt_of
from srpo.report.rollouts import Rollout, read_groups
from srpo.report.runs import RunFiles, read_run, short_names
from srpo.report.tables import audit_tables, comparison
from srpo.report.text import finite, page_json, shortened

Payload = tuple[dict[str, Any], list[str]]


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
        for group in read_groups(run.path, run.missing) if run.kind != "mean" else ():
            prompts.append(prompt_of(i, group))
            rollouts.setdefault(i, []).extend(replace(reply, tokens=[]) for reply in group.replies)
        if run.kind in ("train", "inspect") and i not in rollouts:
            run.missing.append("There are no rollouts to show: rollouts/ holds no readable file.")
    data = _without_prompts(runs, rollouts, refresh)
    chosen = choose(prompts, room - len(page_json(data).encode("utf-8")))
    left = chosen.total - len(chosen.groups)
    if left:
        data["left_out"] = (
            f"{left} of {chosen.total} prompts are left out to keep the page small; the first of each step are here, "
            "and the rollouts folder holds all. --max_megabytes makes room for more."
        )
    if chosen.unreadable:
        data["runs"][0]["missing"].append(f"{chosen.unreadable} pictures of rollouts cannot be read.")
    return data | {"images": chosen.images, "groups": chosen.groups}, chosen.blobs


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
    credit = run.kind in ("train", "inspect")
    return {
        "name": shortened(run.name, 200),
        "kind": "train" if run.kind == "mean" else run.kind,
        "credit": shortened(str(run.option("credit")), 200) if credit else "",
        "strength": run.option("credit_strength"),
        "clip": [run.option("credit_weight_min"), run.option("credit_weight_max")],
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
    return {name: value for name, value in plain(run.result).items() if not isinstance(value, (dict, list))}


def plain(value: Any, depth: int = 6) -> Any:
    """A value as JSON knows it, no deeper and no longer than a page can bear."""
    if isinstance(value, Mapping) and depth:
        return {shortened(str(name), 200): plain(item, depth - 1) for name, item in list(value.items())[:500]}
    if isinstance(value, (list, tuple)) and depth:
        return [plain(item, depth - 1) for item in value[:500]]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return finite(value)
    return shortened(str(value), 2_000)
