"""Learning curves of a comparison: the mean over the seeds of each method."""

import math
from pathlib import Path

from srpo.report.runs import Point, Series, read_series

_FOLDERS = ("runs/*", "tuning/*/*")  # METHOD/seed-N; before any run is reported, METHOD/lr-R/seed-N


def method_series(folder: Path) -> dict[str, Series]:
    """Method -> mean series over its seeds, at the steps that all of them have; {} before any run has logged."""
    for pattern in _FOLDERS:
        found = {}
        for method in sorted(path for path in folder.glob(pattern) if path.is_dir()):
            logs = sorted(method.glob("seed-*/train/metrics.jsonl"))
            of_seeds = [series for series in (read_series(log, []) for log in logs) if series]
            if of_seeds:
                name = str(method.relative_to(folder)).partition("/")[2]
                seeds = f"mean of {len(of_seeds)} seeds" if len(of_seeds) > 1 else "1 seed"
                found[f"{name}, {seeds}"] = _mean(of_seeds)
        if found:
            return found
    return {}


def _mean(of_seeds: list[Series]) -> Series:
    names = set.intersection(*(set(series) for series in of_seeds))
    return {name: points for name in sorted(names) if (points := _mean_points([series[name] for series in of_seeds]))}


def _mean_points(curves: list[list[Point]]) -> list[Point]:
    """Points (step, mean) where every curve has a value."""
    known = [{step: value for step, value in curve if value is not None} for curve in curves]
    common = set.intersection(*(set(curve) for curve in known))
    return [(step, math.fsum(curve[step] for curve in known) / len(known)) for step in sorted(common)]
