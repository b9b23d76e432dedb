"""Demonstrations: replies in the response format with the right answer, written from what is known of a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from srpo.data import world
from srpo.grading.choice import LABELS, named_sets
from srpo.grading.text import clean
from srpo.rewards import RIGHT, make_accuracy_reward
from srpo.roles import ResponseFormat
from srpo.vision import placeholder_token_ids

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Demonstration:
    """A reply to learn from."""

    row: int  # index into the training rows
    reply: str  # without the end-of-turn token
    source: str  # "truth" or "samples"


@dataclass(frozen=True)
class Verdict:
    """Does a reply have the response format, and is its answer right?"""

    structured: bool
    right: bool

    @property
    def good(self) -> bool:
        """Fit to be a demonstration."""
        return self.structured and self.right


def write_reply(perception: str, reasoning: str, answer: str, response_format: ResponseFormat) -> str:
    """`<perception> P </perception><think> R </think><answer> A </answer>` with the tags of the format."""
    blocks = []
    for name, text in (("perception", perception), ("reasoning", reasoning), ("answer", answer)):
        opening, closing = response_format.block(name)
        blocks.append(f"{opening} {text} {closing}")
    return "".join(blocks)


def true_reply(row: Row, response_format: ResponseFormat) -> str | None:
    """The reply that states what is truly seen and derives the answer; None where either is unknown.

    The answer to a question with options is their letters, as the prompt asks for.
    """
    perception, reasoning = row.get("perception") or "", _true_reasoning(row)
    if not perception.strip() or not reasoning.strip():
        return None
    return write_reply(perception.strip(), reasoning.strip(), _stated_answer(row), response_format)


def judge(replies: Sequence[str], rows: Sequence[Row], response_format: ResponseFormat) -> list[Verdict]:
    """The verdict on each reply; `rows` are the data rows that they answer, without images.

    The answer is judged by the accuracy reward, in any reply with an answer block. Without a reference no reply is
    right.
    """
    if not replies:
        return []
    columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "images")}
    rewards = make_accuracy_reward(response_format)(replies, **columns)
    return [
        Verdict(bool(response_format.spans(reply)), reward is not None and reward >= RIGHT)
        for reply, reward in zip(replies, rewards, strict=True)
    ]


class SpecialTokens:
    """Finds replies that hold a special token, such as the one of an image: no model may be taught to write these."""

    def __init__(self, config: Any, processor: Any) -> None:
        self.tokenizer = processor.tokenizer
        added = self.tokenizer.added_tokens_decoder
        self.ids = {token_id for token_id, token in added.items() if token.special}
        self.ids |= set(placeholder_token_ids(config, processor))

    def inside(self, reply: str) -> bool:
        """Does the tokenizer read a special token in this text?"""
        return not self.ids.isdisjoint(self.tokenizer(reply, add_special_tokens=False)["input_ids"])


def _stated_answer(row: Row) -> str:
    options = [clean(option) for option in row.get("options") or []]
    named = named_sets(clean(row["answer"]), options) if options else []
    return ", ".join(LABELS[min(same)] for same in named) or row["answer"]


def _true_reasoning(row: Row) -> str:
    """The derivation of a row; that of the built-in world follows from its `truth`."""
    if row.get("reasoning"):
        return str(row["reasoning"])
    if not row.get("truth"):
        return ""
    truth = world.read_truth(row["truth"])
    return world.recompute(truth, truth["facts"]).derivation
