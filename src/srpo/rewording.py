"""Prompts with something added or left out: the reference answer added (RLSD), the images left out (PGPO).

A prompt is a string or a conversation: a list of messages, whose content is a string or a list of parts.
"""

from collections.abc import Mapping
from typing import Any

from srpo.rewards import REFERENCE_COLUMNS

HINT = "\n\nThe correct answer is {answer}. Solve the problem as if you did not know it."
Prompt = str | list[dict[str, Any]]


def reference_answer(row: Mapping[str, Any]) -> str:
    """The reference answer of a data row.

    Raises:
        ValueError: when the row has none.
    """
    for column in REFERENCE_COLUMNS:
        if row.get(column) is not None:
            return str(row[column])
    raise ValueError(
        f"a row with columns {', '.join(sorted(row))} has no reference answer, which credit 'rlsd' shows the policy; "
        f"give every row one in the column {' or '.join(REFERENCE_COLUMNS)}, or choose another credit"
    )


def with_answer(prompt: Prompt, answer: str) -> Prompt:
    """The prompt with the reference answer at the end of its last user message; images stay where they are.

    The wording is a [choice].

    Raises:
        ValueError: when there is no user message.
    """
    hint = HINT.format(answer=answer)
    if isinstance(prompt, str):
        return prompt + hint
    last = max((i for i, message in enumerate(prompt) if message["role"] == "user"), default=None)
    if last is None:
        raise ValueError("a prompt without a user message has no place for the reference answer; add one to the row")
    content = prompt[last]["content"]
    told = content + hint if isinstance(content, str) else [*content, {"type": "text", "text": hint}]
    return [*prompt[:last], {**prompt[last], "content": told}, *prompt[last + 1 :]]


def without_images(prompt: Prompt) -> Prompt:
    """The prompt without its images."""
    if isinstance(prompt, str):
        return prompt
    return [
        message
        if isinstance(message["content"], str)
        else {**message, "content": [part for part in message["content"] if part["type"] != "image"]}
        for message in prompt
    ]
