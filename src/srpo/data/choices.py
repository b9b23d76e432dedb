"""Option cells of third-party data sets -> choices with the labels that answers call them by. Pure functions.

Those that read a cell raise RowProblem (a ValueError) for one that cannot be used.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from string import ascii_uppercase
from typing import Any

from srpo.data.problems import RowProblem
from srpo.data.repair import repair
from srpo.data.values import elements_of, is_blank, reference_text, shorten, to_repaired, to_text, whole_number

AMBIGUOUS = -1  # a base: answers are positions, and nothing shows where they are counted from
_LABEL = re.compile(r"\(?([A-Z])[.):]\s*(?=\S)")
_LABELS_IN_TEXT = re.compile(r"(?:^|[;；\n])\s*\(?([A-Z])\s?[.．、:：)]\s*")
_LISTED = re.compile(r"\n[ \t]*\(?([A-Z])[.):][ \t]*(\S.*)")


@dataclass(frozen=True)
class Choices:
    """The options of a row as texts, and their labels in the source: label -> our letter, {} for none."""

    texts: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


def to_choices(cell: Any) -> Choices:
    """The choices in the order of their labels; none from an empty cell.

    From a list, a dict of labels, {"text": [...], "label": [...]}, the text of either, or "A. 2; B. 3". Letters and
    numbers as labels are sorted, others keep their order. Empty ones at the end are dropped.
    """
    if is_blank(cell):
        return Choices()
    if isinstance(cell, str):
        labelled = _labelled_text(cell)
        return Choices(labelled) if labelled else to_choices(_literal(cell))
    if isinstance(cell, Mapping):
        texts, labels = cell.get("text"), cell.get("label")
        if not isinstance(texts, (list, tuple)):
            return _labelled([(to_text(label), text) for label, text in cell.items()])
        if not isinstance(labels, (list, tuple)) or all(map(is_blank, labels)):
            return to_choices(texts)
        if len(labels) < len(texts):
            reason = f"{len(texts)} options have {len(labels)} labels"
            raise RowProblem("options_type", reason, "give one label for each or none")
        return _labelled([(to_text(label), text) for label, text in zip(labels, texts, strict=False)])
    if isinstance(cell, (list, tuple)):
        return _listed(cell)
    raise RowProblem("options_type", f"the options are {shorten(cell)}", "they must be a list of choices")


def to_options(cell: Any) -> list[str]:
    """The texts of `to_choices`."""
    return to_choices(cell).texts


def to_lettered_choices(cells: Sequence[Any]) -> Choices:
    """The choices from columns A, B, C ...: those before the first empty one, which only empty ones may follow."""
    return _labelled(list(zip(ascii_uppercase, cells, strict=False)))


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


def listed_choices(question: str, answer: str) -> tuple[str, list[str]]:
    """(question without them, choices) where lines "A. red", "B. blue" end a question and one of them is the answer's
    text; (question, []) else."""
    marks = list(_LISTED.finditer(question))
    texts = [mark[2].strip() for mark in marks]
    adjoin = all(a.end() == b.start() for a, b in pairwise(marks))
    if len(marks) < 2 or not adjoin or question[marks[-1].end() :].strip() or texts.count(answer) != 1:
        return question, []
    if [mark[1] for mark in marks] != list(ascii_uppercase[: len(marks)]):
        return question, []
    return question[: marks[0].start()].rstrip(), texts


def position_base(answers: Iterable[Any], options: Iterable[Choices | Sequence[str]]) -> int | None:
    """How the whole numbers among a set's answers are read: None as texts of options, 0 or 1 as positions that are
    counted from there, AMBIGUOUS as positions that both fit equally.

    All rows are read in one way, the one that most of them fit. They are texts where each is the text of an option,
    or where more of them are than fit as positions. Answers that are labels of their options do not count.
    """
    total = texts = from_0 = from_1 = 0
    for cell, choices in zip(answers, options, strict=True):
        known = choices if isinstance(choices, Choices) else Choices(list(choices))
        n = len(known.texts)
        for element in elements_of(cell) if n else []:
            text = reference_text(element)
            number = whole_number(text)
            if number is None or text in known.labels:
                continue
            total += 1
            texts += text in known.texts
            from_0 += 0 <= number < n
            from_1 += 1 <= number <= n
    if texts == total or texts > max(from_0, from_1) or not (from_0 or from_1):
        return None
    return AMBIGUOUS if from_0 == from_1 else int(from_1 > from_0)


def to_letter(text: str, choices: Choices, base: int | None) -> str:
    """The letter of an answer that is a label of the source or a position; other answers stay as they are.

    Raises:
        RowProblem: for a letter that is no label, and for a number that is no position.
    """
    if letter := _of_labels(text, choices):
        return letter
    number = whole_number(text)
    if number is None or base is None:
        return text
    if base == AMBIGUOUS:
        reason = f"the answer {number} is a position, and no row shows whether they are counted from 0 or from 1"
        raise RowProblem("answer_option", reason, "say --answer_base 0 or 1")
    if not 0 <= number - base < len(choices.texts):
        reason = f"the answer {number} is no position among {len(choices.texts)} options counted from {base}"
        raise RowProblem("answer_option", reason, "correct it, or say --answer_base where the count is another")
    return ascii_uppercase[number - base]


def _of_labels(text: str, choices: Choices) -> str:
    """The letters of an answer that names labels, "" for another; RowProblem for a letter that is no label."""
    labels = choices.labels
    if text in labels or not labels or text in choices.texts:
        return labels.get(text, "")
    folded = {label.upper(): letter for label, letter in labels.items()}
    named = [part.strip(" ().:").upper() for part in re.split("[,;]", text)]
    if all(part in folded for part in named):
        return ", ".join(folded[part] for part in named)
    moved = any(label != letter for label, letter in folded.items()) and all(map(str.isalpha, folded))
    if moved and re.fullmatch("[A-Z]", named[0]):
        reason = f"the answer {text} is no label of the options {', '.join(labels)}"
        raise RowProblem("answer_option", reason, "give a label or an option's text")
    return ""


def _labelled(pairs: Sequence[tuple[str, Any]]) -> Choices:
    """Choices from (label, text) pairs, sorted where the labels are single letters or numbers."""
    if len({label.isdecimal() for label, text in pairs}) > 1:  # a table of rows with letters and of rows with numbers
        pairs = [(label, text) for label, text in pairs if text is not None]
    labels = [label.upper() for label, _ in pairs]
    if len(set(labels)) < len(labels):
        raise RowProblem("options_type", f"two options have the label {_twice(labels)}", "give each its own label")
    if all(re.fullmatch("[A-Z]", label) for label in labels):
        pairs = sorted(pairs, key=lambda pair: pair[0].upper())
    elif all(label.isdecimal() for label in labels):
        pairs = sorted(pairs, key=lambda pair: int(pair[0]))
    texts = [to_repaired(text, formula=True) for _, text in pairs]
    while texts and not texts[-1]:
        texts.pop()
    return Choices(texts, dict(zip((label for label, _ in pairs), ascii_uppercase[: len(texts)], strict=False)))


def _twice(labels: Sequence[str]) -> str:
    return next(label for label in labels if labels.count(label) > 1)


def _listed(cells: Sequence[Any]) -> Choices:
    """Choices from a list; "A. ", "(B) " ... are cut off where they label all options, in whatever order."""
    texts = [to_repaired(cell, formula=True) for cell in cells]
    while texts and not texts[-1] and not isinstance(cells[len(texts) - 1], str):
        texts.pop()
    marks = [mark for text in texts if (mark := _LABEL.match(text))]
    labels = [mark[1] for mark in marks]
    if not labels or len(marks) < len(texts) or sorted(labels) != list(ascii_uppercase[: len(labels)]):
        return Choices(texts)
    return _labelled([(mark[1], text[mark.end() :]) for mark, text in zip(marks, texts, strict=True)])


def _labelled_text(text: str) -> list[str]:
    """The choices that "A. 2; B. 3" lists, [] where the text does not list labels in order."""
    text = repair(text, formula=True).strip()
    marks = list(_LABELS_IN_TEXT.finditer(text))
    if len(marks) < 2 or marks[0].start() != 0 or [m[1] for m in marks] != list(ascii_uppercase[: len(marks)]):
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [text[m.end() : end].strip().rstrip(";；").strip() for m, end in zip(marks, ends, strict=True)]


def _literal(text: str) -> Any:
    """The list or dict that a text spells, in JSON or Python notation."""
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
