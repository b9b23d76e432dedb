"""What every family of the visual world shares: the scene, its truth, and the interface of a family.

A fact is one short string such as "red 4" or "blue square"; the perception text is the facts of a scene in reading
order, separated by " ; ". Everything that follows from the facts (derivation, answer, needed facts) is computed by the
family from (query, facts), so that it can be computed again from a perception that was edited or written by a model.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from srpo.data.schema import DataError

SEPARATOR = " ; "


@dataclass(frozen=True)
class Scene:
    """One scene: facts in reading order, the query of its question, and the cells things are drawn in."""

    family: str
    facts: tuple[str, ...]
    query: dict[str, Any]
    layout: tuple[int, ...] = field(default=())


@dataclass(frozen=True)
class Solution:
    """Perception text, derivation text and answer that follow from a list of facts."""

    perception: str
    derivation: str
    answer: str


class Family(ABC):
    """A task family: pure functions from a seeded generator to scenes, and from facts to texts.

    `rng` is always a `random.Random` that the caller seeded; `query` is a JSON-serialisable dict.
    """

    name: str

    @abstractmethod
    def sample(self, rng: random.Random) -> Scene:
        """Draw a scene: facts, query and layout."""

    @abstractmethod
    def draw(self, scene: Scene, rng: random.Random) -> Image.Image:
        """Paint the scene (96 x 96, RGB); `rng` decides only the nuisance (jitter, shades)."""

    @abstractmethod
    def question(self, query: dict[str, Any]) -> str:
        """The question that is asked about the image."""

    @abstractmethod
    def needed(self, query: dict[str, Any], facts: Sequence[str]) -> list[str]:
        """The facts that the answer rests on, in their order."""

    @abstractmethod
    def derive(self, query: dict[str, Any], facts: Sequence[str]) -> tuple[str, str]:
        """(derivation text, answer) that follow from the facts; DataError where they do not suffice."""

    @abstractmethod
    def parse_clause(self, clause: str) -> list[str] | None:
        """The facts that one clause of a perception text states, None for anything the family does not write."""

    @abstractmethod
    def alternatives(self, fact: str) -> list[str]:
        """The other values that this fact could have had."""

    def write_facts(self, facts: Sequence[str]) -> str:
        """The perception text of the facts."""
        return SEPARATOR.join(facts)

    def parse_facts(self, text: str) -> list[str] | None:
        """The facts of a perception text; None where any clause of it cannot be read."""
        facts: list[str] = []
        for clause in split_clauses(text):
            stated = self.parse_clause(clause)
            if stated is None:
                return None
            facts.extend(stated)
        return facts or None

    def solve(self, query: dict[str, Any], facts: Sequence[str]) -> Solution:
        """Perception, derivation and answer that follow from the facts."""
        derivation, answer = self.derive(query, facts)
        return Solution(self.write_facts(facts), derivation, answer)


def split_clauses(text: str) -> list[str]:
    """The clauses of a perception text, with white space normalised and empty ones left out."""
    clauses = (" ".join(clause.split()) for clause in text.split(";"))
    return [clause for clause in clauses if clause]


def value(fact: str) -> int:
    """The number at the end of a fact: 4 for "red 4"."""
    return int(fact.rsplit(" ", 1)[1])


def values_of(facts: Sequence[str], subject: str) -> list[int]:
    """The numbers of all facts about one subject, in order: [4, 6] for "red" in "red 4", "blue 2", "red 6"."""
    return [value(fact) for fact in facts if fact.rsplit(" ", 1)[0] == subject]


def only_value(facts: Sequence[str], subject: str) -> int:
    """The number of the one fact about a subject; DataError where there is none or more than one."""
    numbers = values_of(facts, subject)
    if len(numbers) != 1:
        raise DataError(f"the facts name {subject} {len(numbers)} times; this question needs it exactly once")
    return numbers[0]


def numbered_fact(clause: str, subjects: Sequence[str], low: int, high: int) -> list[str] | None:
    """The fact in a clause "subject number" when the subject is known and low <= number <= high, else None."""
    words = clause.split(" ")
    if len(words) != 2 or words[0] not in subjects:
        return None
    return [clause] if words[1] in {str(number) for number in range(low, high + 1)} else None


def other_numbers(fact: str, low: int, high: int) -> list[str]:
    """The same fact with every other number from low to high."""
    subject, number = fact.rsplit(" ", 1)
    return [f"{subject} {other}" for other in range(low, high + 1) if str(other) != number]


def addition(numbers: Sequence[int]) -> tuple[str, int]:
    """("4 + 6 = 10", 10) for [4, 6]; ("4 = 4", 4) for [4]; ("0 = 0", 0) for []."""
    total = sum(numbers)
    return f"{' + '.join(map(str, numbers)) or '0'} = {total}", total


def difference(a: int, b: int) -> tuple[str, int]:
    """("7 - 5 = 2", 2): the larger number minus the smaller one."""
    large, small = max(a, b), min(a, b)
    return f"{large} - {small} = {large - small}", large - small
