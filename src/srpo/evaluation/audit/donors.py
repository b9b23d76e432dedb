"""Which other row lends a row its image or its perception."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from srpo.data import world
from srpo.data.schema import DataError
from srpo.evaluation.audit.answers import same_answer
from srpo.evaluation.audit.rows import Row

TRIES = 50  # candidates that are looked at in each circle of likeness


class Donors:
    """Finds, for a row, another row that is as like it as possible and has another answer.

    Candidates come from ever wider circles: the same question about another image; the same family or task; any row.
    All have as many images as the row. A donor's answer to the row's own question must differ from the right one, so
    that who reads the lent image or perception gives another answer: without this the swap would by chance leave some
    answers right. On the built-in world that answer is computed from the donor's facts; elsewhere the donor's own
    reference stands in for it. [choice]

    Args:
        rows: the rows of the evaluation without their images, whose number is in `n_images`.
        n_images: (rows,) how many images each has.
    """

    def __init__(self, rows: Sequence[Row], n_images: Sequence[int]) -> None:
        self.rows = rows
        self._circles: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
        self._keys = [_circle_keys(row, count) for row, count in zip(rows, n_images, strict=True)]
        for index, keys in enumerate(self._keys):
            for key in keys:
                self._circles[key].append(index)

    def find(self, index: int, rng: random.Random, usable: Callable[[int], bool] = lambda donor: True) -> int | None:
        """The index of a donor for row `index`, drawn by `rng`; None where no candidate fits.

        Args:
            index: of the row.
            rng: draws among equally like candidates.
            usable: a further condition on the donor, asked last.
        """
        for donor in self._candidates(index, rng):
            if answers_differ(self.rows[index], self.rows[donor]) and usable(donor):
                return donor
        return None

    def _candidates(self, index: int, rng: random.Random) -> Iterator[int]:
        seen = {index}
        for key in self._keys[index]:
            circle = self._circles[key]
            for donor in rng.sample(circle, min(len(circle), TRIES)):
                if donor not in seen:
                    seen.add(donor)
                    yield donor


def answers_differ(row: Row, donor: Row) -> bool:
    """Whether the donor's scene gives another answer to the question of `row`, as far as that is known."""
    answer = donor["answer"]
    if row.get("truth") and donor.get("truth") and row["family"] == donor["family"]:
        try:
            answer = world.recompute(row["truth"], world.read_truth(donor["truth"])["facts"]).answer
        except DataError:  # the donor lacks what the question is about, so that no answer is right
            return True
    return not same_answer(str(answer), str(row["answer"]), row)


def _circle_keys(row: Row, n_images: int) -> list[tuple[Any, ...]]:
    """The circles of a row, from the narrowest to the widest."""
    kind = row.get("family") or row.get("task") or ""
    return [(n_images, kind, row["question"]), (n_images, kind), (n_images,)]
