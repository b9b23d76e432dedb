"""How long `srpo train` takes to its first rollouts on a large data set, and what memory the data costs.

    python -m bench.first_step [--rows 40000] [--images 400] [--layout jsonl|parquet]

Writes a data set of ROWS questions with a JPEG of 1,024 x 768 (about 100 kB) each, and trains the built-in tiny model
on it twice and on its first 64 rows, each in a process of its own. Every row has an image file of its own; IMAGES of
them differ, the others are hard links.

Time: from the start of the process until the first rollouts are rewarded, imports and the checks of all rows included.
Memory: the largest sum of anonymous pages until then (RssAnon of /proc, sampled), without the pages of mapped files,
which the system takes back when it needs them; the largest resident size stands beside it. That of the 64 rows is the
model's and the libraries' own. The first of the two runs on parquet converts the files (datasets keeps the result).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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
    """A reward function that writes down when it was first called."""
    place = Path(os.environ[MARK])
    if not place.exists():
        place.write_text(str(time.time()))
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
    for part in range(0, rows, 5000):
        cells = [
            {**row, "images": [{"bytes": (pictures / f"{row['id']}.jpg").read_bytes()}]}
            for row in table[part : part + 5000]
        ]
        pq.write_table(pa.Table.from_pylist(cells), folder / f"train-{part:06}.parquet", row_group_size=500)
    shutil.rmtree(pictures)
    return folder


def first_rollouts(data: Path, rows: int, folder: Path) -> dict[str, float]:
    """Seconds until the first rollouts are rewarded, and peaks of memory until then in GiB, in a new process."""
    run = Path(tempfile.mkdtemp(dir=folder))
    options = {**OPTIONS, "model": "tiny", "dataset": data, "rows": rows, "output_dir": run / "run"}
    command = [sys.executable, "-m", "srpo.cli", "train", *(str(x) for k, v in options.items() for x in (f"--{k}", v))]
    setting = {**os.environ, MARK: str(run / "mark"), "HF_DATASETS_CACHE": str(folder / "cache")}
    peaks = {"RssAnon": 0, "VmHWM": 0}
    started = time.time()
    with subprocess.Popen(command, env=setting, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (run / "mark").exists():
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = dict(line.split(":", 1) for line in status.splitlines())
            peaks = {name: max(peak, int(found.get(name, "0 kB").split()[0])) for name, peak in peaks.items()}
            time.sleep(0.02)
    took = float((run / "mark").read_text()) - started
    return {"seconds": took, "anonymous_gib": peaks["RssAnon"] / 2**20, "resident_gib": peaks["VmHWM"] / 2**20}


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
        results = [{"rows": rows, **first_rollouts(data, rows, folder)} for rows in (options.rows, options.rows, SMALL)]
    save("first_step", options, results, options.output)
    for result in results:
        print(
            f"{result['rows']:>7,} rows: first rollouts after {result['seconds']:.1f} s, memory "
            f"{result['anonymous_gib']:.2f} GiB, resident {result['resident_gib']:.2f} GiB"
        )
    more = max(result["anonymous_gib"] for result in results[:2]) - results[2]["anonymous_gib"]
    print(f"the data: {results[1]['seconds'] - results[2]['seconds']:.1f} s, {more:.2f} GiB")


if __name__ == "__main__":
    main()
