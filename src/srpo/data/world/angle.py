"""Family `angle`: the clockwise angle between two hands of a dial, in degrees."""

import math
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw

from srpo.data.world import painting
from srpo.data.world.scene import Family, Scene, numbered_fact, only_value, other_numbers

COLORS = ("red", "blue", "green", "yellow")
HOURS = 12
STEP = 30
_SCALE = 4
_DIAL = 88


class Angle(Family):
    """Degrees clockwise from red to blue?  ->  red 2 ; blue 7  ->  7 - 2 = 5 ; 5 * 30 = 150  ->  150"""

    name = "angle"

    def sample(self, rng: random.Random) -> Scene:
        """Two hands of different colours at different marks; mark 0 is at the top, marks run clockwise to 11."""
        colors = rng.sample(COLORS, 2)
        hours = rng.sample(range(HOURS), 2)
        start, end = rng.sample(colors, 2)
        hands = sorted(zip(colors, hours, strict=True), key=lambda hand: COLORS.index(hand[0]))
        facts = tuple(f"{color} {hour}" for color, hour in hands)
        return Scene(self.name, facts, {"from": start, "to": end})

    def draw(self, scene: Scene, rng: random.Random) -> Image.Image:
        """A dial with twelve marks, the top one long, and two hands."""
        dial = _face().copy()
        pen = ImageDraw.Draw(dial)
        centre = _DIAL * _SCALE / 2
        for fact in scene.facts:
            color, hour = fact.split()
            x, y = _point(int(hour), rng.uniform(0.68, 0.78))
            fill = painting.shaded(color, painting.shade(rng))
            pen.line((centre, centre, x, y), fill, 7 * _SCALE)
            _disc(pen, x, y, 3.5 * _SCALE, fill)
        _disc(pen, centre, centre, 5 * _SCALE, painting.INK)
        small = dial.reduce(_SCALE)
        image = painting.background(rng)
        corner = (painting.SIZE - _DIAL) // 2
        image.paste(small, (corner + rng.randint(-2, 2), corner + rng.randint(-2, 2)), small)
        return image

    def question(self, query: dict[str, Any]) -> str:
        """Degrees clockwise from red to blue?"""
        return f"Degrees clockwise from {query['from']} to {query['to']}?"

    def needed(self, query: dict[str, Any], facts: Sequence[str]) -> list[str]:
        """Both hands."""
        return [fact for fact in facts if fact.split()[0] in (query["from"], query["to"])]

    def derive(self, query: dict[str, Any], facts: Sequence[str]) -> tuple[str, str]:
        """Marks from one hand to the other (12 added where it would be negative), times 30."""
        start, end = only_value(facts, query["from"]), only_value(facts, query["to"])
        marks = (end - start) % HOURS
        turn = f"{end} - {start}" if end >= start else f"{end} + {HOURS} - {start}"
        return f"{turn} = {marks} ; {marks} * {STEP} = {marks * STEP}", str(marks * STEP)

    def parse_clause(self, clause: str) -> list[str] | None:
        """A hand: "red 2"."""
        return numbered_fact(clause, COLORS, 0, HOURS - 1)

    def alternatives(self, fact: str) -> list[str]:
        """The same hand at another mark."""
        return other_numbers(fact, 0, HOURS - 1)


def _point(hour: float, radius: float) -> tuple[float, float]:
    """Where mark `hour` lies at `radius` (1 is the rim), in oversampled pixels."""
    turn = hour * 2 * math.pi / HOURS
    half = _DIAL * _SCALE / 2
    return half + half * radius * math.sin(turn), half - half * radius * math.cos(turn)


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, color: tuple[int, int, int]) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), color)


@lru_cache(maxsize=1)
def _face() -> Image.Image:
    n = _DIAL * _SCALE
    image = Image.new("RGBA", (n, n), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.ellipse((0, 0, n - 1, n - 1), (255, 255, 255), (110, 114, 124), 2 * _SCALE)
    for hour in range(HOURS):
        inner, width = (0.80, 4) if hour == 0 else (0.88, 2)
        pen.line((*_point(hour, inner), *_point(hour, 0.94)), painting.INK, width * _SCALE)
    return image
