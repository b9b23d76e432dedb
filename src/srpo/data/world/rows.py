"""Rows of the visual world: seeded, unlimited, with splits that share no scene."""

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Any

from srpo.data.schema import DataError
from srpo.data.world.families import FAMILY_NAMES, family
from srpo.data.world.scene import Family, Scene

SPLITS = ("train", "validation", "test")
_HELD_OUT_PERCENT = 10


def split_of(name: str, facts: Sequence[str]) -> str:
    """The split that a scene belongs to: 80 % train, 10 % validation, 10 % test, by a hash of family and facts.

    The scene alone decides, so no two splits ever share one, whatever the seeds, sizes and questions.
    """
    digest = hashlib.sha256(f"{name}: {' ; '.join(facts)}".encode()).digest()
    bucket = int.from_bytes(digest[:4], "big") % 100
    if bucket < _HELD_OUT_PERCENT:
        return "validation"
    return "test" if bucket < 2 * _HELD_OUT_PERCENT else "train"


def generate(
    split: str = "train", *, rows: int, seed: int = 0, families: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Draw `rows` rows of a split, the families taking turns.

    Row i depends on (split, seed, families, i) only, and the k-th row of a family on (split, seed, family, k) only.
    Returns dicts with id, images (one 96 x 96 RGB image), question, options, answer, perception, task, family, truth.
    Raises DataError for an unknown split or family or a negative number of rows.
    """
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r} of the built-in world; choose from {', '.join(SPLITS)}")
    if rows < 0:
        raise DataError(f"rows is {rows}; it must be 0 or more")
    names = tuple(families) if families else FAMILY_NAMES
    if len(set(names)) < len(names):
        raise DataError(f"the families {', '.join(names)} repeat a name; name each once")
    members = [family(name) for name in names]
    return [_row(members[i % len(members)], split, seed, i // len(members)) for i in range(rows)]


def _row(member: Family, split: str, seed: int, index: int) -> dict[str, Any]:
    rng = random.Random(f"{seed}/{split}/{member.name}/{index}")
    scene = _sample(member, split, rng)
    solution = member.solve(scene.query, scene.facts)
    truth = {
        "family": member.name,
        "facts": list(scene.facts),
        "needed": member.needed(scene.query, scene.facts),
        "query": scene.query,
    }
    return {
        "id": f"{member.name}-{split}-{seed}-{index}",
        "images": [member.draw(scene, rng)],
        "question": member.question(scene.query),
        "options": [],
        "answer": solution.answer,
        "perception": solution.perception,
        "task": "math",
        "family": member.name,
        "truth": json.dumps(truth),
    }


def _sample(member: Family, split: str, rng: random.Random) -> Scene:
    """Draw scenes until one belongs to the split (1.25 draws on average for train, 10 for the others)."""
    while True:
        scene = member.sample(rng)
        if split_of(scene.family, scene.facts) == split:
            return scene
