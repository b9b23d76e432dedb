"""Family `chart`: the sum or the difference of two bars of a bar chart."""

import random
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from srpo.data.world import painting
from srpo.data.world.scene import Family, Scene, addition, difference, numbered_fact, only_value, other_numbers

COLORS = ("red", "blue", "green", "yellow")
_UNIT = 9
_BASE = 90
_BAR = 16


class Chart(Family):
    """Sum of the red and blue bars?  ->  red 4 ; blue 7 ; green 2  ->  4 + 7 = 11  ->  11"""

    name = "chart"

    def sample(self, rng: random.Random) -> Scene:
        """3 or 4 bars of different colours, heights 1 to 9; the question names two of them."""
        colors = rng.sample(COLORS, rng.choice((3, 4)))
        facts = tuple(f"{color} {rng.randint(1, 9)}" for color in colors)
        first, second = rng.sample(colors, 2)
        return Scene(self.name, facts, {"kind": rng.choice(("sum", "difference")), "first": first, "second": second})

    def draw(self, scene: Scene, rng: random.Random) -> Image.Image:
        """Bars over light gridlines, one line per unit, every third one darker."""
        image = painting.background(rng)
        pen = ImageDraw.Draw(image)
        base = _BASE + rng.randint(-1, 1)
        for height in range(1, 10):
            grey = 172 if height % 3 == 0 else 214
            pen.line((2, base - height * _UNIT, painting.SIZE - 3, base - height * _UNIT), (grey, grey, grey))
        pitch = painting.SIZE // len(scene.facts)
        for index, fact in enumerate(scene.facts):
            color, height_text = fact.split()
            left = index * pitch + (pitch - _BAR) // 2 + rng.randint(-2, 2)
            box = (left, base - int(height_text) * _UNIT, left + _BAR - 1, base)
            pen.rectangle(box, painting.shaded(color, painting.shade(rng)), painting.outline(color))
        pen.line((2, base, painting.SIZE - 3, base), painting.INK, 2)
        return image

    def question(self, query: dict[str, Any]) -> str:
        """Sum of the red and blue bars? / Difference of the red and blue bars?"""
        return f"{query['kind'].capitalize()} of the {query['first']} and {query['second']} bars?"

    def needed(self, query: dict[str, Any], facts: Sequence[str]) -> list[str]:
        """The two bars that the question names."""
        return [fact for fact in facts if fact.split()[0] in (query["first"], query["second"])]

    def derive(self, query: dict[str, Any], facts: Sequence[str]) -> tuple[str, str]:
        """first + second, or the higher minus the lower one."""
        first, second = only_value(facts, query["first"]), only_value(facts, query["second"])
        text, result = addition((first, second)) if query["kind"] == "sum" else difference(first, second)
        return text, str(result)

    def parse_clause(self, clause: str) -> list[str] | None:
        """A bar: "red 4"."""
        return numbered_fact(clause, COLORS, 1, 9)

    def alternatives(self, fact: str) -> list[str]:
        """The same bar with another height."""
        return other_numbers(fact, 1, 9)
