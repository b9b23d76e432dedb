"""One entry for all kinds of answers."""

from collections.abc import Sequence
from typing import Any

from srpo.grading import mathematics
from srpo.grading.choice import grade_choice
from srpo.grading.decision import Grade
from srpo.grading.text import canonical, clean, unbracketed

MAX_CHARACTERS = 4000
TASKS = ("math", "choice", "text")


def grade(
    reply_answer: str,
    reference: str,
    *,
    options: Sequence[Any] | None = None,
    task: str | None = None,
    timeout: float = 5.0,
) -> Grade:
    """Decide whether an answer is right.

    Args:
        reply_answer: content of the reply's answer block.
        reference: the right answer: a letter, the text of an option, a number, a formula, or words.
        options: texts of the options of a multiple-choice question, without their letters; other values are turned
            into text.
        task: "math" (numbers exactly, lists element by element, formulas by math-verify), "choice" (letters or texts
            of options), "text" (equal but for case, unicode form, white space, article, closing punctuation and
            markup), or None: "choice" where there are options, else "math" where the reference reads as mathematics,
            else "text".
        timeout: seconds that one comparison by math-verify may take; the answer is wrong when they pass.

    Raises:
        ValueError: for an unknown task, an empty reference, or a timeout that is not positive.
    """
    if task not in (None, *TASKS):
        raise ValueError(
            f"task {task!r} must be one of {', '.join(TASKS)}, or None; leave the column out to decide by row"
        )
    if not reference.strip():
        raise ValueError("an empty reference answers nothing; drop the row or fill in its answer")
    if not timeout > 0:
        raise ValueError(f"timeout {timeout} must be positive; give seconds, such as 5.0")
    if len(reply_answer) > max(MAX_CHARACTERS, 2 * len(reference)):
        return Grade(False, "length", f"an answer of {len(reply_answer)} characters is not read")
    reply, wanted = clean(reply_answer), clean(reference)
    if not reply:
        return Grade(False, "empty", "the answer is empty")
    texts = [clean(str(option)) for option in options or ()]
    task = task or _task_of(wanted, texts)
    if task == "choice":
        return grade_choice(reply, wanted, texts, timeout)
    if task == "math":
        return mathematics.compare(reply, wanted, timeout)
    same = canonical(reply) == canonical(wanted) or canonical(unbracketed(reply)) == canonical(unbracketed(wanted))
    return Grade(same, "text", "the same text" if same else f"{reply!r} is not {wanted!r}")


def _task_of(reference: str, options: list[str]) -> str:
    if options:
        return "choice"
    return "math" if mathematics.is_mathematical(reference) else "text"
