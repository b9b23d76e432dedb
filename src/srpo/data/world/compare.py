"""Family `compare`: the difference between the pip sums of two rows of tiles."""

import random
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from srpo.data.world import painting
from srpo.data.world.scene import Family, Scene, addition, difference, other_numbers, values_of

ROWS = ("top", "bottom")
_COLORS = ("red", "blue", "green")


class Compare(Family):
    """Difference of the row sums?  ->  top 3 2 ; bottom 6 1  ->  3 + 2 = 5 ; 6 + 1 = 7 ; 7 - 5 = 2  ->  2"""

    name = "compare"

    def sample(self, rng: random.Random) -> Scene:
        """1 to 3 tiles in each row, most often 2; the colours say nothing."""
        facts: list[str] = []
        cells: list[int] = []
        for row, offset in zip(ROWS, (0, 6), strict=True):
            size = rng.choice((1, 2, 2, 3))
            facts += [f"{row} {rng.randint(1, 6)}" for _ in range(size)]
            cells += [offset + column for column in sorted(rng.sample(range(3), size))]
        return Scene(self.name, tuple(facts), {}, tuple(cells))

    def draw(self, scene: Scene, rng: random.Random) -> Image.Image:
        """A row of tiles at the top, one at the bottom, a line between them."""
        image = painting.background(rng)
        y = painting.SIZE // 2 + rng.randint(-2, 2)
        ImageDraw.Draw(image).line((4, y, painting.SIZE - 5, y), (150, 154, 162), 2)
        for cell, fact in zip(scene.layout, scene.facts, strict=True):
            sprite = painting.tile(rng.choice(_COLORS), int(fact.split()[1]), painting.shade(rng))
            painting.place(image, sprite, cell, rng)
        return image

    def question(self, query: dict[str, Any]) -> str:
        """Difference of the row sums?"""
        return "Difference of the row sums?"

    def needed(self, query: dict[str, Any], facts: Sequence[str]) -> list[str]:
        """Every tile."""
        return list(facts)

    def derive(self, query: dict[str, Any], facts: Sequence[str]) -> tuple[str, str]:
        """Both sums, then the larger minus the smaller."""
        (top_text, top), (bottom_text, bottom) = (addition(values_of(facts, row)) for row in ROWS)
        text, result = difference(top, bottom)
        return f"{top_text} ; {bottom_text} ; {text}", str(result)

    def write_facts(self, facts: Sequence[str]) -> str:
        """The rows: "top 3 2 ; bottom 6 1"."""
        rows = ((row, values_of(facts, row)) for row in ROWS)
        return " ; ".join(f"{row} {' '.join(map(str, numbers))}" for row, numbers in rows if numbers)

    def parse_clause(self, clause: str) -> list[str] | None:
        """A row: "top 3 2" states "top 3" and "top 2"."""
        row, *numbers = clause.split(" ")
        if row not in ROWS or not numbers or any(number not in set("123456") for number in numbers):
            return None
        return [f"{row} {number}" for number in numbers]

    def alternatives(self, fact: str) -> list[str]:
        """The same tile with another number of pips."""
        return other_numbers(fact, 1, 6)
