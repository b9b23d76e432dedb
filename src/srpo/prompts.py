"""Prompts: the instruction for the response format, hints, questions with their images as messages, think blocks."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from srpo.grading.choice import LABELS
from srpo.roles import ResponseFormat

STYLES = ("system", "user", "none")

Message = dict[str, Any]

_PLACEHOLDER = re.compile(r"<image(?P<index>[1-9][0-9]*)?>")


# A template that opens a thinking block ends the prompt so; <seed:think> and the like are other models' names for it.
_OPENED = re.compile(r"<(?P<tag>[A-Za-z][\w:-]*)>\s*\Z")
_HINTS = {
    "choice": "The answer is the letter of the right option.",
    "range": "The answer is a number.",
    "box": "The answer is a box [x1, y1, x2, y2] in pixels: left, top, right, bottom.",
}


class PromptError(ValueError):
    """A question does not fit its images or options: kind (of srpo.data.problems), reason and remedy."""

    def __init__(self, kind: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.kind, self.reason, self.remedy = kind, reason, remedy


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


def task_hint(task: str) -> str:
    """The sentence that tells what form the answer of a task has; "" where the question says enough [choice]."""
    return _HINTS.get(task.partition(":")[0], "")


def build_prompt(
    question: str,
    n_images: int,
    *,
    options: Sequence[Any] | None = None,
    response_format: ResponseFormat | None = None,
    style: str = "system",
    structured: bool = False,
    hint: str = "",
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
        options: texts of the options, appended as lines "A. text"; letters alone ("A", "B") as one line.
        response_format: the tags that the instruction names.
        style: where the instruction goes: "system" message, end of the "user" text, or "none".
        structured: give parts even without placeholders (images first), for Arrow columns, which cannot hold both
            forms.
        hint: a sentence behind question and options, such as `task_hint` gives.

    Raises:
        PromptError: for an empty question, placeholders that do not match the images, and more than 26 options.
        ValueError: for an unknown style.
    """
    if style not in STYLES:
        raise ValueError(f"prompt style {style!r} must be one of {', '.join(STYLES)}")
    if not question.strip():
        raise PromptError("question_empty", "the question is empty", "fill it in or drop the row")
    choices = list(options or ())
    if len(choices) > len(LABELS):
        reason = f"it has {len(choices)} options, and at most {len(LABELS)} have letters"
        raise PromptError("options_many", reason, "drop some, or ask without options")
    parts = _question_parts(question, n_images)
    if structured and None not in parts:
        parts = [*(None for _ in range(n_images)), *parts]
    tail = _listed([_in_words(str(choice)) for choice in choices])
    if hint:
        tail += f"\n{hint}"
    if style == "user":
        tail += f"\n\n{instruction(response_format)}"
    if tail:
        parts = [*parts[:-1], parts[-1] + tail] if parts[-1] is not None else [*parts, tail]
    messages: list[Message] = [{"role": "user", "content": _content(parts, structured)}]
    if style == "system":
        structured = not isinstance(messages[0]["content"], str)
        messages.insert(0, {"role": "system", "content": _content([instruction(response_format)], structured)})
    return messages


def _listed(options: list[str]) -> str:
    """The options as lines "A. text"; in one line where they are letters only, which an image shows."""
    if options and options == list(LABELS[: len(options)]):
        return f"\nOptions: {', '.join(options)}"
    return "".join(f"\n{label}. {option}" for label, option in zip(LABELS, options, strict=False))


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
        reason = "the question mixes <image> with numbered placeholders"
        raise PromptError("placeholder_number", reason, "number all of them or none")
    if len(mentions) == n_images:
        return
    reason = f"it has {_count(n_images, 'image')} but its question has {_count(len(mentions), '<image> placeholder')}"
    if len(mentions) < n_images:
        raise PromptError("placeholder_missing", reason, "add a placeholder or drop an image")
    raise PromptError("placeholder_extra", reason, "drop a placeholder or add an image")


def _check_numbered(numbers: list[str], n_images: int) -> None:
    if n_images == 1:
        return
    if sorted(map(int, numbers)) != list(range(1, n_images + 1)):
        names = ", ".join(f"<image{number}>" for number in sorted(map(int, numbers)))
        reason = f"it has {_count(n_images, 'image')} but its question names {names}"
        raise PromptError("placeholder_number", reason, "name each image once, or none of them")
    for first, second in pairwise(numbers):
        if int(first) > int(second):
            reason = f"the question names <image{first}> before <image{second}>"
            raise PromptError("placeholder_number", reason, "number the images in the order they are named")


def _in_words(text: str) -> str:
    return _PLACEHOLDER.sub(lambda match: f"image {match['index']}" if match["index"] else "image", text)


def _content(parts: list[str | None], structured: bool) -> str | list[dict[str, str]]:
    if not structured and len(parts) == 1 and parts[0] is not None:
        return parts[0]
    return [{"type": "image"} if part is None else {"type": "text", "text": part} for part in parts]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def opened_block(processor: Any) -> str | None:
    """The tag that the chat template opens at the end of every prompt ("think" for "<think>"), None for none."""
    text = processor.apply_chat_template([{"role": "user", "content": "?"}], add_generation_prompt=True)
    opened = _OPENED.search(text)
    return opened["tag"] if opened else None


def close_block(processor: Any, tag: str) -> None:
    """Change the chat template so that a block which it opens at the end of a prompt is closed at once, empty [choice].

    A reply then begins with its own blocks, as the response format asks. Without this, a template that opens <think>
    makes every reply unstructured: a closing tag comes before the first block. The changed template is saved with the
    model, so that it is used in evaluation as well.

    Raises:
        ValueError: where the changed template still leaves the block open.
    """
    closing = "{% if add_generation_prompt %}{{ '\\n</" + tag + ">\\n\\n' }}{% endif %}"
    holders = [holder for holder in (processor, getattr(processor, "tokenizer", None)) if holder is not None]
    for holder in holders:
        if isinstance(holder.chat_template, str):
            holder.chat_template += closing
    if (left := opened_block(processor)) is not None:
        raise ValueError(f"the chat template still opens <{left}>; give the model a template that opens no block")
