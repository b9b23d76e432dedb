"""Whether two answers say the same, by the grader of the rewards."""

from srpo.evaluation.audit.rows import Row
from srpo.grading import grade
from srpo.rewards import RIGHT
from srpo.roles import ResponseFormat


def same_answer(answer: str, other: str, row: Row) -> bool:
    """Whether `answer` would be right if `other` were the reference of this row.

    The row's options and task decide how they are compared. An `other` that its task cannot read as a reference (a
    reply's own answer may be anything) is compared as text.
    """
    if not answer.strip() or not other.strip():
        return answer.strip() == other.strip()
    try:
        graded = grade(answer, other, options=row.get("options") or None, task=row.get("task") or None)
    except ValueError:
        graded = grade(answer, other, task="text")
    return graded.score >= RIGHT


def answers(text: str, wanted: str, row: Row, response_format: ResponseFormat) -> bool:
    """Whether a reply gives the answer `wanted`; one without a closed answer block gives none."""
    answer = response_format.answer(text)
    return answer is not None and same_answer(answer, wanted, row)
