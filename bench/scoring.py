"""Plain against shared contrast scoring: time, peak memory, difference of log-probabilities, time over the floor.

    python -m bench.scoring [--grid base|star|full] [--shape 20m|3b|7b] [--rounds 3] [--groups 5]

Both score the same rollouts in turn, in one process. "plain" is three whole passes over all rows, as many rows a pass
as in a group; "shared" has half as many tokens a pass, its default. The floor is what nothing exact can avoid: two
prompts a group and the wanted tokens alone, as plain forward passes. "base" is the setting of the claim, "star" varies
one axis of it at a time, "full" is the product of all (without A = 0 where `--groups` does not divide). Rollouts with
A = 0 come in whole groups, as in GRPO, where all rewards of such a group are equal; one setting scatters them.
"""

import argparse
import itertools
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.harness import Scoring, Setting, peak_bytes, ratio, ready, save, seconds

AXES = {
    "rollouts_per_group": (4, 8, 16),
    "image_tokens": (64, 256, 1024),
    "completion_tokens": (64, 200, 512),
    "perception_share": (0.2, 0.3, 0.5),
    "zero_advantage": (0.0, 0.4),
    "scattered": (False, True),
}
BASE = {
    "rollouts_per_group": 8,
    "image_tokens": 256,
    "completion_tokens": 200,
    "perception_share": 0.3,
    "zero_advantage": 0.4,
    "scattered": False,
}


def settings(grid: str, groups: int) -> list[Setting]:
    """The settings of a grid; the share of perception tokens in the full grid is 0.2 or 0.5."""
    if grid == "base":
        chosen = [BASE]
    elif grid == "star":
        chosen = [
            BASE,
            *(BASE | {axis: value} for axis, values in AXES.items() for value in values if value != BASE[axis]),
        ]
    else:
        axes = AXES | {"perception_share": (0.2, 0.5), "scattered": (False,)}
        product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
        chosen = [one for one in product if (groups * one["zero_advantage"]).is_integer()]
    return [
        replace(
            Setting(groups=groups),
            perception_tokens=round(one.pop("perception_share") * one["completion_tokens"]),
            **one,
        )
        for one in (dict(each) for each in chosen)
    ]


def measure(model, setting: Setting, rounds: int) -> dict:
    """One setting: memory and log-probabilities of a first run of each way, then times in turn."""
    work = Scoring(model, setting, rows_per_pass=setting.rollouts_per_group)
    scored: dict[str, dict[str, torch.Tensor]] = {}
    memory = {
        name: peak_bytes(lambda name=name: scored.update({name: getattr(work, name)()})) for name in ("plain", "shared")
    }
    difference = max(
        (scored["shared"][name] - scored["plain"][name])[at].abs().max().item() for name, at in work.wanted.items()
    )
    times: dict[str, list[float]] = {"plain": [], "shared": [], "floor": []}
    for _ in range(rounds):
        for name, values in times.items():
            values.append(seconds(getattr(work, name)))
    return {
        "setting": asdict(setting),
        "seconds": times,
        "speedup": ratio(times["plain"], times["shared"]),
        "over_floor": ratio(times["shared"], times["floor"]),
        "peak_bytes": memory,
        "largest_difference_nats": difference,
    }


def table(results: list[dict]) -> Table:
    """One line a setting."""
    drawn = Table(title="Contrast scoring: plain / shared")
    for column in ("G", "image", "completion", "perception", "A = 0", "plain s", "shared s", "speed-up", "over floor"):
        drawn.add_column(column, justify="right")
    drawn.add_column("peak MiB plain, shared", justify="right")
    drawn.add_column("largest difference", justify="right")
    for one in results:
        setting, times = one["setting"], one["seconds"]
        memory = [one["peak_bytes"][name] / 2**20 for name in ("plain", "shared")]
        drawn.add_row(
            *(
                str(setting[n])
                for n in ("rollouts_per_group", "image_tokens", "completion_tokens", "perception_tokens")
            ),
            f"{setting['zero_advantage']:.0%}" + " scattered" * setting["scattered"],
            *(f"{torch.tensor(times[name]).median():.2f}" for name in ("plain", "shared")),
            "{median:.1f} ({min:.1f}-{max:.1f})".format(**one["speedup"]),
            "{median:.2f} ({min:.2f}-{max:.2f})".format(**one["over_floor"]),
            f"{memory[0]:.0f}, {memory[1]:.0f}",
            f"{one['largest_difference_nats']:.1e}",
        )
    return drawn


def main() -> None:
    """Measure the grid, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", choices=("base", "star", "full"), default="star")
    parser.add_argument("--shape", choices=("20m", "3b", "7b"), default="3b" if torch.cuda.is_available() else "20m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--groups", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    model, console = ready(options.shape), Console(width=150)
    results = []
    for setting in settings(options.grid, options.groups):
        results.append(measure(model, setting, options.rounds))
        console.print(table(results[-1:]))
        save("scoring-full" if options.grid == "full" else "scoring", options, results, options.output)
    console.print(table(results))


if __name__ == "__main__":
    main()
