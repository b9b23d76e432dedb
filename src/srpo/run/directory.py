"""The run directory: what was asked, on what, what came out.

config.yaml             options that differ from the defaults; `srpo train --config` (or warmup) repeats the run
environment.json        versions, machine, seeds, command line
bad_rows.json           rows that were left out (--on_bad_rows skip), with reason and remedy; only where there are some
metrics.jsonl           one JSON object per logged step
rollouts/step_N.parquet sampled rollouts, token by token
checkpoint-N/           TRL's checkpoints
model/                  the trained model in Hugging Face form
summary.json            held-out figures before and after, time
report.html             what `srpo report` makes of it
"""

import dataclasses
import json
import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import TrainerCallback

PACKAGES = ("srpo", "torch", "torchvision", "transformers", "trl", "accelerate", "datasets", "peft", "vllm")
# Derived from other options or from the machine, so that writing them down would pin what should follow.
DERIVED = {"generation_batch_size", "deepspeed_plugin", "distributed_state", "logging_dir", "output_dir", "local_rank"}


def new_run_directory(parent: Path, name: str) -> Path:
    """A folder parent/name that does not exist yet, numbered if need be (name-2, name-3, ...)."""
    candidates = (parent / (name if i == 1 else f"{name}-{i}") for i in range(1, 10_000))
    return next(path for path in candidates if not path.exists())


def non_default(*parts: Any) -> dict[str, Any]:
    """Fields of dataclass instances whose values differ from those of the dataclass's own defaults."""
    changed: dict[str, Any] = {}
    for part in parts:
        for field in dataclasses.fields(part):
            if not field.init or field.name.startswith("_") or field.name in DERIVED:
                continue
            value = getattr(part, field.name)
            default = field.default_factory() if callable(field.default_factory) else field.default
            value = value.value if hasattr(value, "value") else value
            default = default.value if hasattr(default, "value") else default
            if value != default and _is_plain(value):
                changed[field.name] = value
    return changed


def write_header(run: Path, config: dict[str, Any], *, seed: int, arguments: list[str], command: str = "train") -> None:
    """Write config.yaml and environment.json of a run of `srpo COMMAND`."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=True, allow_unicode=True), encoding="utf-8")
    environment = {
        "command": ["srpo", command, *arguments],
        "seed": seed,
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
    write_json(run / "environment.json", environment)


def write_json(path: Path, content: Any) -> None:
    """Write JSON through a neighbouring file, so that a reader never sees half of it."""
    partial = path.with_name(path.name + ".part")
    text = json.dumps(_jsonable(content), indent=2, ensure_ascii=False) + "\n"
    partial.write_bytes(text.encode("utf-8", "backslashreplace"))  # a lone surrogate becomes JSON's own escape
    partial.replace(path)


class MetricsFile(TrainerCallback):
    """Append what the trainer logs to metrics.jsonl."""

    def __init__(self, run: Path) -> None:
        self.path = run / "metrics.jsonl"

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and logs:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_jsonable({"step": state.global_step, **logs})) + "\n")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    return value is None or isinstance(value, (bool, int, float, str))


def _jsonable(value: Any) -> Any:
    """Floats that JSON does not know become null."""
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
