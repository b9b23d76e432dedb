"""How the cost of shared contrast scoring grows with each axis on its own, with the fitted exponent.

    python -m bench.scaling [--shape 20m|3b|7b] [--rounds 3]

Each axis is doubled from a base of 2 groups of 8 rollouts, 256 image tokens, 50 text and 200 completion tokens, 30 % of
them perception. `time ~ axis ** exponent` is fitted by least squares on logarithms; 1 is linear growth, less means that
a part of the cost does not grow with this axis. Attention makes it exceed 1 where a sequence gets long.
"""

import argparse
import math
import statistics
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.harness import Scoring, Setting, ready, save, seconds

BASE = Setting(groups=2, zero_advantage=0.0)
AXES = {
    "groups": (1, 2, 4, 8),
    "rollouts_per_group": (4, 8, 16, 32),
    "completion_tokens": (100, 200, 400, 800),
    "image_tokens": (64, 256, 1024),
    "images": (1, 2, 4, 8),
}


def at(axis: str, value: int) -> Setting:
    """The base setting with one axis changed; perception stays 30 % of the completion."""
    changed = replace(BASE, **{axis: value})
    return replace(changed, perception_tokens=round(0.3 * changed.completion_tokens))


def exponent(values: list[int], times: list[float]) -> float:
    """Slope of log time over log value."""
    return statistics.linear_regression([math.log(v) for v in values], [math.log(t) for t in times]).slope


def main() -> None:
    """Measure every axis, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("20m", "3b", "7b"), default="3b" if torch.cuda.is_available() else "20m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    model, results = ready(options.shape), {}
    drawn = Table("axis", "values", "seconds", "exponent", title="Shared contrast scoring, one axis at a time")
    for axis, values in AXES.items():
        settings = [Scoring(model, at(axis, value), rows_per_pass=8) for value in values]
        settings[0].shared()
        rounds = [[seconds(one.shared) for one in settings] for _ in range(options.rounds)]
        times = [statistics.median(column) for column in zip(*rounds, strict=True)]
        slope, spread = exponent(list(values), times), [exponent(list(values), one) for one in rounds]
        results[axis] = {"values": values, "seconds": times, "exponent": slope, "exponent_by_round": spread}
        shown = ", ".join(map(str, values)), ", ".join(f"{t:.2f}" for t in times)
        drawn.add_row(axis, *shown, f"{slope:.2f} ({min(spread):.2f}-{max(spread):.2f})")
    Console().print(drawn)
    save("scaling", options, results, options.output)


if __name__ == "__main__":
    main()
