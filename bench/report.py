"""What `srpo report` costs for 500 rollouts of 2,048 tokens, and how fast the page opens and changes its colouring.

    python -m bench.report [--rollouts 500] [--tokens 2048] [--rounds 3]

Writes a run of synthetic rollouts (words of Zipf's law, gaps without any pattern, weights as SRPO makes them, pictures
of 512 x 512 with their corrupted twins) and makes its report in a process of its own, as a user would. Time: from the
start of that process to its end. Memory: its peak resident size. The page is then opened in headless Chromium, where
Playwright and Chromium are installed: until the first group of replies is drawn, and from the key that changes the
colouring to the second frame behind it.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.harness import save
from srpo.corruption import corrupt
from srpo.run.rollouts import write_rollouts

GROUP, FILES, WORDS = 8, 4, 8000
SWITCH = """async () => {
  const start = performance.now();
  document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "c", bubbles: true}));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - start;
}"""


def write_run(run: Path, rollouts: int, tokens: int) -> None:
    """A run directory with some rollouts in four files."""
    rng = np.random.default_rng(0)
    words = np.array([_word(rng) for _ in range(WORDS)])
    chance = 1 / np.arange(1, WORDS + 1)
    records = list(_records(rng, words, chance / chance.sum(), rollouts, tokens))
    per_file = -(-rollouts // (GROUP * FILES)) * GROUP
    for i in range(FILES):
        step = 10 * i
        part = [{**record, "step": step} for record in records[i * per_file : (i + 1) * per_file]]
        write_rollouts(run / "rollouts" / f"step_{step:06d}.parquet", part)
    names = ("reward", "entropy", "srpo/weight/perception_mean", "srpo/gap/perception_mean", "step_time", "loss")
    lines = [json.dumps({"step": i, **dict(zip(names, rng.random(len(names)), strict=True))}) for i in range(1, 2001)]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    (run / "summary.json").write_text('{"before": {"accuracy": 0.5}, "after": {"accuracy": 0.6}}')


def _records(
    rng: np.random.Generator, words: np.ndarray, chance: np.ndarray, rollouts: int, tokens: int
) -> Iterator[dict[str, Any]]:
    roles = np.zeros(tokens, dtype=int)
    roles[8 : tokens // 4], roles[tokens // 4 + 8 : -4] = 1, 2
    for i in range(rollouts):
        gaps = np.where(roles > 0, rng.normal(0.1, 0.8, tokens) * rng.exponential(1.0, tokens), 0.0)
        weighed = np.where(roles == 2, gaps[roles == 2].mean(), gaps)  # reasoning_gap "block", the default
        raw = np.clip(np.exp(weighed - weighed[roles > 0].mean()), 0.5, 2.0)
        chosen = words[rng.choice(len(words), tokens, p=chance)].tolist()
        first = i % GROUP == 0
        yield {
            **{"row_id": str(i // GROUP), "question": "What is the sum of all numbers in the picture?", "task": "math"},
            **{"reference": "42", "image": _picture(rng) if first else None},
            **{"corrupted": _picture(rng, masked=True) if first else None, "corruption": "patch_mask 0.6"},
            **{"completion": "".join(chosen), "ended": True, "advantage": float(rng.normal())},
            "rewards": [("accuracy_reward", float(i % 2)), ("format_reward", 1.0)],
            **{"tokens": chosen, "roles": roles, "gaps": gaps},
            "weights": np.where(roles > 0, raw / raw[roles > 0].mean(), 1.0),
        }


def _word(rng: np.random.Generator) -> str:
    return " " + "".join(rng.choice(list("etaoinshrdlucmfwypvbgkjqxz"), rng.integers(2, 8)))


def _picture(rng: np.random.Generator, *, masked: bool = False) -> bytes:
    """A blurred field of colours with some noise, as photographs have it."""
    field = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).resize((512, 512))
    pixels = np.clip(np.asarray(field) + rng.normal(0, 4, (512, 512, 3)), 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (corrupt(picture, seed=0, patch_size=28) if masked else picture).save(buffer, format="PNG")
    return buffer.getvalue()


def make_report(run: Path, page: Path) -> dict[str, float]:
    """Seconds and peak GiB of `srpo report`, size of the page in MB, rollouts in it."""
    command = [sys.executable, "-m", "srpo.cli", "report", str(run), "--output", str(page)]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"srpo report ended with status {process.returncode}: {said}")
    seconds = time.perf_counter() - started
    kept = int(said.rpartition(" rollouts of ")[0].rpartition(" ")[2].replace(",", ""))
    return {
        "seconds": seconds,
        "peak_gib": usage.ru_maxrss / 2**20,
        "megabytes": page.stat().st_size / 1e6,
        "rollouts": kept,
    }


def look(page: Path, tokens: int, rounds: int) -> dict[str, float]:
    """Seconds to open the page at its rollouts, and milliseconds to change the colouring; {} without a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        return {}
    opened, switched = [], []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(rounds):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            started = time.perf_counter()
            tab.goto(f"{page.absolute().as_uri()}#section=rollouts")
            tab.wait_for_selector(".replies:not([aria-busy]) .tokens .t")  # the page's policy forbids wait_for_function
            assert tab.locator(".tokens .t").count() == GROUP * tokens
            opened.append(time.perf_counter() - started)
            tab.wait_for_timeout(500)
            switched += [tab.evaluate(SWITCH) for _ in range(4)]
            tab.close()
        browser.close()
    return {"open_seconds": statistics.median(opened), "switch_ms": statistics.median(switched)}


def main() -> None:
    """Run the bench and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run, page = Path(name) / "run", Path(name) / "report.html"
        write_run(run, options.rollouts, options.tokens)
        result = {**make_report(run, page), **look(page, options.tokens, options.rounds)}
    save("report", options, result, options.output)
    print(", ".join(f"{name} {value:.4g}" for name, value in result.items()))


if __name__ == "__main__":
    main()
