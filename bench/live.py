"""What a rollouts table in a tracker costs the training step that it is logged in (docs/live.md).

    python -m bench.live [--rollouts 8] [--tokens 2048] [--side 512] [--rounds 20]

A batch of random replies on one image a prompt, without a model: the observer of `srpo train` is timed alone, then with
each tracker that is installed. The first table, in which a tracker may set things up, is told apart.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from bench.harness import save, seconds
from srpo.metrics import CreditBatch
from srpo.run.live import RolloutTable, trackers_of
from srpo.tiny import model_path


def batch(step: int, rollouts: int, tokens: int, side: int) -> CreditBatch:
    """Random replies of one prompt with roles, gaps and weights at every token."""
    generator = torch.Generator().manual_seed(step)
    pixels = np.random.default_rng(step).integers(0, 256, (side, side, 3), dtype=np.uint8)
    image, shape = Image.fromarray(pixels), (rollouts, tokens)
    ids = torch.randint(10, 100, shape, generator=generator)
    advantages = torch.randn(rollouts, generator=generator)
    return CreditBatch(
        step=step,
        rows=[{"id": "0", "question": "What is it?", "answer": "4", "images": [image]}] * rollouts,
        batch={"completion_ids": ids, "completion_mask": torch.ones_like(ids)},
        rewards={"accuracy_reward": advantages.tolist()},
        advantages=advantages,
        learns=torch.ones(rollouts, dtype=torch.bool),
        roles=torch.randint(0, 3, shape, generator=generator),
        measures=True,
        gaps=torch.randn(shape, generator=generator),
        weights=torch.rand(shape, generator=generator) + 0.5,
        eos=[0],
        corruption="patch_mask 0.6",
        corrupted=lambda i: [image],
    )


def ready(name: str, folder: Path) -> Callable[[], Any]:
    """Open a tracker in this folder; returns what gives TensorBoard's writer."""
    if name == "trackio":
        import trackio

        trackio.init(project="bench", auto_log_cpu=False, auto_log_gpu=False)
    if name == "wandb":
        import wandb

        wandb.init(mode="offline", dir=folder)
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(folder / "tensorboard"))
        return lambda: writer
    return lambda: None


def measure(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of a table alone and with each installed tracker."""
    tokenizer, results = AutoTokenizer.from_pretrained(model_path()), {}
    steps = [batch(i, options.rollouts, options.tokens, options.side) for i in range(options.rounds + 1)]
    group = options.rollouts
    for name in ("none", *(tool for tool in ("tensorboard", "trackio", "wandb") if find_spec(tool))):
        send = trackers_of([name], ready(name, folder))
        table = RolloutTable(send, tokenizer, every=1, count=group, group=group, saved=group)
        first, *later = (1000 * seconds(partial(table, step)) for step in steps)
        results[name] = {"first_ms": first, "median_ms": statistics.median(later), "largest_ms": max(later)}
    return results


def main() -> None:
    """Time every tracker, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"rollouts": 8, "tokens": 2048, "side": 512, "rounds": 20}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--output", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    if "TRACKIO_DIR" not in os.environ:  # which trackio reads once, when it is imported
        with tempfile.TemporaryDirectory() as folder:
            names = ("TRACKIO_DIR", "WANDB_DATA_DIR")
            settings = os.environ | dict.fromkeys(names, folder) | {"WANDB_SILENT": "true"}
            sys.exit(subprocess.call([sys.executable, "-m", "bench.live", *sys.argv[1:]], env=settings))
    results = measure(options, Path(os.environ["TRACKIO_DIR"]))
    drawn = Table("tracker", "first table, ms", "later tables, median ms", "largest ms")
    for name, times in results.items():
        drawn.add_row(name, *(f"{value:.0f}" for value in times.values()))
    Console().print(drawn)
    save("live", options, results, options.output)


if __name__ == "__main__":
    main()
