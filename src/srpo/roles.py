"""Response text -> role spans -> one role per token (docs/method.md, section 1).

Axes: B rollouts, T completion tokens. Character offsets are half-open, as in slices: text[start:end].
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import torch

from srpo.token_text import TokenText, token_spans

__all__ = ["DEFAULT_FORMAT", "ResponseFormat", "Role", "Span", "token_roles", "token_spans"]

_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class Role(IntEnum):
    """What a token does in its response; neutral tokens keep plain GRPO credit."""

    NEUTRAL = 0
    PERCEPTION = 1
    REASONING = 2


@dataclass(frozen=True)
class Span:
    """Characters text[start:end], which play one role."""

    role: Role
    start: int
    end: int


@dataclass(frozen=True, init=False)
class ResponseFormat:
    """The blocks of a structured response and their tag names; tags are plain text, never special tokens.

    <perception> ... </perception> <think> ... </think> <answer> ... </answer>   [choice]

    Args:
        perception: tag name (without brackets) of the block that says what is seen.
        reasoning: tag name of the block that derives the answer.
        answer: tag name of the block that holds the final answer.

    Raises:
        ValueError: for a name that is not a letter followed by letters, digits, "_" or "-", and for equal names.
    """

    tags: tuple[str, str, str]

    def __init__(self, perception: str = "perception", reasoning: str = "think", answer: str = "answer") -> None:
        tags = (perception, reasoning, answer)
        for tag in tags:
            if not isinstance(tag, str) or not _TAG_NAME.fullmatch(tag):
                raise ValueError(
                    f"tag name {tag!r} must be a letter followed by letters, digits, '_' or '-'; "
                    "write the bare name, such as 'think' for <think>"
                )
        if len(set(tags)) < 3:
            raise ValueError(f"tag names {', '.join(tags)} must differ from one another; rename the repeated one")
        object.__setattr__(self, "tags", tags)

    @classmethod
    def parse(cls, names: str) -> "ResponseFormat":
        """The format with the three tag names in "perception,think,answer"; ValueError unless there are three."""
        parts = [name.strip() for name in names.split(",")]
        if len(parts) != 3:
            raise ValueError(
                f"response format {names!r} must name three tags; write them as in 'perception,think,answer'"
            )
        return cls(*parts)

    def __str__(self) -> str:
        return ",".join(self.tags)

    def block(self, name: str) -> tuple[str, str]:
        """Opening and closing tag of the block `name`: "perception", "reasoning" or "answer"."""
        names = ("perception", "reasoning", "answer")
        if name not in names:
            raise ValueError(f"block {name!r} must be one of {', '.join(names)}; blocks go by role, not by tag name")
        tag = self.tags[names.index(name)]
        return f"<{tag}>", f"</{tag}>"

    @cached_property
    def _sequence(self) -> list[str]:
        return [text for tag in self.tags for text in (f"<{tag}>", f"</{tag}>")]

    @cached_property
    def _any_tag(self) -> re.Pattern[str]:
        return re.compile(f"</?(?:{'|'.join(self.tags)})>")

    def spans(self, text: str) -> list[Span]:
        """Characters of the perception, the think and the answer block, in this order; [] when not structured.

        Structured: the tags in `text` are exactly the six of the format, each once and in order, and both the
        perception block and the reasoning side (think and answer together) hold a character that is not white space.
        Text outside the blocks is allowed and neutral. That a blank block counts as empty is a [choice]. A think or
        answer block without any character has no span.
        """
        found = list(self._any_tag.finditer(text))
        if [match[0] for match in found] != self._sequence:
            return []
        perception, think, answer = (
            Span(role, opening.end(), closing.start())
            for role, opening, closing in zip(
                (Role.PERCEPTION, Role.REASONING, Role.REASONING), found[::2], found[1::2], strict=True
            )
        )
        reasoning = text[think.start : think.end] + text[answer.start : answer.end]
        if not text[perception.start : perception.end].strip() or not reasoning.strip():
            return []
        return [span for span in (perception, think, answer) if span.start < span.end]

    def answer(self, text: str) -> str | None:
        """Content, as it stands, of the last closed answer block; None without one. Needs no other structure."""
        opening, closing = self.block("answer")
        content, start = None, None
        for match in self._any_tag.finditer(text):
            if match[0] == opening:
                start = match.end()
            elif match[0] == closing and start is not None:
                content, start = text[start : match.start()], None
        return content


DEFAULT_FORMAT = ResponseFormat()


def token_roles(
    completion_ids: torch.Tensor | Sequence[Sequence[int]],
    tokenizer: Any,
    response_format: ResponseFormat = DEFAULT_FORMAT,
) -> torch.Tensor:
    """The role of each completion token: 0 neutral, 1 perception, 2 reasoning.

    A token plays the role that most of its characters lie in, neutral characters included; ties are neutral, and so is
    a token without characters (special token, padding, id outside the vocabulary). A token that holds part of a
    character counts that character. Rows that are not structured, or that have no perception or no reasoning token,
    are wholly neutral.

    Args:
        completion_ids: (B, T) integer tensor, or B lists of token ids of any lengths.
        tokenizer: a transformers tokenizer, or the processor that holds it.
        response_format: the tags.

    Returns:
        (B, T) long tensor on the device of `completion_ids`; short lists are padded with neutral.

    Raises:
        ValueError: when `completion_ids` is not two-dimensional or not integer. No token id and no text raises.
    """
    rows, device = _rows(completion_ids)
    tokens = TokenText(tokenizer)
    width = completion_ids.shape[1] if isinstance(completion_ids, torch.Tensor) else max(map(len, rows), default=0)
    roles = torch.zeros(len(rows), width, dtype=torch.long)
    for row, ids in enumerate(rows):
        text = tokens.decode(ids)
        spans = response_format.spans(text)
        if spans:
            offsets = torch.tensor(tokens.spans(ids, text), dtype=torch.long)  # (T, 2)
            roles[row, : len(ids)] = _majority_roles(offsets, spans)
    return roles.to(device)


def _rows(completion_ids: torch.Tensor | Sequence[Sequence[int]]) -> tuple[list[list[int]], torch.device]:
    """The token ids as lists, and the device to answer on."""
    if isinstance(completion_ids, torch.Tensor):
        if completion_ids.dim() != 2 or completion_ids.is_floating_point():
            raise ValueError(
                f"completion_ids of shape {tuple(completion_ids.shape)} and type {completion_ids.dtype} must be "
                "integers of shape (B, T); add the missing axis or pass one list of ids per rollout"
            )
        return completion_ids.tolist(), completion_ids.device
    for row, ids in enumerate(completion_ids):
        if isinstance(ids, int):
            raise ValueError(
                f"completion_ids[{row}] is the integer {ids} but must be a list of token ids; "
                "wrap a single rollout in a list"
            )
    return [[int(token) for token in ids] for ids in completion_ids], torch.device("cpu")


def _majority_roles(offsets: torch.Tensor, spans: Sequence[Span]) -> torch.Tensor:
    """Roles (T,) of tokens with character offsets (T, 2); wholly neutral where perception or reasoning has no token."""
    start, end = offsets.unbind(1)
    counts = torch.zeros(len(Role), len(offsets), dtype=torch.long)  # characters of each token by role: (3, T)
    for span in spans:
        counts[span.role] += (end.clamp(max=span.end) - start.clamp(min=span.start)).clamp(min=0)
    counts[Role.NEUTRAL] = end - start - counts.sum(0)
    most, roles = counts.max(0)
    roles = roles.masked_fill((counts == most).sum(0) > 1, Role.NEUTRAL)
    complete = (roles == Role.PERCEPTION).any() and (roles == Role.REASONING).any()
    return roles if complete else torch.zeros_like(roles)
