"""The prompts of a page: all of them, or as many as there is room for."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from srpo.report.packing import packed
from srpo.report.pictures import Pictures
from srpo.report.rollouts import Group, Rollout
from srpo.report.text import finite, page_json, shortened

SIDES = (512, 384, 256)  # longest side of a picture in pixels; the first with which everything fits
_AROUND_BLOB = 60  # bytes of its script element


@dataclass(frozen=True)
class Prompt:
    """A prompt on its way into the page: what is shown of it, its pictures, and its replies as base64."""

    shown: dict[str, Any]
    image: bytes | None
    corrupted: bytes | None
    blob: str

    @property
    def order(self) -> tuple[int, int, int]:
        """The first prompts of all steps and runs come before the second ones."""
        return self.shown["number"], self.shown["step"], self.shown["run"]

    @property
    def size(self) -> int:
        """Bytes in the page, without its pictures."""
        return len(page_json(self.shown).encode("utf-8")) + len(self.blob) + _AROUND_BLOB


@dataclass(frozen=True)
class Chosen:
    """What fits into a page: prompts by run, step and number, their pictures, their replies."""

    groups: list[dict[str, Any]]
    images: list[dict[str, Any]]
    blobs: list[str]
    total: int
    unreadable: int


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
    for side in SIDES:
        kept, pictures = _fitting(prompts, room, side)
        if len(kept) == len(prompts):
            break
    kept.sort(key=lambda prompt: (prompt.shown["run"], prompt.shown["step"], prompt.shown["number"]))
    groups = [
        {
            **prompt.shown,
            "image": pictures.add(prompt.image),
            "corrupted": pictures.add(prompt.corrupted),
            "blob": f"blob-{i}",
        }
        for i, prompt in enumerate(kept)
    ]
    blobs = [prompt.blob for prompt in kept]
    return Chosen(groups, pictures.images, blobs, len(prompts), pictures.unreadable)


def _fitting(prompts: Iterable[Prompt], room: int, side: int) -> tuple[list[Prompt], Pictures]:
    """Prompts in their order, until one does not fit."""
    pictures, kept = Pictures(side), []
    used = 0
    for prompt in sorted(prompts, key=lambda prompt: prompt.order):
        there = len(pictures.images)
        pictures.add(prompt.image)
        pictures.add(prompt.corrupted)
        used += prompt.size + sum(len(image["uri"]) + _AROUND_BLOB for image in pictures.images[there:])
        if used > room:
            del pictures.images[there:]
            break
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
