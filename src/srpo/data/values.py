"""Cells of third-party data sets -> the values of the row schema. Pure functions.

Those that read a cell raise RowProblem (a ValueError) for one that cannot be used.
"""

import ast
import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from string import ascii_uppercase
from typing import Any

from srpo.data.problems import RowProblem
from srpo.data.repair import repair
from srpo.grading.mathematics import is_mathematical
from srpo.grading.text import clean

_ANSWER_BLOCK = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_BOXED = re.compile(r"\$?\\boxed\s*\{(.*)\}\$?", re.DOTALL)
_LABEL = re.compile(r"\(?([A-Z])[.):]\s*(?=\S)")
_LABELS_IN_TEXT = re.compile(r"(?:^|[;；\n])\s*\(?([A-Z])\s?[.．、:：)]\s*")
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


def to_options(cell: Any) -> list[str]:
    """The choices as texts; [] for none.

    From a list, a dict of labels, {"text": [...], "label": [...]}, the text of a list, or "A. 2; B. 3".
    """
    if is_blank(cell):
        return []
    if isinstance(cell, str):
        labelled = _labelled_text(cell)
        return labelled if labelled else to_options(_literal(cell))
    if isinstance(cell, dict):
        inner = cell.get("text")
        return to_options(inner if isinstance(inner, (list, tuple)) else [o for o in cell.values() if o is not None])
    if isinstance(cell, (list, tuple)):
        return _unlabelled([to_repaired(option, formula=True) for option in cell])
    raise RowProblem("options_type", f"the options are {shorten(cell)}", "they must be a list of choices")


def to_lettered_options(cells: Sequence[Any]) -> list[str]:
    """The choices from columns A, B, C ...: those before the first empty one, which only empty ones may follow."""
    texts = [to_repaired(cell, formula=True) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return texts


def check_options(options: Sequence[str]) -> None:
    """Raise RowProblem for one option, more than there are letters, and one without text."""
    if len(options) > len(ascii_uppercase):
        raise RowProblem(
            "options_many", f"{len(options)} options, and at most {len(ascii_uppercase)} have letters", "drop some"
        )
    if len(options) == 1:
        raise RowProblem("options_one", f"one option only ({shorten(options[0])})", "add the others or drop it")
    if not all(options):
        letter = ascii_uppercase[options.index("")]
        raise RowProblem("options_empty", f"option {letter} has no text", "fill it in or remove the row")


def position_base(answers: Iterable[Any], options: Iterable[Sequence[str]]) -> int | None:
    """0 or 1 where the answers of a data set are positions among the options, counted from there; None else.

    Whole numbers are positions where at least one of them is no option's text and all of them fit: from 0, unless
    one only fits counted from 1. Numbers in a table's text count too.
    """
    numbered = [
        (int(answer), choices, to_text(answer) in choices)
        for answer, choices in zip(answers, options, strict=True)
        if choices and _is_whole(answer)
    ]
    if not numbered or all(is_text for _, _, is_text in numbered):
        return None
    return next((b for b in (0, 1) if all(b <= n < len(c) + b for n, c, _ in numbered)), None)


def to_answers(cell: Any, options: Sequence[str], base: int | None = None) -> tuple[str, list[str]]:
    """(answer, alternatives). A list means all of its elements with options ("A, C"), else any of them."""
    if isinstance(cell, (list, tuple)) and len(cell) > 1:
        elements = [to_answer(element, options, base) for element in cell]
        if options:
            return ", ".join(_letter(element, options) for element in elements), []
        return elements[0], [e for e in dict.fromkeys(elements) if e != elements[0]]
    return to_answer(cell, options, base), []


def to_answer(cell: Any, options: Sequence[str], base: int | None = None) -> str:
    r"""One reference answer as text.

    "<answer> 3 </answer>" and "\boxed{3}" give "3". A whole number is a position among the options where `base` says
    so, or where it is no option's text; it gives that option's letter (0 -> "A").
    """
    if isinstance(cell, (list, tuple, dict)) and len(cell) != 1:
        raise RowProblem("answer_type", f"the answer is {shorten(cell)}", "it must be one value")
    text = to_repaired(cell, formula=True)
    if blocks := _ANSWER_BLOCK.findall(text):
        text = blocks[-1].strip()
    text = _unboxed(text).strip()
    if not text:
        raise RowProblem("answer_empty", "the answer is empty", "fill it in or remove the row")
    is_position = base is not None or (not isinstance(cell, str) and text not in options)
    if options and is_position and _is_whole(cell) and 0 <= int(cell) - (base or 0) < len(options):
        return ascii_uppercase[int(cell) - (base or 0)]
    return text


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


def _is_whole(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().isdecimal() and len(cell) < 4
    return isinstance(cell, (int, float)) and not isinstance(cell, bool) and float(cell).is_integer()


def _letter(answer: str, options: Sequence[str]) -> str:
    """The letter of the option that an answer spells out; the answer itself where it is none's text."""
    return ascii_uppercase[options.index(answer)] if answer in options[: len(ascii_uppercase)] else answer


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


def _unlabelled(options: list[str]) -> list[str]:
    """The options without "A. ", "(B) " ... where all of them are labelled so in order."""
    labels = [_LABEL.match(option) for option in options]
    if all(label and label[1] == ascii_uppercase[i % 26] for i, label in enumerate(labels)):
        return [option[label.end() :] for option, label in zip(options, labels, strict=True) if label]
    return options


def _labelled_text(text: str) -> list[str]:
    """The choices that "A. 2; B. 3" lists, [] where the text does not list labels in order."""
    text = repair(text, formula=True).strip()
    marks = list(_LABELS_IN_TEXT.finditer(text))
    if len(marks) < 2 or marks[0].start() != 0 or [m[1] for m in marks] != list(ascii_uppercase[: len(marks)]):
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [text[m.end() : end].strip().rstrip(";；").strip() for m, end in zip(marks, ends, strict=True)]


def _literal(text: str) -> Any:
    """The list that a text spells, in JSON or Python notation."""
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
    if not isinstance(value, (list, tuple, dict)):
        raise RowProblem("options_type", f"the options are {shorten(text)}", 'write them as a list such as ["4", "5"]')
    return value
