"""The pictures of README and docs, from a real run: python docs/figures/pictures.py RUN [--images docs/images]

Makes the report of the run, opens it in headless Chromium, and takes pictures of one prompt in both themes, and of the
curves. The prompt is that of the last saved step whose weights vary most, among those with right and wrong replies.
`srpo inspect` on its image and question gives the picture of the terminal. Needs Playwright and Chromium
(`make chromium`).
"""

import argparse
import io
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text

from srpo.report import write_report

LAPTOP = {"width": 1280, "height": 960}


def main() -> None:
    """Write rollouts-light.png, rollouts-dark.png, curves.png and inspect.svg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=Path, default=Path(__file__).parents[1] / "images")
    options = parser.parse_args()
    options.images.mkdir(parents=True, exist_ok=True)
    number, group = choose(pq.read_table(sorted((options.run / "rollouts").glob("*.parquet"))[-1]).to_pylist())
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_report([options.run], page)
        view = f"section=rollouts&step={group[0]['step']}&prompt={number}"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for theme in ("light", "dark"):
                tab = browser.new_page(viewport=LAPTOP, device_scale_factor=2)
                save(tab, f"{page.as_uri()}#{view}&theme={theme}", options.images / f"rollouts-{theme}.png")
            tab = browser.new_page(viewport=LAPTOP, device_scale_factor=1.5)
            save(tab, f"{page.as_uri()}#section=curves&theme=light", options.images / "curves.png")
            browser.close()
        terminal(options.run, group[0], Path(folder), options.images / "inspect.svg")


def choose(rows: list[dict[str, Any]]) -> tuple[int, list[dict[str, Any]]]:
    """The place among its step's prompts, and the replies, of the prompt with the widest spread of weights."""
    groups: list[list[dict[str, Any]]] = []
    for row in rows:
        if row["image"] is not None:
            groups.append([])
        groups[-1].append(row)
    mixed = [i for i, group in enumerate(groups) if len({row["advantage"] > 0 for row in group}) == 2]
    if not mixed:
        raise SystemExit("no prompt of the last saved step has both right and wrong replies; take another run")
    number = max(mixed, key=lambda i: statistics.mean(statistics.pstdev(row["weights"]) for row in groups[i]))
    return number, groups[number]


def save(tab: Page, address: str, picture: Path) -> None:
    """A picture of a view of the page, in 256 colours."""
    tab.goto(address)
    tab.wait_for_selector("main [aria-busy]", state="detached")
    tab.wait_for_timeout(500)
    shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    shot.quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)


def terminal(run: Path, row: dict[str, Any], folder: Path, picture: Path) -> None:
    """What `srpo inspect` prints for a question of the run, as SVG."""
    image = folder / "image.png"
    image.write_bytes(row["image"])
    asked = ["--image", str(image), "--question", row["question"], "--answer", row["reference"]]
    drawn = ["--num_generations", "4", "--temperature", "1.5", "--highest", "5", "--output_dir", str(folder / "out")]
    colours = {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm-256color", "COLUMNS": "100"}
    command = [sys.executable, "-m", "srpo.cli", "inspect", str(run), *asked, *drawn]
    ran = subprocess.run(command, env={**os.environ, **colours}, capture_output=True, text=True, check=True)
    said = "\n".join(line for line in ran.stdout.splitlines() if "loading, sampling" not in line)
    said = re.sub(r"\n{3,}", "\n\n", said.replace(f"{folder}/", "").replace(str(run), run.name))
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(said))
    title = f'srpo inspect {run.name} --image image.png --question "{row["question"]}" --answer {row["reference"]}'
    picture.write_text(console.export_svg(title=title), encoding="utf-8")


if __name__ == "__main__":
    main()
