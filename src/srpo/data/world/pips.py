"""Family `pips`: the sum of the pips on the tiles of one colour."""

import random
from collections.abc import Sequence
from typing import Any

from PIL import Image

from srpo.data.world import painting
from srpo.data.world.scene import Family, Scene, addition, numbered_fact, other_numbers, values_of

COLORS = ("red", "blue", "green")


class Pips(Family):
    """Sum of pips on the red tiles?  ->  red 4 ; blue 2 ; red 6  ->  4 + 6 = 10  ->  10"""

    name = "pips"

    def sample(self, rng: random.Random) -> Scene:
        """2 to 4 tiles, 1 to 3 of them of the marked colour (two or more in most scenes)."""
        target = rng.choice(COLORS)
        total = rng.choice((2, 3, 3, 4, 4))
        marked = min(total, rng.choice((1, 2, 2, 3)))
        others = [color for color in COLORS if color != target]
        colors = [target] * marked + [rng.choice(others) for _ in range(total - marked)]
        rng.shuffle(colors)
        facts = tuple(f"{color} {rng.randint(1, 6)}" for color in colors)
        return Scene(self.name, facts, {"color": target}, tuple(sorted(rng.sample(range(9), total))))

    def draw(self, scene: Scene, rng: random.Random) -> Image.Image:
        """Coloured tiles with pips on the 3 x 3 grid."""
        image = painting.background(rng)
        for cell, fact in zip(scene.layout, scene.facts, strict=True):
            color, pips = fact.split()
            painting.place(image, painting.tile(color, int(pips), painting.shade(rng)), cell, rng)
        return image

    def question(self, query: dict[str, Any]) -> str:
        """Sum of pips on the red tiles?"""
        return f"Sum of pips on the {query['color']} tiles?"

    def needed(self, query: dict[str, Any], facts: Sequence[str]) -> list[str]:
        """The tiles of the marked colour."""
        return [fact for fact in facts if fact.startswith(f"{query['color']} ")]

    def derive(self, query: dict[str, Any], facts: Sequence[str]) -> tuple[str, str]:
        """Add the marked tiles in reading order."""
        text, total = addition(values_of(facts, query["color"]))
        return text, str(total)

    def parse_clause(self, clause: str) -> list[str] | None:
        """A tile: "red 4"."""
        return numbered_fact(clause, COLORS, 1, 6)

    def alternatives(self, fact: str) -> list[str]:
        """The same tile with another number of pips."""
        return other_numbers(fact, 1, 6)
