"""Family `chain`: a start value and a chain of tiles that add or subtract, in reading order."""

import random
from collections.abc import Sequence
from typing import Any

from PIL import Image

from srpo.data.world import painting
from srpo.data.world.scene import Family, Scene, numbered_fact, only_value, other_numbers, value

START = "white"
COLORS = ("red", "blue", "green")
MAX_RESULT = 15


class Chain(Family):
    """From white, add red, subtract blue?  ->  white 5 ; red 2 ; blue 1  ->  5 + 2 = 7 ; 7 - 1 = 6  ->  6"""

    name = "chain"

    def sample(self, rng: random.Random) -> Scene:
        """A white tile and 3 or 4 steps; every intermediate result lies in 0 to 15."""
        add, subtract = rng.sample(COLORS, 2)
        total = rng.randint(1, 6)
        facts = [f"{START} {total}"]
        for _ in range(rng.choice((3, 4))):
            steps = [(add, n) for n in range(1, 7) if total + n <= MAX_RESULT]
            steps += [(subtract, n) for n in range(1, 7) if total - n >= 0]
            color, number = rng.choice(steps)
            total += number if color == add else -number
            facts.append(f"{color} {number}")
        first = rng.randint(0, 9 - len(facts)) // 3 * 3
        return Scene(
            self.name, tuple(facts), {"add": add, "subtract": subtract}, tuple(range(first, first + len(facts)))
        )

    def draw(self, scene: Scene, rng: random.Random) -> Image.Image:
        """Tiles in reading order, the start tile white."""
        image = painting.background(rng)
        for cell, fact in zip(scene.layout, scene.facts, strict=True):
            color, pips = fact.split()
            shade = 0 if color == START else painting.shade(rng)
            painting.place(image, painting.tile(color, int(pips), shade), cell, rng)
        return image

    def question(self, query: dict[str, Any]) -> str:
        """From white, add red, subtract blue?"""
        return f"From {START}, add {query['add']}, subtract {query['subtract']}?"

    def needed(self, query: dict[str, Any], facts: Sequence[str]) -> list[str]:
        """The start tile and the tiles of both colours."""
        named = {START, query["add"], query["subtract"]}
        return [fact for fact in facts if fact.split()[0] in named]

    def derive(self, query: dict[str, Any], facts: Sequence[str]) -> tuple[str, str]:
        """One step for each tile after the start, in order."""
        total = only_value(facts, START)
        steps = []
        for fact in self.needed(query, facts):
            color = fact.split()[0]
            if color == START:
                continue
            sign, number = ("+", value(fact)) if color == query["add"] else ("-", value(fact))
            result = total + number if sign == "+" else total - number
            steps.append(f"{total} {sign} {number} = {result}")
            total = result
        return " ; ".join(steps) or f"{total} = {total}", str(total)

    def parse_clause(self, clause: str) -> list[str] | None:
        """A tile: "white 5" or "red 2"."""
        return numbered_fact(clause, (START, *COLORS), 1, 6)

    def alternatives(self, fact: str) -> list[str]:
        """The same tile with another number of pips."""
        return other_numbers(fact, 1, 6)
