"""Family `count`: how many objects of one colour and shape are on the grid.

This is deliberately the failure family: the answer can be read straight off the image, so a policy can keep its
accuracy while its perception text becomes wrong. It is the one to watch when credit ignores the role of a token.
"""

import random
from collections.abc import Sequence
from typing import Any

from PIL import Image

from srpo.data.world import painting
from srpo.data.world.scene import Family, Scene, addition

COLORS = ("red", "blue", "green")
SHAPES = ("circle", "square", "triangle")
OBJECTS = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)


class Count(Family):
    """How many red circles?  ->  red circle ; blue square ; red circle  ->  1 + 1 = 2  ->  2"""

    name = "count"

    def sample(self, rng: random.Random) -> Scene:
        """4 to 6 objects on 9 cells, 1 to 4 of them the target (each count equally likely), at least one not."""
        target = rng.choice(OBJECTS)
        hits = rng.randint(1, 4)
        total = rng.randint(max(4, hits + 1), 6)
        others = [other for other in OBJECTS if other != target]
        facts = [target] * hits + [rng.choice(others) for _ in range(total - hits)]
        rng.shuffle(facts)
        color, shape = target.split()
        cells = sorted(rng.sample(range(9), total))
        return Scene(self.name, tuple(facts), {"color": color, "shape": shape}, tuple(cells))

    def draw(self, scene: Scene, rng: random.Random) -> Image.Image:
        """Coloured shapes on the 3 x 3 grid."""
        image = painting.background(rng)
        for cell, fact in zip(scene.layout, scene.facts, strict=True):
            color, kind = fact.split()
            painting.place(image, painting.shape(color, kind, painting.shade(rng)), cell, rng)
        return image

    def question(self, query: dict[str, Any]) -> str:
        """How many red circles?"""
        return f"How many {query['color']} {query['shape']}s?"

    def needed(self, query: dict[str, Any], facts: Sequence[str]) -> list[str]:
        """The target objects."""
        return [fact for fact in facts if fact == f"{query['color']} {query['shape']}"]

    def derive(self, query: dict[str, Any], facts: Sequence[str]) -> tuple[str, str]:
        """One summand for each target object."""
        text, total = addition([1] * len(self.needed(query, facts)))
        return text, str(total)

    def parse_clause(self, clause: str) -> list[str] | None:
        """An object: "red circle"."""
        return [clause] if clause in OBJECTS else None

    def alternatives(self, fact: str) -> list[str]:
        """Every other object."""
        return [other for other in OBJECTS if other != fact]
