"""A run directory as it is: what can be read of it, and a sentence on each part that is missing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from srpo.report.text import finite, shortened

Point = tuple[int, float | None]
Series = dict[str, list[Point]]
KINDS = ("train", "eval", "compare", "credit", "inspect")
# The file that a finished run of a kind has, and what it is called in a sentence.
RESULTS = {
    "train": ("summary.json", "held-out figures before and after training"),
    "eval": ("evaluation.json", "figures"),
    "compare": ("results.json", "table and figure of the comparison"),
    "credit": ("credit.json", "alignments"),
    "inspect": ("inspection.json", "replies and their scores"),
}
_SIGNS = {
    "compare": ("results.json", "times.jsonl", "tuning"),
    "eval": ("evaluation.json", "identity.json"),
    "credit": ("credit.json", "batches.jsonl"),
    "inspect": ("inspection.json",),
    "train": ("metrics.jsonl", "rollouts", "config.yaml", "environment.json", "summary.json"),
}
# Of `srpo.credit_settings.CreditSettings`, which needs torch; config.yaml leaves out what is at its default.
DEFAULTS = {"credit": "srpo", "credit_strength": 1.0, "credit_weight_min": 0.5, "credit_weight_max": 2.0}


class ReportError(ValueError):
    """A folder or a file that no report can be made of or written to."""


@dataclass
class RunFiles:
    """What a run directory holds, apart from its rollouts.

    Attributes:
        name: short, told apart from those of the other runs.
        kind: of KINDS.
        config: options that differ from the defaults.
        environment: versions, machine, command line.
        result: content of the file that is written last; None while there is none.
        series: metric -> (step, value) pairs.
        missing: sentences on what is not there or cannot be read.
    """

    path: Path
    name: str
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    series: Series = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Is the file there that a run writes last?"""
        return self.result is not None

    def option(self, name: str) -> Any:
        """An option of the credit, given or by default."""
        value, default = self.config.get(name), DEFAULTS[name]
        if isinstance(default, str):
            return value if isinstance(value, str) else default
        known = finite(value)
        return default if known is None else known


def read_run(path: Path, name: str) -> RunFiles:
    """Read a run directory.

    Raises:
        ReportError: for what is no folder, or a folder without any file of a run.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise ReportError(f"run {path} {what}; name the folder of a run, such as runs/pips-srpo")
    run = RunFiles(path, name, _kind(path))
    for part in ("config.yaml", "environment.json"):
        content = _mapping(path / part, run.missing)
        setattr(run, part.partition(".")[0], content or {})
        if content is None and run.kind != "compare":
            run.missing.append(f"{part} is not there: options and versions may be others than they seem.")
    file, what = RESULTS[run.kind]
    run.result = _mapping(path / file, run.missing)
    if run.result is None:
        run.missing.append(f"{file} is not there: the run has not finished, so its {what} are missing.")
    if run.kind == "train":
        run.series = read_series(path / "metrics.jsonl", run.missing)
    return run


def read_series(path: Path, missing: list[str]) -> Series:
    """Metric -> (step, value) pairs of a log; of a step that was logged twice, the last counts."""
    try:
        lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    except OSError:
        missing.append("metrics.jsonl is not there: there are no curves.")
        return {}
    series: dict[str, dict[int, float | None]] = {}
    cut = 0
    for line in filter(str.strip, lines):
        try:
            entry = json.loads(line)
            step = int(entry["step"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            cut += 1
            continue
        for name, value in entry.items():
            if name != "step" and (value is None or isinstance(value, (int, float))):
                series.setdefault(shortened(name, 200), {})[step] = finite(value, 5)
    if cut:
        missing.append(
            f"metrics.jsonl has {cut} line{'s' * (cut > 1)} cut short, which {'are' if cut > 1 else 'is'} left out."
        )
    return {
        name: [(step, points[step]) for step in sorted(points)]
        for name, points in series.items()
        if any(value is not None for value in points.values())
    }


def short_names(paths: list[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    names = [""] * len(parts)
    for i, own in enumerate(parts):
        others = [other for other in parts if other != own]
        length = next((n for n in range(1, len(own)) if not any(other[-n:] == own[-n:] for other in others)), len(own))
        names[i] = "/".join(part for part in own[-length:] if part != "/")
    return names


def _kind(path: Path) -> str:
    command = (_mapping(path / "environment.json", []) or {}).get("command")
    if isinstance(command, list) and len(command) > 1 and command[1] in KINDS:
        return str(command[1])
    for kind, signs in _SIGNS.items():
        if any((path / sign).exists() for sign in signs):
            return kind
    raise ReportError(
        f"run {path} holds no file of a run; name a folder that srpo train, eval, compare or credit wrote"
    )


def _mapping(path: Path, missing: list[str]) -> dict[str, Any] | None:
    """The content of a JSON or YAML file; None where there is none, {} where it cannot be read."""
    if not path.exists():
        return None
    try:
        text = path.read_bytes().decode("utf-8", "replace")
        content = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        missing.append(f"{path.name} cannot be read ({type(error).__name__}) and is left out.")
        return {}
    return content if isinstance(content, Mapping) else {}  # type: ignore[return-value]
