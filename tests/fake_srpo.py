"""Stands in for `python -m srpo.cli train | eval` in tests of `srpo compare`: the files of a run within milliseconds.

Accuracy is a known function of credit, learning rate and seed. Environment variables steer it: FAKE_CALLS, a file that
each call is appended to; FAKE_FAIL, a credit or learning rate whose training fails, or "start" for the evaluation
before training; FAKE_SLEEP, seconds that a training run takes.
"""

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

import yaml

GAIN = {"uniform": 0.0, "srpo": 0.1, "perception": -0.05}
STEPS = range(1, 42, 4)


def accuracy(credit, rate, seed):
    """Best at a learning rate of 1e-4; the odd seeds favour SRPO a little more."""
    return 0.5 + GAIN[credit] * (1 + 0.1 * (seed % 2)) + 0.01 * seed - 100 * abs(rate - 1e-4)


def train(settings, out, resumed):
    credit, rate, seed = settings["credit"], settings["learning_rate"], settings["seed"]
    (out / "model").mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(yaml.safe_dump(settings))
    time.sleep(float(os.environ.get("FAKE_SLEEP", "0")))
    if os.environ.get("FAKE_FAIL") in (credit, f"{rate:g}"):
        print("loading\nstep 3: loss is nan\nsrpo: error: non-finite loss")
        return 1
    final = accuracy(credit, rate, seed)
    (out / "model" / "trained.json").write_text(json.dumps(final))
    with (out / "metrics.jsonl").open("a") as file:
        for step in STEPS:
            entry = {"step": step, "loss": 0.1, "step_time": 2.0, "srpo/policy/kl": 0.002}
            entry["rewards/accuracy_reward/mean"] = 0.4 + (final - 0.4) * step / STEPS[-1]
            file.write(json.dumps(entry) + "\n")
        file.write(json.dumps({"step": STEPS[-1], "eval_rewards/accuracy_reward/mean": 0.1}) + "\n")
    (out / "summary.json").write_text(json.dumps({"after": {"accuracy": final}, "resumed": resumed}))
    return 0


def evaluate(model, settings, out):
    trained = Path(model) / "trained.json"
    value = json.loads(trained.read_text()) if trained.exists() else 0.4
    if os.environ.get("FAKE_FAIL") == "start" and not trained.exists():
        print("srpo: error: no such processor")
        return 1
    out.mkdir(parents=True, exist_ok=True)

    def estimate(number):
        if number is None:
            return {"value": None, "low": None, "high": None, "n": 0}
        return {"value": number, "low": number - 0.1, "high": number + 0.1, "n": settings["rows"]}

    metrics = {"accuracy": estimate(value), "tokens": estimate(20.0), "pass@4": estimate(None)}
    audit = {"grounded_accuracy": estimate(value - 0.1), "lucky_rate": estimate(0.1)}
    (out / "evaluation.json").write_text(json.dumps({"metrics": metrics, "audit": audit}))
    return 0


def main():
    arguments = sys.argv[1:]
    options = {name: value for name, value in pairwise(arguments) if name.startswith("--")}
    with open(os.environ["FAKE_CALLS"], "a") as calls:
        environment = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
        calls.write(json.dumps({"call": arguments, "environment": environment}) + "\n")
    settings = yaml.safe_load(Path(options["--config"]).read_text())
    out = Path(options["--output_dir"])
    if arguments[0] == "train":
        return train(settings, out, "--resume_from_checkpoint" in options)
    return evaluate(arguments[1], settings, out)


if __name__ == "__main__":
    sys.exit(main())
