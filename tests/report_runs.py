"""Run directories for tests of the report, written without any training."""

import io
import json

import numpy as np
import yaml
from PIL import Image

from srpo.run.rollouts import write_rollouts

TOKENS = ["<perception>", " red", " 3", "</perception>", "<think>", " 3", "</think>", "<answer>", " 3", "</answer>", ""]
ROLES = [0, 1, 1, 0, 0, 2, 0, 0, 2, 0, 0]
GAPS = [0.0, 2.345678, -0.5, 0.0, 0.0, 0.25, 0.0, 0.0, 1e-7, 0.0, 0.0]
WEIGHTS = [1.0, 1.812345, 0.5, 1.0, 1.0, 0.7, 1.0, 1.0, 0.98, 1.0, 1.0]


def picture(color="red", size=(32, 24)):
    """A PNG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format="PNG")
    return buffer.getvalue()


def rollout(**columns):
    """A right, structured and scored reply; `columns` change it."""
    row = {
        **{"step": 0, "row_id": "7", "question": "How many?", "reference": "3", "task": "math", "options": []},
        **{"alternatives": [], "completion": "".join(TOKENS), "ended": True, "advantage": 0.5, "corruption": ""},
        "rewards": [("accuracy_reward", 1.0), ("format_reward", 1.0), ("perception", 0.0)],
        **{"tokens": TOKENS, "roles": ROLES, "gaps": GAPS, "weights": WEIGHTS},
    }
    return row | columns


def write_run(run, rows=None, *, steps=(1, 2, 3), finished=True, config=None):
    """A training run: two prompts with two replies each, unless `rows` are given."""
    run.mkdir(parents=True)
    if rows is None:
        twin = {"corruption": "patch_mask 0.6", "corrupted": picture("black")}
        wrong = rollout(rewards=[("accuracy_reward", 0.0)], advantage=-0.5, gaps=None, weights=[1.0] * len(TOKENS))
        rows = [
            rollout(image=picture(), **twin),
            wrong,
            rollout(row_id="8", image=picture("blue")),
            rollout(row_id="8"),
        ]
    (run / "config.yaml").write_text(yaml.safe_dump({"seed": 1, "credit_strength": 0.75} | (config or {})))
    environment = {"command": ["srpo", "train"], "seed": 1, "versions": {"srpo": "0.1.0"}}
    (run / "environment.json").write_text(json.dumps(environment))
    entries = [{"step": i, "reward": i / 10, "srpo/weight/perception_mean": None if i == 2 else 1.0} for i in steps]
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    if rows:
        write_rollouts(run / "rollouts" / "step_000000.parquet", rows)
    if finished:
        held_out = {"before": {"accuracy": 0.25}, "after": {"accuracy": 0.5}, "seconds": 60.0, "steps": 3}
        (run / "summary.json").write_text(json.dumps(held_out))
    return run


def numbers(content, count):
    """`count` numbers: the high bytes of their mantissas, the low bytes, exponents."""
    high, low = np.frombuffer(content, "i1", count), np.frombuffer(content, "u1", count, offset=count)
    mantissas = high.astype(int) * 256 + low
    exponents = np.frombuffer(content, "i1", count, offset=2 * count)
    return [None if e == 127 else float(f"{m}e{e}") for m, e in zip(mantissas, exponents, strict=True)]
