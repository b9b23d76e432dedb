"""What a training step costs: GRPOTrainer, SRPOTrainer with credit uniform, with credit srpo, in turn in one process.

    python -m bench.step [--steps 4] [--rounds 3] [--output bench/results/step.json]

Every trainer gets the same tiny model, data and seed. Reports the median over rounds of seconds a step, whole and on
contrasts, and the ratio to GRPOTrainer of the same round. Absolute times are the machine's; the ratios carry over.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
from trl import GRPOConfig, GRPOTrainer

from srpo import SRPOConfig, SRPOTrainer
from srpo.data import load
from srpo.rewards import accuracy_reward, format_reward
from srpo.tiny import model_path

COMMON = {
    "per_device_train_batch_size": 32,
    "gradient_accumulation_steps": 2,
    "num_generations": 8,
    "max_completion_length": 64,
    "learning_rate": 0.0,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
    "report_to": "none",
    "log_level": "error",
}


def seconds_per_step(name: str, steps: int, dataset) -> dict[str, float]:
    """Seconds a step of one short run, whole and spent on contrasts; the first step is left out."""
    with tempfile.TemporaryDirectory() as folder:
        if name == "grpo":
            trainer = GRPOTrainer(
                str(model_path()),
                [accuracy_reward, format_reward],
                GRPOConfig(folder, max_steps=steps + 1, **COMMON),
                train_dataset=dataset,
            )
        else:
            credit = "uniform" if name == "srpo, credit uniform" else "srpo"
            trainer = SRPOTrainer(
                str(model_path()),
                [accuracy_reward, format_reward],
                SRPOConfig(folder, max_steps=steps + 1, credit=credit, **COMMON),
                train_dataset=dataset,
            )
        trainer.train()
    logged = [entry for entry in trainer.state.log_history if "step_time" in entry][1:]
    contrasts = [entry.get("srpo/time/contrast_seconds", 0.0) for entry in logged]
    return {
        "step": statistics.mean(entry["step_time"] for entry in logged),
        "contrasts": statistics.mean(contrasts),
    }


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    dataset = load("shapes", rows=256, instruction="none")
    names = ("grpo", "srpo, credit uniform", "srpo")
    rounds = [{name: seconds_per_step(name, options.steps, dataset) for name in names} for _ in range(options.rounds)]
    print(f"{'':22}{'s/step':>8}{'contrasts':>11}{'ratio to GRPO (min, median, max)':>36}")
    table = {}
    for name in names:
        ratios = sorted(one[name]["step"] / one["grpo"]["step"] for one in rounds)
        step = statistics.median(one[name]["step"] for one in rounds)
        contrasts = statistics.median(one[name]["contrasts"] for one in rounds)
        spread = f"{ratios[0]:.2f}, {statistics.median(ratios):.2f}, {ratios[-1]:.2f}"
        print(f"{name:22}{step:8.2f}{contrasts:11.2f}{spread:>36}")
        table[name] = {"step": step, "contrasts": contrasts, "ratios": ratios}
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "bench": "step",
            "date": time.strftime("%Y-%m-%d"),
            "shape": COMMON,
            "rounds": options.rounds,
            "steps": options.steps,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
            "versions": {name: version(name) for name in ("torch", "transformers", "trl", "srpo")},
            "seconds": table,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
