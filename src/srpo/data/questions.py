"""Question cells -> question, reply and images: plain texts, and conversations of every usual make.

A conversation is a list of messages, each {"role", "content"} or {"from", "value"}, with one question by the user. Its
system message is dropped: the instruction for the response format takes its place. Its last reply can stand in for an
answer column. Contents are texts, in which <image> marks an image, or lists of parts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from srpo.data.problems import RowProblem
from srpo.data.repair import repair
from srpo.data.schema import MEDIA_COLUMNS
from srpo.data.values import is_blank, shorten, to_repaired

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "model": "assistant"}
_IMAGE_KEYS = ("image", "image_url", "path", "url")
MEDIA_TYPES = ("video", "audio", "video_url", "audio_url", "input_audio")
MEDIA_REMEDY = "only texts and images are read: remove the row"
_MEDIA = re.compile(r"<(?:video|audio)>", re.IGNORECASE)
_SPACED = re.compile(r"<[Ii]mage[ _]?([1-9][0-9]*)>")
_PLACEHOLDER = re.compile(r"<image([1-9][0-9]*)?>")


@dataclass
class Asked:
    """What a question cell holds: the question, the last reply ("" for none), and the images inside its parts."""

    question: str
    reply: str = ""
    images: list[Any] = field(default_factory=list)


def is_conversation(cell: Any) -> bool:
    """Whether a cell is a list of messages."""
    return bool(cell) and isinstance(cell, (list, tuple)) and all(isinstance(m, Mapping) and _role(m) for m in cell)


def to_question(cell: Any) -> str:
    """The question of a cell. RowProblem where there is none, or several."""
    return read_question([cell]).question


def read_question(cells: Sequence[Any]) -> Asked:
    """The question that one cell or several hold; texts of several are joined by line breaks.

    Raises:
        RowProblem: for a cell that is neither text nor conversation, and for none or several questions in one.
    """
    parts = [_read_cell(cell) for cell in cells]
    return Asked(
        "\n".join(part.question for part in parts if part.question),
        next((part.reply for part in parts if part.reply), ""),
        [image for part in parts for image in part.images],
    )


def check_media(question: str, cells: Mapping[str, Any]) -> None:
    """Raise RowProblem for a question about a video or a sound: it has a placeholder, or a cell of theirs is filled."""
    if mark := _MEDIA.search(question):
        raise RowProblem("media", f"the question has the placeholder {mark[0]}", MEDIA_REMEDY)
    for column in MEDIA_COLUMNS:
        cell = cells.get(column)
        items = cell if isinstance(cell, (list, tuple)) else [cell]
        if not all(map(is_blank, items)):
            raise RowProblem("media", f"the column {column} is filled", MEDIA_REMEDY)


def fit_placeholders(question: str, n_images: int) -> str:
    """The question with placeholders as `build_prompt` takes them.

    "<image 1>" becomes "<image1>". Where several images are not all named, or not in their order, the placeholders
    become the words "image 1" ..., and so all images come first.
    """
    question = unspaced(question)
    mentions = _PLACEHOLDER.findall(question)
    numbers = [int(number) for number in dict.fromkeys(mentions) if number]
    in_words = numbers and "" not in mentions and n_images > 1 and max(numbers) <= n_images
    if in_words and numbers != list(range(1, n_images + 1)):
        return _PLACEHOLDER.sub(r"image \1", question)
    return question


def unspaced(text: str) -> str:
    """The text with "<image1>" in place of "<image 1>" and "<image_1>"."""
    return _SPACED.sub(r"<image\1>", text)


def _read_cell(cell: Any) -> Asked:
    if cell is None or isinstance(cell, (str, int, float)):
        return Asked(to_repaired(cell))
    if not is_conversation(cell):
        raise RowProblem(
            "question_type",
            f"the question is {shorten(cell)}",
            "it must be a text or a conversation with a user message",
        )
    images: list[Any] = []
    questions = [_text(message, images) for message in cell if _role(message) == "user"]
    if len(questions) != 1:
        reason = f"the conversation asks {len(questions)} questions" if questions else "no message is the user's"
        raise RowProblem("question_turns", reason, "it must be one question: a conversation with a user message")
    asked = next(i for i, message in enumerate(cell) if _role(message) == "user")
    replies = [_text(message, []) for message in cell[asked:] if _role(message) == "assistant"]
    return Asked(questions[0], replies[-1] if replies else "", images)


def _role(message: Mapping[str, Any]) -> str:
    """The role of a message, in one vocabulary; "" for what is no message."""
    role = message.get("role") or message.get("from") or ""
    return _ROLES.get(str(role).lower(), str(role).lower())


def _text(message: Mapping[str, Any], images: list[Any]) -> str:
    """The text of a message, <image> in place of each image part; images that a part holds are added to `images`."""
    content = message["content"] if message.get("content") is not None else message.get("value")
    if content is None or isinstance(content, str):
        return to_repaired(content)
    if not isinstance(content, (list, tuple)):
        raise RowProblem("question_type", f"a message holds {shorten(content)}", "it must be a text or a list of parts")
    texts: list[str] = []
    for part in content:
        _refuse_media(part)
        held = _image(part)
        if held is not None or (isinstance(part, Mapping) and part.get("type") in ("image", "image_url")):
            texts.append("<image>")
            images.extend([] if held is None else [held])
        elif isinstance(part, (str, Mapping)):
            texts.append(part if isinstance(part, str) else str(part.get("text") or ""))
        elif part is not None:
            raise RowProblem("question_type", f"a message holds the part {shorten(part)}", "it must be a text or image")
    first = texts.count("<image>")
    if all(text == "<image>" for text in texts[:first]) and "<image" not in "".join(texts[first:]):
        texts = texts[first:]  # images in front need no placeholder
    return repair("\n".join(filter(None, texts))).strip()


def _refuse_media(part: Any) -> None:
    """Raise RowProblem for a part that is a video or a sound."""
    if isinstance(part, Mapping):
        kind = str(part.get("type") or "")
        if kind in MEDIA_TYPES or any(part.get(key) is not None for key in MEDIA_TYPES):
            raise RowProblem("media", f"a message holds {shorten(part)}", MEDIA_REMEDY)


def _image(part: Any) -> Any:
    """The image that a part of a message holds, None for none."""
    if not isinstance(part, Mapping):
        return None
    held = next((part[key] for key in _IMAGE_KEYS if part.get(key) is not None), None)
    if isinstance(held, Mapping):
        held = held.get("url", held) if any(value is not None for value in held.values()) else None
    return held
