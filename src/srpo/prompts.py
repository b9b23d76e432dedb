"""Prompts: the instruction for the response format, and a question with its images as chat messages."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from srpo.grading.choice import LABELS
from srpo.roles import ResponseFormat

STYLES = ("system", "user", "none")

Message = dict[str, Any]

_PLACEHOLDER = re.compile(r"<image(?P<index>[1-9][0-9]*)?>")


class PromptError(ValueError):
    """A question does not fit its images or options."""


def instruction(response_format: ResponseFormat | None = None) -> str:
    """Return the English instruction that asks for the three blocks of a structured response [choice]."""
    tags = response_format or ResponseFormat()
    contents = {
        "perception": "what is seen in the image, facts only",
        "reasoning": "how the answer follows from these facts",
        "answer": "the final answer and nothing else",
    }
    lines = ["Reply in three blocks, in this order:"]
    for name, content in contents.items():
        opening, closing = tags.block(name)
        lines.append(f"{opening} {content} {closing}")
    return "\n".join(lines)


def build_prompt(
    question: str,
    n_images: int,
    *,
    options: Sequence[Any] | None = None,
    response_format: ResponseFormat | None = None,
    style: str = "system",
    structured: bool = False,
) -> list[Message]:
    """Build the messages of one question in TRL's conversational form.

    A question without placeholders gives plain string contents; TRL puts the images before the text of the first user
    message. Otherwise contents are parts {"type": "text", "text": ...} and {"type": "image"}. Placeholders are
    `<image>`, one per image in order, or `<image1>`, `<image2>`, ...: the first mention of a number is the image, a
    later one, or one inside an option, the words "image 1". With one image and several numbers (a sheet of numbered
    pictures, as in MATH-V) all mentions become words and the sheet comes first.

    Args:
        question: text, with or without placeholders.
        n_images: number of images of the row.
        options: texts of the options, appended as lines "A. text".
        response_format: the tags that the instruction names.
        style: where the instruction goes: "system" message, end of the "user" text, or "none".
        structured: give parts even without placeholders (images first), for Arrow columns, which cannot hold both
            forms.

    Raises:
        PromptError: for an empty question, placeholders that do not match the images, more than 26 options, or an
        unknown style.
    """
    if style not in STYLES:
        raise PromptError(f"prompt style {style!r} must be one of {', '.join(STYLES)}")
    if not question.strip():
        raise PromptError("a question must not be empty; drop the row or fill it in")
    choices = list(options or ())
    if len(choices) > len(LABELS):
        raise PromptError(f"row has {len(choices)} options, and at most {len(LABELS)} have letters; drop some")
    parts = _question_parts(question, n_images)
    if structured and None not in parts:
        parts = [*(None for _ in range(n_images)), *parts]
    tail = "".join(f"\n{label}. {_in_words(str(text))}" for label, text in zip(LABELS, choices, strict=False))
    if style == "user":
        tail += f"\n\n{instruction(response_format)}"
    if tail:
        parts = [*parts[:-1], parts[-1] + tail] if parts[-1] is not None else [*parts, tail]
    messages: list[Message] = [{"role": "user", "content": _content(parts, structured)}]
    if style == "system":
        structured = not isinstance(messages[0]["content"], str)
        messages.insert(0, {"role": "system", "content": _content([instruction(response_format)], structured)})
    return messages


def _question_parts(question: str, n_images: int) -> list[str | None]:
    """Split a question at its images: texts, and None for an image."""
    mentions = list(_PLACEHOLDER.finditer(question))
    numbers = list(dict.fromkeys(match["index"] for match in mentions))
    if not mentions or (n_images == 1 and None not in numbers and len(numbers) > 1):
        return [_in_words(question)]
    if None in numbers:
        _check_unnumbered(mentions, n_images)
    else:
        _check_numbered(numbers, n_images)
    parts: list[str | None] = []
    end, seen, text = 0, set(), ""
    for match in mentions:
        text += question[end : match.start()]
        end = match.end()
        if match["index"] is not None and match["index"] in seen:
            text += f"image {match['index']}"
            continue
        seen.add(match["index"])
        parts += [text, None] if text else [None]
        text = ""
    text += question[end:]
    return [*parts, text] if text else parts


def _check_unnumbered(mentions: list[re.Match[str]], n_images: int) -> None:
    if any(match["index"] is not None for match in mentions):
        raise PromptError("a question must not mix <image> with numbered placeholders; number all of them or none")
    if len(mentions) != n_images:
        remedy = (
            "add a placeholder or drop an image" if len(mentions) < n_images else "drop a placeholder or add an image"
        )
        raise PromptError(
            f"row has {_count(n_images, 'image')} but its question has {len(mentions)} <image> "
            f"placeholder{'s' if len(mentions) > 1 else ''}; {remedy}"
        )


def _check_numbered(numbers: list[str], n_images: int) -> None:
    if n_images == 1:
        return
    if sorted(map(int, numbers)) != list(range(1, n_images + 1)):
        names = ", ".join(f"<image{number}>" for number in sorted(map(int, numbers)))
        raise PromptError(
            f"row has {_count(n_images, 'image')} but its question names {names}; name each image once, or none of them"
        )
    for first, second in pairwise(numbers):
        if int(first) > int(second):
            raise PromptError(
                f"question names <image{first}> before <image{second}>; number the images in the order they are named"
            )


def _in_words(text: str) -> str:
    return _PLACEHOLDER.sub(lambda match: f"image {match['index']}" if match["index"] else "image", text)


def _content(parts: list[str | None], structured: bool) -> str | list[dict[str, str]]:
    if not structured and len(parts) == 1 and parts[0] is not None:
        return parts[0]
    return [{"type": "image"} if part is None else {"type": "text", "text": part} for part in parts]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
