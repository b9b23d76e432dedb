"""easy-VQA (victorzhou, MIT) as rows with a perception and a derivation: `python -m bench.easy_vqa FOLDER`.

The package `easy-vqa` has 5,000 drawn images of one coloured shape each, and questions about them. What is seen is not
written down, but the questions of an image together often tell it. Writes three files of rows that share no image:

warmup.jsonl   half of the images of its training set, with perception and reasoning: for `srpo warmup`
train.jsonl    the other half, without: for `srpo train`
test.jsonl     the images of its test set

and the images beside them.
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
    questions: tuple[list[str], list[str], list[int]], paths: dict[int, str], copies: Path
) -> dict[int, list[dict[str, Any]]]:
    """The rows of each image whose scene its questions tell, at most QUESTIONS_OF_AN_IMAGE."""
    rows = {}
    for image, asked in pairs_of_images(questions).items():
        seen = scene(asked)
        if seen is None:
            continue
        color, shape = seen
        copy = copies / f"{image}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(paths[image], copy)
        rows[image] = [
            {
                "id": f"{image}-{i}",
                "image": f"{copies.name}/{copy.name}",
                "question": question,
                "answer": answer,
                "task": "text",
                "perception": f"{color} {shape}",
                "reasoning": derivation(question, answer, color, shape),
            }
            for i, (question, answer) in enumerate(asked[:QUESTIONS_OF_AN_IMAGE])
        ]
    return rows


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    train = rows_of(easy_vqa.get_train_questions(), easy_vqa.get_train_image_paths(), folder / "train")
    test = rows_of(easy_vqa.get_test_questions(), easy_vqa.get_test_image_paths(), folder / "test")
    images = sorted(train)
    files = {
        "warmup": [row for image in images[::2] for row in train[image]],
        "train": [row for image in images[1::2] for row in train[image]],
        "test": [row for image in sorted(test) for row in test[image]],
    }
    for name, rows in files.items():
        known = rows if name == "warmup" else [{**row, "perception": "", "reasoning": ""} for row in rows]
        text = "".join(json.dumps(row) + "\n" for row in known)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}.jsonl: {len(rows)} questions")


if __name__ == "__main__":
    main()
