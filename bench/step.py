"""What a training step costs, by phase: GRPOTrainer and SRPOTrainer in turn on the same batches.

    python -m bench.step [--shape 20m|3b|7b] [--rounds 3] [--groups 5] [--gradient_checkpointing]

Each way trains a model of its own on the same prompts: 8 rollouts a group, 256 image and 50 text tokens, 200 completion
tokens, 60 of them perception, whole groups of equal reward for 40 % of the rollouts. Generation is real and then
replaced by scripted replies of that shape, because a random model writes none. The first step of each run is left out.
Phases: generation; contrasts (everything that SRPO adds); forward and backward; optimizer and the rest (rewards, image
processing, logging). Ratios are to GRPOTrainer of the same round.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow
from rich.console import Console
from rich.table import Table
from transformers import PrinterCallback, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging
from trl import GRPOConfig, GRPOTrainer

from bench.harness import PATCH, Setting, build_model, ratio, save, synchronize
from srpo import SRPOConfig, SRPOTrainer

PHASES = ("generation", "contrasts", "forward and backward", "optimizer and rest", "step")
WAYS: dict[str, dict[str, Any]] = {
    "GRPO": {},
    "SRPO, credit uniform": {"credit": "uniform"},
    "SRPO, plain": {"scoring": "plain"},
    "SRPO, shared": {"scoring": "shared"},
    "SRPO, shared, skipping A = 0": {"scoring": "shared", "skip_zero_advantage": True},
}


class Timed:
    """Scripted replies of a fixed shape after a real generation, and the seconds of each phase of every step."""

    setting: Setting

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.phases: list[dict[str, float]] = []
        super().__init__(*args, **kwargs)

    def spend(self, phase: str, started: float) -> None:
        """Add the seconds since `started` to a phase of the current step."""
        synchronize()
        self.phases[-1][phase] += time.perf_counter() - started

    def _generate_single_turn(self, prompt_ids, *args: Any, **kwargs: Any):
        started = time.perf_counter()
        super()._generate_single_turn(prompt_ids, *args, **kwargs)
        self.spend("generation", started)
        return [self.reply(i) for i in range(len(prompt_ids))], None

    def reply(self, index: int) -> list[int]:
        """Token ids of a structured reply with the wanted number of perception tokens, one letter each."""
        rng = random.Random(f"{self.state.global_step} {index}")
        encode = lambda text: self._tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
        letters = encode("a")[0], encode("b")[0], encode("c")[0]
        opening, between = encode("<perception>"), encode("</perception><think>")
        closing = [*encode("</think><answer>"), encode("x")[0], *encode("</answer>"), self._tokenizer.eos_token_id]
        seen = [rng.choice(letters) for _ in range(self.setting.perception_tokens)]
        left = self.setting.completion_tokens - len(opening) - len(seen) - len(between) - len(closing)
        return [*opening, *seen, *between, *(rng.choice(letters) for _ in range(left)), *closing]

    def _prepare_inputs(self, *args: Any, **kwargs: Any):
        started = time.perf_counter()
        prepared = super()._prepare_inputs(*args, **kwargs)
        self.spend("preparation", started)
        return prepared

    def training_step(self, *args: Any, **kwargs: Any):
        started = time.perf_counter()
        loss = super().training_step(*args, **kwargs)
        self.spend("training", started)
        return loss


class TimedGRPO(Timed, GRPOTrainer):
    """TRL's trainer."""


class TimedSRPO(Timed, SRPOTrainer):
    """Ours, with its contrasts timed."""

    def _assign_credit(self, *args: Any, **kwargs: Any):
        started = time.perf_counter()
        assigned = super()._assign_credit(*args, **kwargs)
        self.spend("contrasts", started)
        return assigned


class Clock(TrainerCallback):
    """Opens and closes the record of a step."""

    trainer: Timed

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        names = ("generation", "contrasts", "preparation", "training", "step")
        self.trainer.phases.append(dict.fromkeys(names, 0.0))
        self.started = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.trainer.spend("step", self.started)


