"""Rows that say the same, or the opposite, of one another: within a split, and across training and evaluation."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from srpo.data.problems import BadRow

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class RowKey:
    """What two rows are compared by.

    Attributes:
        row: id.
        asked: hash of question and options, without regard to case and white space.
        images: digests of the images, in order.
        answer: reference answer.
        options: for comparing answers.
        task: for comparing answers.
    """

    row: str
    asked: bytes
    images: tuple[str, ...]
    answer: str
    options: tuple[str, ...] = ()
    task: str = ""

    @classmethod
    def of(
        cls, row: str, question: str, options: Sequence[str], images: Sequence[str], answer: str, task: str = ""
    ) -> "RowKey":
        """The key of a row, `images` being digests."""
        texts = [_SPACE.sub(" ", text).strip().casefold() for text in (question, *options)]
        asked = hashlib.blake2b(repr(texts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return cls(row, asked, tuple(images), answer, tuple(options), task)

    @property
    def content(self) -> tuple[bytes, tuple[str, ...]]:
        """Question, options and images."""
        return self.asked, self.images


def repeated_rows(keys: Iterable[RowKey], same_answer: Callable[[RowKey, RowKey], bool]) -> list[BadRow]:
    """Rows with the question, options and images of an earlier row: with its answer, or with another one."""
    first: dict[tuple[bytes, tuple[str, ...]], RowKey] = {}
    found = []
    for key in keys:
        earlier = first.setdefault(key.content, key)
        if earlier is key:
            continue
        what = "has the question and images of row" if key.images else "has the question of row"
        if same_answer(earlier, key):
            reason = f"{what} {earlier.row}, and its answer"
            found.append(BadRow(key.row, "row_repeated", reason, "remove one unless it shall count twice"))
        else:
            reason = f"{what} {earlier.row}, but answer {key.answer!r} and not {earlier.answer!r}"
            found.append(BadRow(key.row, "row_contradicts", reason, "correct the wrong one or remove both"))
    return found


def rows_in_evaluation(train: Iterable[RowKey], evaluation: Iterable[RowKey]) -> list[BadRow]:
    """Training rows that the evaluation rows hold as well, and those that share but an image with one."""
    contents: dict[tuple[bytes, tuple[str, ...]], str] = {}
    images: dict[str, str] = {}
    for key in evaluation:
        contents.setdefault(key.content, key.row)
        for image in key.images:
            images.setdefault(image, key.row)
    found = []
    for key in train:
        shared = next((images[image] for image in key.images if image in images), None)
        if key.content in contents:
            reason = f"has the question and images of evaluation row {contents[key.content]}"
            found.append(BadRow(key.row, "row_in_eval", reason, "remove it from one of the splits"))
        elif shared is not None:
            reason = f"has an image of evaluation row {shared}, with another question"
            found.append(BadRow(key.row, "image_in_eval", reason, "split by image if that matters"))
    return found
