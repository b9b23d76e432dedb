"""Verifiable rewards in TRL's signature: is the answer right, and does the reply have the response format?

The reward itself is GRPO's: SRPO refines the advantage only (docs/method.md). The rules of comparison are in
srpo.grading.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from srpo.grading import TASKS, grade
from srpo.roles import ResponseFormat

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
    **kwargs: Any,
) -> list[float | None]:
    """Reward 1.0 for a right answer, else 0.0: the last answer block against the reference, by `srpo.grading.grade`.

    A reply without a closed answer block gets 0.0. A row without a reference (None, NaN, blank) gets None, which TRL
    leaves out of the reward. Runs in any thread; an expression that takes longer than 5 s gets 0.0.

    Args:
        completions: B completions, each a text or a list of messages {"role", "content"}.
        answer: B references; TRL's column name `solution` is read where there is no `answer` column.
        options: B lists with the options of multiple-choice questions ([] or None for the others).
        task: B times "math", "choice", "text", or None to decide from options and reference.
        kwargs: the other columns and what TRL passes along; not used.

    Raises:
        RewardError: without a reference column, for a column of another length, or an unknown task.
    """
    return _accuracy(completions, answer, options, task, kwargs, ResponseFormat(), 5.0)


def format_reward(completions: Sequence[Completion], **kwargs: Any) -> list[float]:
    """Reward 1.0 for a structured reply, else 0.0: `ResponseFormat.spans` finds all blocks, in order, closed."""
    return _structured(completions, ResponseFormat())


def make_accuracy_reward(
    response_format: ResponseFormat | None = None, timeout: float = 5.0
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
        **kwargs: Any,
    ) -> list[float | None]:
        return _accuracy(completions, answer, options, task, kwargs, tags, timeout)

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


def _accuracy(
    completions: Sequence[Completion],
    answer: Sequence[Any] | None,
    options: Sequence[Sequence[Any] | None] | None,
    task: Sequence[str | None] | None,
    columns: Mapping[str, Any],
    tags: ResponseFormat,
    timeout: float,
) -> list[float | None]:
    answer = columns.get("solution") if answer is None else answer
    if answer is None:
        given = {**columns, "options": options, "task": task}
        names = [name for name, values in given.items() if values is not None and name not in _PASSED_BY_TRL]
        raise RewardError(
            f"the accuracy reward needs a column {' or '.join(map(repr, REFERENCE_COLUMNS))} with the right answers, "
            f"and the data has {', '.join(map(repr, names)) or 'no other columns'}; "
            "rename the column that holds them to 'answer'"
        )
    count = len(completions)
    rows = zip(
        completions,
        _column("answer", answer, count),
        _column("options", options, count),
        _column("task", task, count),
        strict=True,
    )
    return [
        _reward(tags.answer(completion_text(reply)), reference, choices, kind, timeout)
        for reply, reference, choices, kind in rows
    ]


def _reward(reply: str | None, reference: Any, options: Any, task: str | None, timeout: float) -> float | None:
    text = reference_text(reference)
    if text is None:
        return None
    if task not in (None, "", *TASKS):
        raise RewardError(f"task {task!r} must be one of {', '.join(TASKS)}; correct the column 'task' or leave it out")
    if reply is None:
        return 0.0
    return float(grade(reply, text, options=options, task=task or None, timeout=timeout).correct)


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
