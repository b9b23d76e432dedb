"""The grounded reward: 1 where the answer and every fact that it rests on are right, 0 elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from srpo.data import world
from srpo.rewards import make_accuracy_reward
from srpo.roles import ResponseFormat

ACCURACY_COLUMNS = ("answer", "solution", "options", "task", "alternatives")


def grounded_rewards(
    texts: Sequence[str], rows: Sequence[Mapping[str, Any]], response_format: ResponseFormat
) -> torch.Tensor:
    """(B,) grounded rewards of B replies.

    Args:
        texts: B replies without special tokens.
        rows: B data rows with a `truth` (`has_truth`).
        response_format: the tags.
    """
    columns = {name: [row.get(name) for row in rows] for name in ACCURACY_COLUMNS if name in rows[0]}
    right = make_accuracy_reward(response_format)(list(texts), **columns)
    return torch.tensor(
        [
            float(answer == 1.0) * _needed_right(text, row["truth"], response_format)
            for answer, text, row in zip(right, texts, rows, strict=True)
        ]
    )


def has_truth(dataset: Any) -> bool:
    """Whether every row knows the facts of its image, as the rows of the built-in world do."""
    return "truth" in dataset.column_names and all(truth is not None for truth in dataset["truth"])


def _needed_right(text: str, truth: Any, response_format: ResponseFormat) -> float:
    spans = response_format.spans(text)
    return world.score_perception(text[spans[0].start : spans[0].end], truth)["needed_right"] if spans else 0.0
