"""Collecting demonstrations: from the truth where it is known, from the model's own replies where it is not."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset

from srpo.roles import ResponseFormat
from srpo.warmup.demonstrations import Demonstration, SpecialTokens, judge, true_reply

SOURCES = ("auto", "truth", "samples")


@dataclass
class Collection:
    """Demonstrations, and what became of the rows and replies that gave none.

    Attributes:
        demonstrations: in the order of the rows.
        refused: how many replies written from the truth were refused, by reason.
        fates: how many sampled replies met each of `srpo.warmup.rejection.FATES`.
    """

    demonstrations: list[Demonstration] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)

    def figures(self, rows: int) -> dict[str, Any]:
        """The counts as they are written to summary.json; `rows` is the number of training rows."""
        sources = Counter(shown.source for shown in self.demonstrations)
        covered = len({shown.row for shown in self.demonstrations})
        return {
            "total": len(self.demonstrations),
            "from_truth": sources["truth"],
            "from_samples": sources["samples"],
            "rows": rows,
            "rows_without": rows - covered,
            "truth_refused": dict(self.refused),
            "sampled_replies": self.fates.total(),
            "sampled_fates": dict(self.fates),
        }


@dataclass(frozen=True)
class Assignment:
    """Which training rows are demonstrated from the truth, with their replies, and which are sampled."""

    replies: dict[int, str]
    to_sample: list[int]


def assign(dataset: Dataset, source: str, response_format: ResponseFormat) -> Assignment:
    """Share the rows out by `source`: "truth", "samples", or "auto" (the truth where it is known)."""
    facts = without_images(dataset)
    replies = {}
    if source != "samples":
        known = ((i, true_reply(row, response_format)) for i, row in enumerate(facts))
        replies = {i: reply for i, reply in known if reply is not None}
    to_sample = [] if source == "truth" else [i for i in range(len(dataset)) if i not in replies]
    return Assignment(replies, to_sample)


def from_truth(
    dataset: Dataset, replies: dict[int, str], response_format: ResponseFormat, special: SpecialTokens
) -> Collection:
    """The replies that are structured, right by the grader that will judge the policy, and free of special tokens."""
    facts, collected = without_images(dataset), Collection()
    verdicts = judge(list(replies.values()), [facts[i] for i in replies], response_format)
    for (row, reply), verdict in zip(replies.items(), verdicts, strict=True):
        if not verdict.structured:
            collected.refused["not structured"] += 1
        elif not verdict.right:
            collected.refused["wrong answer"] += 1
        elif special.inside(reply):
            collected.refused["special token"] += 1
        else:
            collected.demonstrations.append(Demonstration(row, reply, "truth"))
    return collected


def joined(first: Collection, second: Collection) -> Collection:
    """Both collections, demonstrations in the order of the rows."""
    shown = sorted([*first.demonstrations, *second.demonstrations], key=lambda demonstration: demonstration.row)
    return Collection(shown, first.refused + second.refused, first.fates + second.fates)


def without_images(dataset: Dataset) -> Dataset:
    """The rows without their images, so that none is decoded."""
    return dataset.select_columns([name for name in dataset.column_names if name != "images"])


def jsonl_rows(dataset: Dataset, demonstrations: Sequence[Demonstration]) -> list[dict[str, str]]:
    """What a reader wants to see of each demonstration: id, question, reference, source, reply."""
    facts = dataset.select_columns(["id", "question", "answer"])
    return [
        {**facts[shown.row], "source": shown.source, "reply": shown.reply}  # type: ignore[dict-item]
        for shown in demonstrations
    ]
