"""A run directory as it is: what can be read of it, and a sentence on each part that is missing."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from srpo.report.text import finite, shortened, step_number

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
WITHOUT_GAPS = ("uniform", "papo")
_CLIPPED = ("srpo", "perception", "reasoning")  # credits that credit_weight_min and credit_weight_max bound
_WEIGHED = (*_CLIPPED, "vppo", "rlsd", "pgpo")  # credits that credit_strength tempers


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

    @property
    def credit(self) -> str:
        """The token credit of a training run or an inspected question; "" for other kinds."""
        return shortened(str(self.option("credit")), 200) if self.kind in ("train", "inspect") else ""

    @property
    def strength(self) -> float | None:
        """λ; None for a credit without it."""
        return self.option("credit_strength") if self.credit in _WEIGHED else None

    @property
    def clip(self) -> list[float] | None:
        """The bounds of a weight; None for a credit without them."""
        bounds = [self.option(name) for name in ("credit_weight_min", "credit_weight_max")]
        return bounds if self.credit in _CLIPPED else None

    @property
    def held_out(self) -> int | None:
        """Questions that are asked before and after training, where they are known."""
        known = [(self.result or {}).get("questions"), self.config.get("eval_rows")] if self.kind == "train" else []
        return next((int(n) for n in map(finite, known) if n is not None and n > 0), None)

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
    if not os.path.isdir(path):
        what = "is a file" if os.path.exists(path) else "does not exist"
        raise ReportError(f"run {path} {what}; name the folder of a run, such as runs/pips-srpo")
    run = RunFiles(path, name, _kind(path))
    for part in ("config.yaml", "environment.json"):
        absent = "options and versions may be others than they seem" if run.kind != "compare" else ""
        setattr(run, part.partition(".")[0], _mapping(path / part, run.missing, absent) or {})
    file, what = RESULTS[run.kind]
    run.result = _mapping(path / file, run.missing, f"the run has not finished, so its {what} are missing")
    if run.kind == "train":
        run.series = read_series(path / "metrics.jsonl", run.missing)
    return run


def read_series(path: Path, missing: list[str]) -> Series:
    """Metric -> (step, value) pairs of a log; of a step that was logged twice, the last counts."""
    try:
        lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    except OSError as error:
        there = not isinstance(error, FileNotFoundError)
        what = f"cannot be read ({error.strerror})" if there else "is not there"
        missing.append(f"metrics.jsonl {what}: there are no curves.")
        return {}
    series: dict[str, dict[int, float | None]] = {}
    bad = 0
    for line in filter(str.strip, lines):
        try:
            entry = json.loads(line)
            step = step_number(entry["step"])
        except (ValueError, TypeError, KeyError, RecursionError):
            bad += 1
            continue
        for name, value in entry.items():
            if name != "step" and (value is None or isinstance(value, (int, float))):
                series.setdefault(shortened(name, 200), {})[step] = finite(value, 5)
    if bad:
        lines_are = f"{bad} lines that cannot be read and are" if bad > 1 else "1 line that cannot be read and is"
        missing.append(f"metrics.jsonl has {lines_are} left out.")
    return {
        name: [(step, points[step]) for step in sorted(points)]
        for name, points in series.items()
        if any(value is not None for value in points.values())
    }


def short_names(paths: list[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    parts = [Path(os.path.realpath(path)).parts for path in paths]
    names = [""] * len(parts)
    for i, own in enumerate(parts):
        others = [other for other in parts if other != own]
        length = next((n for n in range(1, len(own)) if not any(other[-n:] == own[-n:] for other in others)), len(own))
        names[i] = "/".join(part for part in own[-length:] if part != "/")
    return names


def _kind(path: Path) -> str:
    command = (_mapping(path / "environment.json", [], "") or {}).get("command")
    if isinstance(command, list) and len(command) > 1 and command[1] in KINDS:
        return str(command[1])
    for kind, signs in _SIGNS.items():
        if any(os.path.exists(path / sign) for sign in signs):
            return kind
    raise ReportError(
        f"run {path} holds no file of a run; name a folder that srpo train, eval, compare, credit or inspect wrote"
    )


def _mapping(path: Path, missing: list[str], absent: str) -> dict[str, Any] | None:
    """The content of a JSON or YAML file; None where there is none, or none that can be read.

    Args:
        path: the file.
        missing: gets a sentence in these cases.
        absent: what it means that the file is not there; "" where it means nothing.
    """
    try:
        text = path.read_bytes().decode("utf-8", "replace")
        content = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
        if not isinstance(content, Mapping):
            raise ValueError("no names with values")
    except FileNotFoundError:
        missing.extend([f"{path.name} is not there: {absent}."] * bool(absent))
        return None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged or was cut short"
        missing.append(f"{path.name} cannot be read ({reason}) and is left out.")
        return None
    return content  # type: ignore[return-value]
