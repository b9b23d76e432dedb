"""Reference answers seen as a set: what they are, and whether they are right when graded against themselves."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from srpo.data.duplicates import RowKey
from srpo.data.problems import RowProblem
from srpo.grading import check_reference, grade, parse_task
from srpo.grading.choice import named_sets
from srpo.grading.text import clean

MANY = 8  # rows from which one answer for all of them is worth a remark


@dataclass(frozen=True)
class Answered:
    """What is counted of one row's answer; `letters` are the options that it names, "" for none."""

    task: str
    answer: str
    letters: str
    has_alternatives: bool
    has_perception: bool
    has_reasoning: bool

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Answered":
        """The counts of a row of the schema."""
        options = [clean(option) for option in row["options"]]
        sets = named_sets(clean(row["answer"]), options) if options else []
        letters = ", ".join(ascii_uppercase[min(named)] for named in sets)
        extras = (bool(row[name]) for name in ("alternatives", "perception", "reasoning"))
        return cls(row["task"], row["answer"], letters, *extras)


def answer_problems(row: Mapping[str, Any]) -> list[RowProblem]:
    """The reference graded against itself must be right; a range, which is no reply, must be readable."""
    try:
        if parse_task(row["task"]).kind == "range":
            check_reference(row["answer"], row["task"])
            return []
        verdict = grade(row["answer"], row["answer"], options=row["options"] or None, task=row["task"])
    except ValueError as error:
        reason, _, remedy = str(error).partition("; ")
        return [RowProblem("answer_unparsable", reason, remedy or "correct it or remove the row")]
    if verdict.correct:
        return []
    reason = f"the answer {row['answer']!r} is wrong when graded against itself ({verdict.reason})"
    return [RowProblem("answer_unparsable", reason, "write it as the task demands, or name another task")]


def same_answer(first: RowKey, second: RowKey) -> bool:
    """Whether two rows of one question have the same answer, as the grader sees it."""
    if first.answer == second.answer:
        return True
    try:
        return grade(second.answer, first.answer, options=first.options or None, task=first.task or None).correct
    except ValueError:
        return False


def answer_figures(answers: Sequence[Answered]) -> dict[str, Any]:
    """Counts of tasks and letters, and of the rows that know more than the answer."""
    return {
        "tasks": dict(Counter(answer.task for answer in answers).most_common()),
        "letters": dict(sorted(Counter(answer.letters for answer in answers if answer.letters).items())),
        "with_alternatives": sum(answer.has_alternatives for answer in answers),
        "with_perception": sum(answer.has_perception for answer in answers),
        "with_reasoning": sum(answer.has_reasoning for answer in answers),
    }


def answer_remarks(split: str, answers: Sequence[Answered]) -> list[str]:
    """A sentence for each task whose rows all have one answer, which a model learns without a look at the image."""
    remarks = []
    for task in dict.fromkeys(answer.task for answer in answers):
        given = [answer.letters or answer.answer for answer in answers if answer.task == task]
        if len(given) >= MANY and len(set(given)) == 1:
            remedy = "; shuffle the options" if answers[0].letters else ""
            remarks.append(f"{split}: the answer of all {len(given)} rows with task {task} is {given[0]!r}{remedy}")
    return remarks
