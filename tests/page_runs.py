"""Run directories for browser tests of the report: replies of every kind, with numbers from a seed."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from srpo.run.rollouts import SCHEMA
from tests.report_runs import picture

WORDS = ["red", "blue", "circle", "square", ";", "1", "+", "2", "=", "3"]


def reply(seed: int, *, kind: str = "right", words: int = 12, **other: Any) -> dict[str, Any]:
    """A rollout. Kinds: right, wrong, lucky, unstructured (wrong too), unscored (right, advantage 0)."""
    draw = random.Random(seed)
    drawn = [" " + draw.choice(WORDS) for _ in range(words)]
    half = words // 2
    tokens = ["<perception>", *drawn[:half], "</perception>", "\n", "<think>", *drawn[half:], "</think>", ""]
    roles = [0, *[1] * half, 0, 0, 0, *[2] * (words - half), 0, 0]
    structured = kind != "unstructured"
    roles = roles if structured else [0] * len(tokens)
    accuracy = float(kind in ("right", "lucky", "unscored"))
    rewards = {"accuracy_reward": accuracy, "format_reward": float(structured), "perception": float(kind != "lucky")}
    return {
        "row_id": "row",
        "question": "How many?",
        "reference": "3",
        "task": "math",
        "completion": "".join(tokens),
        "ended": True,
        "rewards": list(rewards.items()),
        "advantage": 0.0 if kind == "unscored" else 0.75 if accuracy else -1.25,
        "tokens": tokens,
        "roles": roles,
        "gaps": None if kind == "unscored" else [draw.gauss(0.5, 3) if role else 0.0 for role in roles],
        "weights": [draw.uniform(0.3, 2.5) if role and kind != "unscored" else 1.0 for role in roles],
        **other,
    }


def pictures() -> dict[str, Any]:
    """The picture columns of the first reply to a prompt."""
    return {"image": picture(), "corrupted": picture("black"), "corruption": "patch_mask 0.6"}


def write_step(run: Path, step: int, replies: Sequence[dict[str, Any]]) -> None:
    """rollouts/step_N.parquet."""
    (run / "rollouts").mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([{**each, "step": step} for each in replies], schema=SCHEMA)
    pq.write_table(table, run / "rollouts" / f"step_{step:06d}.parquet")


def write_files(run: Path, *, metrics: dict[str, Sequence[float | None]] | None = None, **config: Any) -> Path:
    """config.yaml, environment.json, metrics.jsonl and summary.json of a training run."""
    run.mkdir(parents=True, exist_ok=True)
    series = metrics or {"reward": [0.1, 0.4, 0.3], "srpo/weight/perception_mean": [1.0, 1.1, None]}
    steps = range(max(map(len, series.values())))
    lines = [{"step": i, **{name: values[i] for name, values in series.items()}} for i in steps]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "config.yaml").write_text(json.dumps({"credit": "srpo", "seed": 1, **config}))
    (run / "environment.json").write_text(json.dumps({"versions": {"torch": "2.14.1"}, "python": "3.11"}))
    accuracy = {"before": {"accuracy": 0.25}, "after": {"accuracy": 0.625}}
    (run / "summary.json").write_text(json.dumps({**accuracy, "seconds": 3.0, "steps": 2}))
    return run


def known_run(run: Path) -> Path:
    """Two steps with two prompts each: all kinds of replies, and right and wrong ones only."""
    write_files(run)
    kinds = (["right", "wrong", "lucky", "unstructured"], ["right", "wrong", "right", "wrong"])
    for step in (0, 5):
        replies = []
        for prompt, group in enumerate(kinds):
            for i, kind in enumerate(group):
                row = {"row_id": f"row-{prompt}", "question": f"Question {prompt} of step {step}?"}
                row |= pictures() if i == 0 else {}
                replies.append(reply(100 * step + 10 * prompt + i, kind=kind, **row))
        write_step(run, step, replies)
    return run
