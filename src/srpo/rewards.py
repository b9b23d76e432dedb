"""Verifiable rewards in TRL's signature: is the answer right, and does the reply have the response format?

The reward itself is GRPO's: SRPO refines the advantage only (docs/method.md). The rules of comparison are in
srpo.grading.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from srpo.grading import Grade, grade, parse_task
from srpo.roles import ResponseFormat

TIMEOUT = 5.0
RIGHT = 0.5  # least accuracy reward of a right reply; rewards between 0 and 1 are overlaps of boxes
REFERENCE_COLUMNS = ("answer", "solution")
_PASSED_BY_TRL = {"prompts", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments"}

Completion = str | Sequence[Mapping[str, Any]]


class RewardError(ValueError):
    """The columns handed to a reward function do not allow to judge the completions."""


def accuracy_reward(
    completions: Sequence[Completion],
    answer: Sequence[Any] | None = None,
    options: Sequence[Sequence[Any] | None] | None = None,
    task: Sequence[str | None] | None = None,
    alternatives: Sequence[Sequence[Any] | None] | None = None,
    **kwargs: Any,
) -> list[float | None]:
    """Reward 1.0 for a right answer, else 0.0: the last answer block against the reference, by `srpo.grading.grade`.

    For the task "box:iou" the reward is the overlap.

    A reply without a closed answer block gets 0.0. A row without a reference (None, NaN, blank) gets None, which TRL
    leaves out of the reward. Runs in any thread; an expression that takes longer than 5 s gets 0.0.

    Args:
        completions: B completions, each a text or a list of messages {"role", "content"}.
        answer: B references; TRL's column name `solution` is read where there is no `answer` column.
        options: B lists with the options of multiple-choice questions ([] or None for the others).
        task: B task strings ("math", "math:0.01", "choice", ... in docs/rewards.md), or None to decide from options and
            reference.
        alternatives: B lists of further right answers; the best match counts.
        kwargs: the other columns and what TRL passes along; not used.

    Raises:
        RewardError: without a reference column, for a column of another length, or an unknown task.
    """
    columns = {"answer": answer, "options": options, "task": task, "alternatives": alternatives}
    return _accuracy(completions, {**kwargs, **columns}, ResponseFormat(), TIMEOUT)


def format_reward(completions: Sequence[Completion], **kwargs: Any) -> list[float]:
    """Reward 1.0 for a structured reply, else 0.0: `ResponseFormat.spans` finds all blocks, in order, closed."""
    return _structured(completions, ResponseFormat())


def make_accuracy_reward(
    response_format: ResponseFormat | None = None, timeout: float = TIMEOUT
) -> Callable[..., list[float | None]]:
    """Build `accuracy_reward` for other tags or another time limit (seconds for one expression)."""
    if not timeout > 0:
        raise RewardError(f"timeout {timeout} must be positive; give seconds, such as 5.0")
    tags = response_format or ResponseFormat()

    def accuracy_reward(
        completions: Sequence[Completion],
        answer: Sequence[Any] | None = None,
        options: Sequence[Sequence[Any] | None] | None = None,
        task: Sequence[str | None] | None = None,
        alternatives: Sequence[Sequence[Any] | None] | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        columns = {"answer": answer, "options": options, "task": task, "alternatives": alternatives}
        return _accuracy(completions, {**kwargs, **columns}, tags, timeout)

    return accuracy_reward


def make_format_reward(response_format: ResponseFormat | None = None) -> Callable[..., list[float]]:
    """Build `format_reward` for other tags."""
    tags = response_format or ResponseFormat()

    def format_reward(completions: Sequence[Completion], **kwargs: Any) -> list[float]:
        return _structured(completions, tags)

    return format_reward


def completion_text(completion: Completion) -> str:
    """Return the text of a completion: a plain string, or all its assistant messages (not tool results)."""
    if isinstance(completion, str):
        return completion
    contents = [message.get("content") for message in completion if message.get("role", "assistant") == "assistant"]
    return "\n".join(_content_text(content) for content in contents)


def grade_reply(
    reply: str,
    reference: Any,
    *,
    options: Sequence[Any] | None = None,
    task: str | None = None,
    alternatives: Sequence[Any] | None = None,
    response_format: ResponseFormat | None = None,
    timeout: float = TIMEOUT,
) -> Grade | None:
    """Grade a whole reply: its last answer block, by `srpo.grading.grade`; None for a row without a reference.

    Raises:
        RewardError: for an unknown task, and for a reference that its task cannot use.
    """
    wanted = reference_text(reference)
    if wanted is None:
        return None
    task = task or None
    answer = (response_format or ResponseFormat()).answer(reply)
    try:
        if answer is None:
            parse_task(task or "text")
            return Grade(False, "format", "the reply has no closed answer block")
        return grade(answer, wanted, options=options, task=task, alternatives=alternatives, timeout=timeout)
    except ValueError as error:
        raise RewardError(str(error)) from error


def _accuracy(
    completions: Sequence[Completion], columns: Mapping[str, Any], tags: ResponseFormat, timeout: float
) -> list[float | None]:
    answer = columns["answer"] if columns["answer"] is not None else columns.get("solution")
    if answer is None:
        names = [name for name, values in columns.items() if values is not None and name not in _PASSED_BY_TRL]
        raise RewardError(
            f"the accuracy reward needs a column {' or '.join(map(repr, REFERENCE_COLUMNS))} with the right answers, "
            f"and the data has {', '.join(map(repr, names)) or 'no other columns'}; "
            "rename the column that holds them to 'answer'"
        )
    count = len(completions)
    parts = [_column(name, columns[name], count) for name in ("options", "task", "alternatives")]
    grades = [
        grade_reply(
            completion_text(completion),
            reference,
            options=options,
            task=task,
            alternatives=alternatives,
            response_format=tags,
            timeout=timeout,
        )
        for completion, reference, options, task, alternatives in zip(
            completions, _column("answer", answer, count), *parts, strict=True
        )
    ]
    return [grade.score if grade else None for grade in grades]


def reference_text(reference: Any) -> str | None:
    """Return a reference as text, None where it is missing (None, NaN, blank); RewardError for a list or mapping."""
    if reference is None or reference != reference:
        return None
    if isinstance(reference, (list, tuple, set, dict)):
        raise RewardError(
            f"reference {reference!r} must be one text or number, not a {type(reference).__name__}; "
            "write it as text, such as '1, 2'"
        )
    return str(reference) if str(reference).strip() else None


def _structured(completions: Sequence[Completion], tags: ResponseFormat) -> list[float]:
    return [float(bool(tags.spans(completion_text(completion)))) for completion in completions]


def _content_text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts: Iterable[Any] = content
    return "".join(part if isinstance(part, str) else part.get("text") or "" for part in parts)


def _column(name: str, values: Sequence[Any] | None, count: int) -> Sequence[Any]:
    if values is None:
        return [None] * count
    if isinstance(values, str) or len(values) != count:
        size = "a single text" if isinstance(values, str) else f"{len(values)} values"
        raise RewardError(f"column {name!r} has {size} for {count} completions; give one value per completion")
    return values
