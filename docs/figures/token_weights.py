"""Draw the token weights of real rollouts as an SVG: python docs/figures/token_weights.py RUN docs/images/token_weights.svg

Takes the prompt of the saved rollouts whose replies are both right and wrong and whose weights vary most, and draws one right and one
wrong reply of it: one box per token, blue where SRPO weakens GRPO's update, orange where it strengthens it.
"""

import argparse
import base64
import math
from html import escape
from pathlib import Path

import pyarrow.parquet as pq

CHARACTER, LINE, LEFT, WIDTH = 9.0, 34, 190, 900
ROLE_NAMES = {0: "", 1: "perception", 2: "reasoning"}


def main() -> None:
    """Read the last rollouts of a run and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    path = sorted((options.run / "rollouts").glob("*.parquet"))[-1]
    rows = pq.read_table(path).to_pylist()
    right, wrong, image = choose(rows)
    options.picture.write_text(draw(right, wrong, image), encoding="utf-8")


def choose(rows: list[dict]) -> tuple[dict, dict, bytes]:
    """A right and a wrong structured reply to one prompt, with the widest spread of weights."""
    best = None
    for key in {row["row_id"] for row in rows}:
        group = [row for row in rows if row["row_id"] == key and any(row["roles"])]
        right = [row for row in group if row["advantage"] > 0]
        wrong = [row for row in group if row["advantage"] < 0]
        if right and wrong:
            pair = (max(right, key=spread), max(wrong, key=spread))
            score = spread(pair[0]) + spread(pair[1])
            image = next(row["image"] for row in rows if row["row_id"] == key and row["image"])
            if best is None or score > best[0]:
                best = (score, *pair, image)
    if best is None:
        raise SystemExit("no prompt of these rollouts has both right and wrong structured replies; take another run")
    return best[1:]


def spread(row: dict) -> float:
    """Standard deviation of the weights of the role tokens."""
    weights = [w for w, role in zip(row["weights"], row["roles"], strict=True) if role]
    mean = sum(weights) / len(weights)
    return math.sqrt(sum((w - mean) ** 2 for w in weights) / len(weights))


def colour(weight: float, role: int) -> str:
    """White at 1, orange towards 2, blue towards 1/2; grey for neutral tokens."""
    if role == 0:
        return "#eeeeee"
    strength = max(-1.0, min(1.0, math.log2(weight)))
    target = (230, 130, 20) if strength > 0 else (60, 120, 200)
    mix = abs(strength)
    return "#" + "".join(f"{round(255 + (channel - 255) * mix):02x}" for channel in target)


def reply(row: dict, top: float, title: str) -> tuple[list[str], float]:
    """SVG elements of one reply below `top`, and where it ends."""
    parts = [f'<text x="{LEFT}" y="{top}" class="title">{escape(title)}</text>']
    x, y = float(LEFT), top + 14.0
    for token, role, weight in zip(row["tokens"], row["roles"], row["weights"], strict=True):
        text = token.replace("\n", " ")
        if not text:
            continue
        width = max(len(text) * CHARACTER, 24) + 4
        if x + width > WIDTH - 10:
            x, y = float(LEFT), y + LINE + 8
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="22" rx="3" fill="{colour(weight, role)}"/>'
            f'<text x="{x + 2:.1f}" y="{y + 16:.1f}" class="token" xml:space="preserve">{escape(text)}</text>'
        )
        if role:
            parts.append(f'<text x="{x + width / 2:.1f}" y="{y + 33:.1f}" class="number">{weight:.2f}</text>')
        x += width + 2
    return parts, y + LINE + 26


def draw(right: dict, wrong: dict, image: bytes) -> str:
    """The whole picture."""
    body: list[str] = []
    top = 66.0
    for row in (right, wrong):
        verdict = "right" if row["advantage"] > 0 else "wrong"
        sign = "strengthened" if row["advantage"] > 0 else "weakened"
        title = f"A {verdict} reply, advantage {row['advantage']:+.2f}: its tokens are {sign}, by these factors of GRPO's update"
        parts, top = reply(row, top, title)
        body += parts
    height = max(top + 10, 230)
    legend = "".join(
        f'<rect x="{LEFT + i * 58}" y="{top - 18}" width="58" height="12" fill="{colour(2 ** (i / 2 - 1), 1)}"/>'
        f'<text x="{LEFT + i * 58 + 29}" y="{top + 6}" class="number">{2 ** (i / 2 - 1):.2f}</text>'
        for i in range(5)
    )
    picture = base64.b64encode(image).decode()
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + 10:.0f}" font-family="sans-serif">
<style>.title{{font-size:14px;fill:#222}}.token{{font:15px monospace;fill:#111}}.number{{font-size:10px;fill:#555;text-anchor:middle}}</style>
<rect width="{WIDTH}" height="{height + 10:.0f}" fill="#ffffff"/>
<text x="20" y="30" font-size="17" font-weight="bold" fill="#111">{escape(right["question"])}</text>
<image x="20" y="52" width="150" height="150" href="data:image/png;base64,{picture}" style="image-rendering:pixelated"/>
<text x="20" y="222" class="title">answer: {escape(right["reference"])}</text>
{"".join(body)}
{legend}<text x="{LEFT + 300}" y="{top - 8}" class="number" style="text-anchor:start">token weight; grey: neutral, weight 1</text>
</svg>
"""


if __name__ == "__main__":
    main()
