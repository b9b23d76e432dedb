"""How long `srpo train` takes to its first rollouts on a large data set, and what memory the data costs.

    python -m bench.first_step [--rows 40000] [--images 400] [--layout jsonl|parquet]

Writes a data set of ROWS questions, one JPEG of 1,024 x 768 (about 100 kB) each, and trains the built-in tiny model on it
and on its first 64 rows, each in a process of its own. Every row has an image file of its own; IMAGES of them differ,
the others are hard links, so reading them does not measure the disk. Time: from the start of the process, imports and
checks of all rows included, until the first rollouts are rewarded. Memory: the largest resident size until then; that
of the 64 rows is the model's and the libraries' own.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image

from bench.harness import save

MARK = "SRPO_BENCH_MARK"
SMALL = 64
OPTIONS = {
    "eval_rows": 0,
    "max_steps": 1,
    "per_device_train_batch_size": 8,
    "num_generations": 8,
    "gradient_accumulation_steps": 1,
    "max_completion_length": 8,
    "rollouts_every": 0,
    "reward_funcs": "bench.first_step.mark",
}


def mark(completions: list[Any], **kwargs: Any) -> list[float]:
    """A reward function that writes down when it was first called and the largest resident size (kB on Linux)."""
    place = Path(os.environ[MARK])
    if not place.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        place.write_text(json.dumps({"at": time.time(), "peak_kb": peak}))
    return [float(i % 2) for i in range(len(completions))]


def write_rows(folder: Path, rows: int, images: int, layout: str) -> Path:
    """The data set: a JSON Lines file with image paths, or parquet files with the bytes of the images inside."""
    pictures = folder / "images"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for i in range(min(images, rows)):
        noise = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((1024, 768), Image.Resampling.BICUBIC).save(pictures / f"{i}.jpg", quality=88)
    for i in range(images, rows):
        (pictures / f"{i}.jpg").hardlink_to(pictures / f"{i % images}.jpg")
    words = "Consider the picture, count what is asked for, and give the number. " * 3
    table = [{"id": str(i), "problem": f"<image>{words}({i})", "answer": str(i % 10)} for i in range(rows)]
    if layout == "jsonl":
        lines = (json.dumps({**row, "images": [f"images/{i}.jpg"]}) for i, row in enumerate(table))
        (folder / "train.jsonl").write_text("\n".join(lines))
        return folder / "train.jsonl"
    cells = ((row, [{"bytes": (pictures / f"{i}.jpg").read_bytes(), "path": None}]) for i, row in enumerate(table))
    stored = Dataset.from_generator(
        lambda: ({**row, "images": cell} for row, cell in cells), cache_dir=str(folder / "cache")
    )
    for part in range(8):
        stored.shard(8, part, contiguous=True).to_parquet(folder / f"train-{part}.parquet")
    shutil.rmtree(pictures)
    return folder


def first_rollouts(data: Path, rows: int, folder: Path) -> dict[str, float]:
    """Seconds until the first rollouts are rewarded, and the peak of resident memory in GiB, in a new process."""
    place = folder / f"mark-{rows}.json"
    options = {**OPTIONS, "model": "tiny", "dataset": data, "rows": rows, "output_dir": folder / f"run-{rows}"}
    command = [sys.executable, "-m", "srpo.cli", "train", *(str(x) for k, v in options.items() for x in (f"--{k}", v))]
    started = time.time()
    subprocess.run(command, check=True, env={**os.environ, MARK: str(place)}, stdout=subprocess.DEVNULL)
    found = json.loads(place.read_text())
    return {"seconds": found["at"] - started, "peak_gib": found["peak_kb"] / 2**20}


def main() -> None:
    """Run the bench and print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--layout", choices=("jsonl", "parquet"), default="jsonl")
    parser.add_argument("--output", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_rows(folder, options.rows, options.images, options.layout)
        results = {rows: first_rollouts(data, rows, folder) for rows in (SMALL, options.rows)}
    save("first_step", options, [{"rows": rows, **result} for rows, result in results.items()], options.output)
    small, large = results[SMALL], results[options.rows]
    for rows, result in results.items():
        print(f"{rows:>7,} rows: first rollouts after {result['seconds']:.1f} s, peak {result['peak_gib']:.2f} GiB")
    print(f"the data: {large['seconds'] - small['seconds']:.1f} s, {large['peak_gib'] - small['peak_gib']:.2f} GiB")


if __name__ == "__main__":
    main()
