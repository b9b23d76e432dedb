"""What `srpo.data.load` costs on 40,000 rows with images on disk: seconds and memory, in a process of its own.

    python -m bench.loading [--rows 40000] [--layout jsonl|tsv|parquet] [--size 64]

jsonl names image files by path; tsv (VLMEvalKit) holds each image in base64, parquet its bytes. Every row has an image
of its own of SIZE x SIZE noise. Time and memory are those of `load` alone, after the imports: no image is decoded.
Memory is the growth of the largest resident size; for tsv it cannot be less than the images themselves.
"""

import argparse
import base64
import csv
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bench.harness import save

MEASURE = """
import json, resource, sys, time
import srpo.prompts
from srpo.data import load
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
before, started = peak(), time.perf_counter()
rows = len(load(sys.argv[1]))
print(json.dumps({"rows": rows, "seconds": time.perf_counter() - started, "grown_mib": peak() - before}))
"""


def rows_of(count: int, size: int) -> Iterator[tuple[dict[str, str], bytes]]:
    """Rows without their image, and the image as a PNG file."""
    rng = np.random.default_rng(0)
    words = "Consider the picture, count what is asked for, and give the number. " * 3
    for i in range(count):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(buffer, "PNG")
        yield {"index": str(i), "question": f"{words}({i})", "answer": str(i % 10)}, buffer.getvalue()


def write(folder: Path, count: int, size: int, layout: str) -> Path:
    """The data set; returns what to load."""
    rows = rows_of(count, size)
    if layout == "parquet":
        image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        schema = pa.schema({"index": pa.string(), "question": pa.string(), "answer": pa.string(), "image": image})
        with pq.ParquetWriter(folder / "train.parquet", schema) as file:
            while part := [{**row, "image": {"bytes": data, "path": None}} for row, data in islice(rows, 1000)]:
                file.write_table(pa.Table.from_pylist(part, schema))
    elif layout == "tsv":
        with (folder / "train.tsv").open("w", newline="") as file:
            table = csv.writer(file, delimiter="\t")
            table.writerow(["index", "question", "answer", "image"])
            table.writerows([*row.values(), base64.b64encode(data).decode()] for row, data in rows)
    else:
        (folder / "images").mkdir()
        with (folder / "train.jsonl").open("w") as file:
            for row, data in rows:
                (folder / "images" / f"{row['index']}.png").write_bytes(data)
                file.write(json.dumps({**row, "image": f"images/{row['index']}.png"}) + "\n")
    return folder / f"train.{layout}"


def main() -> None:
    """Run the bench and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--layout", choices=("jsonl", "tsv", "parquet"), default="jsonl")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        data = write(Path(name), options.rows, options.size, options.layout)
        command = [sys.executable, "-c", MEASURE, str(data)]
        measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    save(f"loading-{options.layout}", options, measured, options.output)
    cost = f"{measured['seconds']:.1f} s, {measured['grown_mib']:.0f} MiB more"
    print(f"{measured['rows']:,} rows ({options.layout}): {cost}")


if __name__ == "__main__":
    main()
