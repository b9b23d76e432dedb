"""Cells of third-party data sets -> the values of the row schema. Pure functions.

Those that read a cell raise RowProblem (a ValueError) for one that cannot be used.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from srpo.data.problems import RowProblem
from srpo.data.repair import repair
from srpo.grading.mathematics import is_mathematical
from srpo.grading.text import clean

_ANSWER_BLOCK = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_BOXED = re.compile(r"\$?\\boxed\s*\{(.*)\}\$?", re.DOTALL)
_WHOLE = re.compile(r"-?[0-9]{1,9}")
_POSITIONS = re.compile(r"\s*\[\s*[0-9]{1,9}(?:\s*,\s*[0-9]{1,9})*\s*\]\s*")
_CHOICES = (re.compile(r"(?:^|[\s(])A\s?[.．、:：)]"), re.compile(r"(?:^|[\s(])B\s?[.．、:：)]"))
_LETTERS_ONLY = re.compile(r"\(?[A-J]\)?\.?(?:\s*(?:,|and|;)?\s*\(?[A-J]\)?)*")


def is_blank(cell: Any) -> bool:
    """None, NaN, and text of nothing but white space."""
    return (
        cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip())
    )


def to_text(cell: Any) -> str:
    """A cell as stripped text: 4.0 -> "4", True -> "True", None and NaN -> "", a list of one -> its element."""
    if isinstance(cell, (list, tuple)) and len(cell) == 1:
        return to_text(cell[0])
    if is_blank(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).encode("utf-8", "ignore").decode().strip()  # a JSON file may hold half a surrogate pair


def to_repaired(cell: Any, *, formula: bool = False) -> str:
    """`to_text` of a cell whose LaTeX commands are repaired first: a lost backslash may look like white space."""
    if isinstance(cell, (list, tuple)) and len(cell) == 1:
        return to_repaired(cell[0], formula=formula)
    return to_text(repair(cell, formula=formula) if isinstance(cell, str) else cell)


def reference_text(cell: Any) -> str:
    r"""The text of an answer cell without its wrapping: "<answer> 3 </answer>" and "\boxed{3}" give "3"."""
    text = to_repaired(cell, formula=True)
    if blocks := _ANSWER_BLOCK.findall(text):
        text = blocks[-1].strip()
    return _unboxed(text).strip()


def whole_number(text: str) -> int | None:
    """The whole number that a text is, as far as it can be a position; None for another text."""
    return int(text) if _WHOLE.fullmatch(text) else None


def elements_of(cell: Any) -> list[Any]:
    """The answers in a cell: those of a list, of the text "[0, 2]", of {"answer": ...} and of a list of such."""
    if isinstance(cell, str) and _POSITIONS.fullmatch(cell):
        return [int(number) for number in re.findall("[0-9]+", cell)]
    if isinstance(cell, Mapping) and "answer" in cell:
        return elements_of(cell["answer"])
    if isinstance(cell, (list, tuple)) and len(cell) > 0:
        nested = [elements_of(inner) if isinstance(inner, Mapping) else [inner] for inner in cell]
        return [element for elements in nested for element in elements]
    return [cell]


def to_answers(cell: Any, settle: Callable[[str], str] | None = None) -> tuple[str, list[str]]:
    """(answer, alternatives). A list means all of its elements with options ("A, C"), else any of them.

    Args:
        cell: one value, a list, or {"answer": ...} once or in a list: such are alternatives always.
        settle: gives the letter of an answer, or the answer as it is; for rows with options.
    """
    listed = isinstance(cell, (list, tuple)) or (settle is not None and isinstance(cell, str))
    named = isinstance(cell, Mapping) or (listed and any(isinstance(element, Mapping) for element in cell))
    elements = elements_of(cell) if listed or named else [cell]
    answers = [to_answer(element, settle) for element in elements]
    if len(answers) > 1 and settle is not None and not named:
        return ", ".join(answers), []
    return answers[0], [answer for answer in dict.fromkeys(answers) if answer != answers[0]]


def to_answer(cell: Any, settle: Callable[[str], str] | None = None) -> str:
    """One reference answer as text, unwrapped as by `reference_text`; `settle` as in `to_answers`."""
    if isinstance(cell, (list, tuple, Mapping)) and (isinstance(cell, Mapping) or len(cell) != 1):
        raise RowProblem("answer_type", f"the answer is {shorten(cell)}", "it must be one value")
    text = reference_text(cell)
    if not text:
        raise RowProblem("answer_empty", "the answer is empty", "fill it in or remove the row")
    return text if settle is None else settle(text)


def task_of(answer: str, options: Sequence[str], question: str = "") -> str:
    """How an answer is compared: "choice" with options or for letters of choices that the question lists, "math" for a
    number, list or formula, else "text"."""
    if options or (_LETTERS_ONLY.fullmatch(answer) and all(choice.search(question) for choice in _CHOICES)):
        return "choice"
    return "math" if reads_as_mathematics(answer) else "text"


@lru_cache(maxsize=65536)
def reads_as_mathematics(answer: str) -> bool:
    """Whether an answer is a number, a list of numbers or a formula, and not words."""
    return is_mathematical(clean(answer))


def shorten(cell: Any, limit: int = 60) -> str:
    """The cell as Python writes it, cut to `limit` characters."""
    text = repr(cell)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _unboxed(text: str) -> str:
    r"""The content where all of a text is one \boxed{...}."""
    boxed = _BOXED.fullmatch(text)
    if boxed is None:
        return text
    depth = 0
    for char in boxed[1]:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth < 0:
            return text
    return boxed[1]
