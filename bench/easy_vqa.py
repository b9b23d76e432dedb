"""easy-VQA (victorzhou, MIT) as rows with a perception and a derivation: `python -m bench.easy_vqa FOLDER`.

The package `easy-vqa` has 5,000 drawn images of one coloured shape each, and questions about them. What is seen is not
written down, but the questions of an image together often tell it. Writes two data sets, images beside them, in which
no two files share an image:

FOLDER/warmup/train.jsonl      half of the images of its training set, with perception and reasoning: for `srpo warmup`
FOLDER/rl/train.jsonl          the other half, without: for `srpo train`
FOLDER/rl/validation.jsonl     a third of the images of its test set: what learning rates are chosen on
FOLDER/rl/test.jsonl           the others
"""

import argparse
import json
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import easy_vqa

SHAPES = ("circle", "rectangle", "triangle")
COLORS = ("black", "gray", "red", "green", "blue", "yellow", "teal", "brown")
QUESTIONS_OF_AN_IMAGE = 4


def scene(pairs: list[tuple[str, str]]) -> tuple[str, str] | None:
    """(colour, shape) of an image, from its questions and answers; None where they leave one of the two open."""
    facts: dict[str, set[str]] = {"color": set(COLORS), "shape": set(SHAPES)}
    for question, answer in pairs:
        words = re.findall(r"[a-z]+", question)
        for kind, names in (("color", COLORS), ("shape", SHAPES)):
            if answer in names:
                facts[kind] &= {answer}
            named = {word for word in words if word in names}
            if answer in ("yes", "no") and named:
                holds = (answer == "yes") != ("not" in words)
                facts[kind] = facts[kind] & named if holds else facts[kind] - named
            elif named:  # the answer is of the other kind, and the question takes this one for granted
                facts[kind] &= named
    if any(len(left) != 1 for left in facts.values()):
        return None
    return facts["color"].pop(), facts["shape"].pop()


def derivation(question: str, answer: str, color: str, shape: str) -> str:
    """How the answer follows from what is seen: "gray ? black , no ; not , yes"."""
    if answer not in ("yes", "no"):
        return f"{'shape' if answer in SHAPES else 'color'} : {answer}"
    words = re.findall(r"[a-z]+", question)
    (asked,) = {word for word in words if word in SHAPES + COLORS}
    found = "yes" if asked in (color, shape) else "no"
    seen = shape if asked in SHAPES else color
    return f"{asked} ? {seen} , {found}" + (f" ; not , {answer}" if "not" in words else "")


def pairs_of_images(questions: tuple[list[str], list[str], list[int]]) -> dict[int, list[tuple[str, str]]]:
    """The questions and answers of each image."""
    pairs: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for question, answer, image in zip(*questions, strict=True):
        pairs[image].append((question, answer))
    return pairs


def rows_of(
    questions: tuple[list[str], list[str], list[int]], paths: dict[int, str]
) -> dict[int, list[dict[str, Any]]]:
    """The rows of each image whose scene its questions tell, at most QUESTIONS_OF_AN_IMAGE."""
    rows = {}
    for image, asked in pairs_of_images(questions).items():
        seen = scene(asked)
        if seen is None:
            continue
        color, shape = seen
        rows[image] = [
            {
                "id": f"{image}-{i}",
                "image": paths[image],
                "question": question,
                "answer": answer,
                "task": "text",
                "perception": f"{color} {shape}",
                "reasoning": derivation(question, answer, color, shape),
            }
            for i, (question, answer) in enumerate(asked[:QUESTIONS_OF_AN_IMAGE])
        ]
    return rows


def write(file: Path, rows: list[dict[str, Any]], *, known: bool) -> None:
    """Rows as JSON lines, with copies of their images in a folder of the file's name; unknown perceptions are empty."""
    copies = file.with_suffix("")
    copies.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as lines:
        for row in rows:
            source = Path(row["image"])
            shutil.copyfile(source, copies / source.name)
            hidden = {} if known else {"perception": "", "reasoning": ""}
            lines.write(json.dumps({**row, "image": f"{copies.name}/{source.name}", **hidden}) + "\n")
    print(f"{file}: {len(rows)} questions")


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    train = rows_of(easy_vqa.get_train_questions(), easy_vqa.get_train_image_paths())
    test = rows_of(easy_vqa.get_test_questions(), easy_vqa.get_test_image_paths())
    held_out = set(sorted(test, key=str)[::3])
    images = sorted(train)
    parts = {
        "warmup/train": (train, images[::2]),
        "rl/train": (train, images[1::2]),
        "rl/validation": (test, sorted(held_out)),
        "rl/test": (test, sorted(set(test) - held_out)),
    }
    for name, (rows, chosen) in parts.items():
        write(
            folder / f"{name}.jsonl", [row for image in chosen for row in rows[image]], known=name.startswith("warmup")
        )


if __name__ == "__main__":
    main()
