"""What the replies of a comparison on easy-VQA saw: `python -m bench.easy_vqa_seen COMPARISON`.

The images of easy-VQA come without a written truth, but their questions tell it (`bench.easy_vqa`). So the replies of
`srpo compare` on its test set can be graded as those on the built-in world are: the fact that the answer is about is
the colour or the shape. "Commonest shape" is the share of the shape that is named most often among the replies that
name one (each of the three is a third of the images). Prints each method's mean over seeds and its paired difference
to the baseline.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import easy_vqa
import pyarrow.parquet as pq

from bench.easy_vqa import COLORS, SHAPES, pairs_of_images, scene
from srpo.evaluation.audit.blocks import stated_perception
from srpo.evaluation.comparison.statistics import mean_interval, paired_comparison
from srpo.roles import DEFAULT_FORMAT

OF_A_REPLY = ("accuracy", "color right", "shape right", "grounded accuracy", "lucky rate")
FIGURES = (*OF_A_REPLY, "commonest shape")


def stated_words(reply: Mapping[str, Any]) -> list[str]:
    """The words of the perception block; none where the reply is not structured."""
    return (stated_perception(reply["text"], DEFAULT_FORMAT) or "").split()


def seen(reply: Mapping[str, Any], stated: list[str], color: str, shape: str) -> dict[str, float]:
    """The figures of one reply that states these words about an image of this colour and shape."""
    about_color = reply["reference"] in COLORS or bool(set(reply["question"].strip("?").split()) & set(COLORS))
    if reply["reference"] not in (*COLORS, "yes", "no"):
        about_color = False  # "what is the blue shape?" takes the colour for granted
    right, color_right, shape_right = bool(reply["right"]), stated[:1] == [color], stated[1:] == [shape]
    needed = color_right if about_color else shape_right
    values = (right, color_right, shape_right, right and needed, right and not needed)
    return dict(zip(OF_A_REPLY, map(float, values), strict=True))


def figures(replies: Path, scenes: Mapping[int, tuple[str, str] | None]) -> dict[str, float]:
    """Means over the plain replies of an evaluation."""
    rows = pq.read_table(replies, columns=["variant", "row_id", "question", "reference", "text", "right"]).to_pylist()
    graded, shapes = [], Counter[str]()
    for row in rows:
        known = scenes[int(row["row_id"].split("-")[0])]
        if row["variant"] == "as_is" and known:
            stated = stated_words(row)
            graded.append(seen(row, stated, *known))
            shapes.update(word for word in stated[1:2] if word in SHAPES)
    means = {name: sum(each[name] for each in graded) / len(graded) for name in OF_A_REPLY}
    return {**means, "commonest shape": max(shapes.values(), default=0) / max(shapes.total(), 1)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--baseline", default="grpo")
    options = parser.parse_args()
    scenes = {image: scene(pairs) for image, pairs in pairs_of_images(easy_vqa.get_test_questions()).items()}
    found: dict[str, dict[int, dict[str, float]]] = {}
    for path in sorted(options.comparison.glob("runs/*/seed-*/eval/replies.parquet")):
        method, seed = path.parts[-4], int(path.parts[-3].removeprefix("seed-"))
        found.setdefault(method, {})[seed] = figures(path, scenes)
    print("| |", " | ".join(FIGURES), "|\n|---|" + "---|" * len(FIGURES))
    start = options.comparison / "start" / "eval" / "replies.parquet"
    if start.is_file():
        before = figures(start, scenes)
        print("| before training | " + " | ".join(f"{before[name]:.3f}" for name in FIGURES) + " |")
    for method, seeds in found.items():
        cells = []
        for name in FIGURES:
            mine = {seed: values[name] for seed, values in seeds.items()}
            paired = paired_comparison(mine, {s: v[name] for s, v in found.get(options.baseline, {}).items()})
            text = f"{mean_interval(list(mine.values())).mean:.3f}"
            if method != options.baseline and paired and paired.difference.low is not None:
                text += (
                    f" ({paired.difference.mean:+.3f} [{paired.difference.low:+.3f}, {paired.difference.high:+.3f}])"
                )
            cells.append(text)
        print(f"| {method} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
