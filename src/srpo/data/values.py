"""Cells of third-party data sets -> the values of the row schema. Pure functions."""

import ast
import json
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from srpo.grading.mathematics import is_mathematical
from srpo.grading.text import clean

_ANSWER_BLOCK = re.compile(r"\s*<answer>(.*)</answer>\s*", re.DOTALL)
_LABEL = re.compile(r"\(?([A-Z])[.):]\s*(?=\S)")


def to_text(cell: Any) -> str:
    """A cell as stripped text: 4.0 -> "4", True -> "True", None and NaN -> "", a list of one -> its element."""
    if isinstance(cell, (list, tuple)) and len(cell) == 1:
        return to_text(cell[0])
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def to_question(cell: Any) -> str:
    """The question: a text, or the text of the last user message of a conversation. ValueError for anything else."""
    if cell is None or isinstance(cell, (str, int, float)):
        return to_text(cell)
    if isinstance(cell, (list, tuple)) and all(isinstance(message, dict) for message in cell):
        contents = [message.get("content") for message in cell if message.get("role") == "user"]
        if contents and isinstance(contents[-1], str):
            return contents[-1].strip()
        if contents and isinstance(contents[-1], (list, tuple)):
            return "\n".join(part["text"] for part in contents[-1] if part.get("text")).strip()
    raise ValueError(f"the question is {_shorten(cell)}; it must be a text or a conversation with a user message")


def to_options(cell: Any) -> list[str]:
    """The choices as texts: from a list, a dict of labels, or the text of a list; [] for none. ValueError otherwise."""
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return []
    if isinstance(cell, str):
        return to_options(_literal(cell))
    if isinstance(cell, dict):
        return [to_text(option) for option in cell.values() if option is not None]
    if isinstance(cell, (list, tuple)):
        return _unlabelled([to_text(option) for option in cell])
    raise ValueError(f"the options are {_shorten(cell)}; they must be a list of choices")


def to_answer(cell: Any, options: Sequence[str]) -> str:
    """The reference answer as text.

    "<answer> 3 </answer>" gives "3"; a whole number that is no option's text but a valid position among the options
    gives that option's letter (0 -> "A"). ValueError for an empty answer or several of them.
    """
    if isinstance(cell, (list, tuple, dict)) and len(cell) != 1:
        raise ValueError(f"the answer is {_shorten(cell)}; it must be one value")
    text = to_text(cell)
    block = _ANSWER_BLOCK.fullmatch(text)
    text = block[1].strip() if block else text
    if not text:
        raise ValueError("the answer is empty; fill it in or remove the row")
    is_position = isinstance(cell, int) and not isinstance(cell, bool) and text not in options
    if is_position and 0 <= cell < len(options):
        return chr(ord("A") + cell)
    return text


def task_of(answer: str, options: Sequence[str]) -> str:
    """How an answer is compared: "choice" with options, "math" for a number, list or formula, else "text"."""
    if options:
        return "choice"
    return "math" if _reads_as_mathematics(answer) else "text"


@lru_cache(maxsize=65536)
def _reads_as_mathematics(answer: str) -> bool:
    return is_mathematical(clean(answer))


def _unlabelled(options: list[str]) -> list[str]:
    """The options without "A. ", "(B) " ... where all of them are labelled so in order."""
    labels = [_LABEL.match(option) for option in options]
    if all(label and label[1] == chr(ord("A") + i) for i, label in enumerate(labels)):
        return [option[label.end() :] for option, label in zip(options, labels, strict=True) if label]
    return options


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
        raise ValueError(f'the options are {_shorten(text)}; write them as a list such as ["4", "5"]')
    return value


def _shorten(cell: Any, limit: int = 60) -> str:
    text = repr(cell)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