def reward(prompts, completions, flat, **columns) -> list[float]:
    """0.1 for every rollout of a flat row, else right and wrong in turn."""
    return [0.1 if same else float(i % 2) for i, same in enumerate(flat)]


def dataset(setting: Setting) -> Dataset:
    """One step of prompts: an image and a question each; the last ones have equal rewards."""
    side, rng = 2 * PATCH * int(setting.image_tokens**0.5), np.random.default_rng(0)
    flat = round(setting.groups * setting.zero_advantage)
    question = " ".join("which part is it?"[i % 16] for i in range((setting.text_tokens - 16) // 2))
    rows = [
        {
            "prompt": [{"role": "user", "content": question}],
            "images": [Pillow.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8))],
            "flat": i >= setting.groups - flat,
        }
        for i in range(setting.groups)
    ]
    message = {"role": Value("string"), "content": Value("string")}
    features = Features({"prompt": List(message), "images": List(Image()), "flat": Value("bool")})
    return Dataset.from_list(rows, features=features)


def run(way: str, setting: Setting, options: argparse.Namespace, data: Dataset) -> list[dict[str, float]]:
    """Seconds of each phase of the measured steps of one way."""
    set_seed(0)
    model, processor = build_model(options.shape)
    config = {
        "per_device_train_batch_size": setting.rollouts_per_group,
        "gradient_accumulation_steps": setting.groups,
        "num_generations": setting.rollouts_per_group,
        "max_completion_length": setting.completion_tokens,
        "generation_kwargs": {"min_new_tokens": setting.completion_tokens},
        "gradient_checkpointing": options.gradient_checkpointing,
        "bf16": torch.cuda.is_available(),
        "learning_rate": 0.0,
        "max_steps": options.steps + 1,
        "shuffle_dataset": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "report_to": "none",
        "log_level": "error",
        "logging_steps": 10**9,
    }
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        kind, args = (TimedGRPO, GRPOConfig) if way == "GRPO" else (TimedSRPO, SRPOConfig)
        trainer = kind(
            model,
            reward,
            args(folder, **config, **WAYS[way]),
            train_dataset=data,
            processing_class=processor,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.setting, clock.trainer = setting, trainer
        trainer.train()
    return [
        {
            "generation": one["generation"],
            "contrasts": one["contrasts"],
            "forward and backward": one["training"] - one["preparation"],
            "optimizer and rest": one["step"]
            - one["training"]
            + one["preparation"]
            - one["generation"]
            - one["contrasts"],
            "step": one["step"],
        }
        for one in trainer.phases[1:]
    ]


def main() -> None:
    """Run the rounds, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("20m", "3b", "7b"), default="3b" if torch.cuda.is_available() else "20m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1, help="measured steps of a run")
    parser.add_argument("--groups", type=int, default=5)
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    transformers_logging.set_verbosity_error()
    setting = Setting(groups=options.groups)
    data = dataset(setting)
    seconds: dict[str, dict[str, list[float]]] = {way: {phase: [] for phase in PHASES} for way in WAYS}
    for number in range(options.rounds):
        ways = list(WAYS)
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:  # no way is always first
            steps = run(way, setting, options, data)
            for phase in PHASES:
                seconds[way][phase].append(statistics.mean(step[phase] for step in steps))
    drawn = Table("", *PHASES, "ratio to GRPO", title=f"Seconds a step, medians of {options.rounds} rounds")
    results = {}
    for way, phases in seconds.items():
        quotient = ratio(phases["step"], seconds["GRPO"]["step"])
        results[way] = {"seconds": phases, "ratio": quotient}
        shown = [f"{statistics.median(phases[phase]):.2f}" for phase in PHASES]
        drawn.add_row(way, *shown, "{median:.2f} ({min:.2f}-{max:.2f})".format(**quotient))
    Console(width=140).print(drawn)
    save("step", options, results, options.output)


if __name__ == "__main__":
    main()
