"""The prompts of a page: all of them, or as many as there is room for."""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from srpo.report.packing import packed
from srpo.report.pictures import Pictures
from srpo.report.rollouts import Group, Rollout
from srpo.report.text import finite, page_json, shortened

SIDES = (512, 384, 256)  # longest side of a picture in pixels; the first with which everything fits
_AROUND_BLOB = 60  # bytes of its script element
_TRIES = 20  # pictures that are made in vain before there is no room for any


@dataclass(frozen=True)
class Prompt:
    """A prompt on its way into the page: what is shown of it, its pictures, and its replies as base64."""

    shown: dict[str, Any]
    image: bytes | None
    corrupted: bytes | None
    blob: str

    @property
    def size(self) -> int:
        """Bytes in the page, without its pictures."""
        return len(page_json(self.shown).encode("utf-8")) + len(self.blob) + _AROUND_BLOB


@dataclass(frozen=True)
class Chosen:
    """What fits into a page.

    Attributes:
        groups: prompts by run, step and number.
        images: their pictures.
        blobs: their replies.
        left: prompts that are left out.
        gone: run -> its steps that no prompt is left of.
        unreadable: run -> its pictures that cannot be read.
    """

    groups: list[dict[str, Any]]
    images: list[dict[str, Any]]
    blobs: list[str]
    left: int
    gone: dict[int, list[int]]
    unreadable: Counter[int]


def prompt_of(run: int, group: Group) -> Prompt:
    """A prompt and its replies, packed."""
    shown = {
        "run": run,
        "step": group.step,
        "number": group.number,
        **{name: shortened(getattr(group, name)) for name in ("row_id", "question", "reference", "task", "corruption")},
        "options": [shortened(option, 2_000) for option in group.options[:100]],
        "replies": [_reply(rollout) for rollout in group.replies],
    }
    blob = base64.b64encode(packed(group.replies)).decode("ascii")
    return Prompt(shown, group.image, group.corrupted, blob)


def choose(prompts: Sequence[Prompt], room: int) -> Chosen:
    """The prompts that fit into `room` bytes, with pictures as large as they may be for all prompts to fit."""
    ordered = _ordered(prompts)
    for side in SIDES:
        kept, pictures = _fitting(ordered, room, side)
        if len(kept) == len(prompts):
            break
    kept.sort(key=lambda prompt: (prompt.shown["run"], prompt.shown["step"], prompt.shown["number"]))
    groups = []
    unreadable: Counter[int] = Counter()
    for i, prompt in enumerate(kept):
        contents = {"image": prompt.image, "corrupted": prompt.corrupted}
        places = {name: pictures.add(content) for name, content in contents.items()}
        unreadable[prompt.shown["run"]] += sum(bool(contents[name]) and places[name] is None for name in places)
        groups.append({**prompt.shown, **places, "blob": f"blob-{i}"})
    gone = {run: sorted(set(steps) - set(_steps(kept).get(run, ()))) for run, steps in _steps(prompts).items()}
    blobs = [prompt.blob for prompt in kept]
    return Chosen(groups, pictures.images, blobs, len(prompts) - len(kept), gone, unreadable)


def spread(count: int) -> list[int]:
    """Places 0 to count - 1 in an order that covers them evenly from the start: last, first, middle, quarters, ..."""
    if count < 2:
        return list(range(count))
    order, spans = [count - 1, 0], [(0, count - 1)]
    for low, high in spans:  # grows while it is read
        if high - low > 1:
            middle = (low + high) // 2
            order.append(middle)
            spans += [(low, middle), (middle, high)]
    return order


def _steps(prompts: Iterable[Prompt]) -> dict[int, list[int]]:
    """Run -> its steps, rising."""
    found: dict[int, set[int]] = {}
    for prompt in prompts:
        found.setdefault(prompt.shown["run"], set()).add(prompt.shown["step"])
    return {run: sorted(steps) for run, steps in found.items()}


def _ordered(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The first prompts of all steps before the second ones, and steps `spread` over each run."""
    rank = {
        (run, steps[place]): i for run, steps in _steps(prompts).items() for i, place in enumerate(spread(len(steps)))
    }

    def order(prompt: Prompt) -> tuple[int, int, int]:
        shown = prompt.shown
        return shown["number"], rank[shown["run"], shown["step"]], shown["run"]

    return sorted(prompts, key=order)


def _fitting(prompts: Iterable[Prompt], room: int, side: int) -> tuple[list[Prompt], Pictures]:
    """The prompts that fit, the first in their order before those behind them."""
    pictures, kept = Pictures(side), []
    used = tried = 0
    for prompt in prompts:
        if used + prompt.size > room or (tried == _TRIES and prompt.image):
            continue
        before = len(pictures.images)
        pictures.add(prompt.image)
        pictures.add(prompt.corrupted)
        size = prompt.size + sum(len(image["uri"]) + _AROUND_BLOB for image in pictures.images[before:])
        if used + size > room:
            pictures.forget(before)
            tried += 1
            continue
        used += size
        kept.append(prompt)
    return kept, pictures


def _reply(rollout: Rollout) -> dict[str, Any]:
    return {
        "rewards": {shortened(name, 200): finite(value, 4) for name, value in rollout.rewards.items()},
        "advantage": finite(rollout.advantage, 4),
        "right": rollout.right,
        "lucky": rollout.lucky,
        "structured": rollout.structured,
        "ended": rollout.ended,
        "tokens": len(rollout.tokens),
        "largest_weight": finite(rollout.largest_weight, 4),
        "scored": rollout.gaps is not None,
    }
