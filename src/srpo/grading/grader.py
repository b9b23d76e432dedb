"""One entry for all kinds of answers."""

from collections.abc import Sequence
from typing import Any

from srpo.grading import mathematics, statement
from srpo.grading.box import grade_box, read_box
from srpo.grading.choice import grade_choice, named_sets, only_option
from srpo.grading.client import Budget
from srpo.grading.decision import Grade
from srpo.grading.interval import parse_interval
from srpo.grading.latex import braces_balance
from srpo.grading.task import Task, Tolerance, parse_task
from srpo.grading.text import clean, same_text

MAX_CHARACTERS = 4000


def grade(
    reply_answer: str,
    reference: str,
    *,
    options: Sequence[Any] | None = None,
    task: str | None = None,
    alternatives: Sequence[Any] | None = None,
    timeout: float = 5.0,
) -> Grade:
    """Decide whether an answer is right.

    Args:
        reply_answer: content of the reply's answer block.
        reference: the right answer: a letter, the text of an option, a number, a formula, or words; "A, C" where all
            of several options must be named.
        options: texts of the options of a multiple-choice question, without their letters; other values are turned
            into text.
        task: how to compare, as docs/rewards.md lists it: "math" (numbers exactly, "math:0.01" and "math:5%" with a
            tolerance; lists element by element; formulas by math-verify; words as text), "choice" (letters or texts of
            options), "text" (equal but for case, unicode form, white space, article, closing punctuation and markup),
            "range", "box", "box:0.7", "box:iou"; or None: "choice" where there are options, else "math" where the
            reference reads as mathematics, else "text".
        alternatives: further right answers; the best match counts.
        timeout: seconds of math-verify for the whole call; the answer is wrong when they pass.

    Raises:
        ValueError: for an unknown task, an empty reference, one that is no range or box where the task demands it, or
            a timeout that is not positive.
    """
    if not timeout > 0:
        raise ValueError(f"timeout {timeout} must be positive; give seconds, such as 5.0")
    parsed = parse_task(task) if task is not None else None
    references = [reference, *(str(other) for other in alternatives or () if str(other).strip())]
    texts = [clean(str(option)) for option in options or ()]
    budget = Budget(timeout)
    grades = []
    for wanted in references:
        grades.append(_grade(reply_answer, wanted, texts, parsed, budget))
        if grades[-1].score == 1.0:
            break
    return max(grades, key=lambda grade: grade.score)


def check_reference(answer: str, task: str | None = None, options: Sequence[Any] | None = None) -> None:
    """Check that a reference can be read as its task demands.

    Raises:
        ValueError: for an empty reference, an unknown task, a range or a box that is none, LaTeX whose braces do not
            close, and with options for a reference that names none of them.
    """
    parsed = parse_task(task) if task else None
    wanted = _wanted(answer)
    texts = [clean(str(option)) for option in options or ()]
    kind = parsed.kind if parsed else _task_of(wanted, texts).kind
    if kind == "box" and read_box(answer) is None:
        raise ValueError(f"reference {answer!r} must be a box with x1 < x2 and y1 < y2; write '[10, 20, 30, 40]'")
    if kind == "range":
        parse_interval(wanted)
    if kind == "math" and not braces_balance(wanted):
        raise ValueError(f"reference {answer!r} has braces that do not close; complete it")
    if kind == "choice" and texts and not named_sets(wanted, texts):
        raise ValueError(
            f"reference {answer!r} names none of the {len(texts)} options; give a letter or an option's text"
        )


def _grade(reply_answer: str, reference: str, options: list[str], task: Task | None, budget: Budget) -> Grade:
    wanted = _wanted(reference)
    if len(reply_answer) > max(MAX_CHARACTERS, 2 * len(reference)):
        return Grade(False, "length", f"an answer of {len(reply_answer)} characters is not read")
    task = task or _task_of(wanted, options)
    if task.kind == "box":
        return grade_box(reply_answer, reference, task)
    reply = clean(reply_answer)
    if not reply:
        return Grade(False, "empty", "the answer is empty")
    found = _compare(reply, wanted, options, task, budget)
    for reading in _readings(reply, options, task):
        if found.correct or found.rule in ("timeout", "length"):
            break
        found = _compare(reading, wanted, options, task, budget)
    return found


def _compare(reply: str, wanted: str, options: list[str], task: Task, budget: Budget) -> Grade:
    if task.kind == "choice":
        return grade_choice(reply, wanted, options, budget)
    if task.kind == "math":
        return mathematics.compare(reply, wanted, budget, task.tolerance)
    if task.kind == "range":
        return _grade_range(reply, wanted, budget)
    same = same_text(reply, wanted)
    return Grade(same, "text", "the same text" if same else f"{reply!r} is not {wanted!r}")


def _readings(reply: str, options: list[str], task: Task) -> list[str]:
    """What a reply that is a sentence states, read ever more loosely; each is one answer, never a choice of two."""
    estimates = task.kind == "range" or bool(task.tolerance)
    clause = clean(statement.without_rounding(statement.main_clause(reply), estimates=estimates))
    readings = [clause, clean(statement.complement(clause)), clean(statement.polar_answer(clause))]
    if not options:
        readings.append(statement.without_label(clause))
    if task.kind == "choice":
        readings.append(only_option(clause, options))
    if task.kind in ("math", "range") or (task.kind == "choice" and not options):
        readings.append(mathematics.only_quantity(clause))
    return [reading for reading in dict.fromkeys(readings) if reading and reading != reply]


def _grade_range(reply: str, reference: str, budget: Budget) -> Grade:
    middle, half, unit = parse_interval(reference)
    number = f"{middle.numerator}/{middle.denominator} {unit}".strip()
    found = mathematics.compare(reply, number, budget, Tolerance(absolute=half))
    if found.rule in ("timeout", "length"):
        return found
    where = "lies in" if found.correct else "is no number in"
    return Grade(found.correct, "range", f"{reply!r} {where} {reference}")


def _wanted(reference: str) -> str:
    wanted = clean(reference)
    if not wanted:
        raise ValueError("an empty reference answers nothing; drop the row or fill in its answer")
    return wanted


def _task_of(reference: str, options: list[str]) -> Task:
    if options:
        return Task("choice")
    return Task("math" if mathematics.is_mathematical(reference) else "text")
