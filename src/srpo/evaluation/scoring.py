"""Replies judged by the rewards of training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from srpo.evaluation.audit.perception import perception_scores
from srpo.evaluation.sampling import Reply
from srpo.evaluation.store import ScoredReply
from srpo.rewards import RIGHT, make_accuracy_reward, make_format_reward
from srpo.roles import ResponseFormat

Row = Mapping[str, Any]
Score = Callable[[str, Sequence[Row], Sequence[tuple[int, int]], Sequence[str], Sequence[Reply]], list[ScoredReply]]


def make_scorer(response_format: ResponseFormat) -> Score:
    """A function (variant, rows, places, prefixes, replies) -> scored replies.

    `places` are the (row index, sample index) of the replies; `rows` are all rows of the evaluation, without images.
    A reply to a row without a reference is not right.
    """
    accuracy, form = make_accuracy_reward(response_format), make_format_reward(response_format)

    def score(
        variant: str,
        rows: Sequence[Row],
        places: Sequence[tuple[int, int]],
        prefixes: Sequence[str],
        replies: Sequence[Reply],
    ) -> list[ScoredReply]:
        texts = [reply.text for reply in replies]
        asked = [rows[index] for index, _ in places]
        columns = {name: [row.get(name) for row in asked] for name in ("answer", "options", "task", "alternatives")}
        rewards = zip(accuracy(texts, **columns), form(texts), strict=True)
        return [
            _scored(variant, row, place, prefix, reply, right or 0.0, formed, response_format)
            for row, place, prefix, reply, (right, formed) in zip(
                asked, places, prefixes, replies, rewards, strict=True
            )
        ]

    return score


def _scored(
    variant: str,
    row: Row,
    place: tuple[int, int],
    prefix: str,
    reply: Reply,
    score: float,
    formed: float,
    response_format: ResponseFormat,
) -> ScoredReply:
    return ScoredReply(
        variant=variant,
        row=place[0],
        row_id=str(row["id"]),
        question=str(row["question"]),
        reference=str(row["answer"]),
        task=str(row.get("task") or ""),
        family=str(row.get("family") or ""),
        sample=place[1],
        prefix=prefix,
        text=reply.text,
        answer=response_format.answer(reply.text),
        ended=reply.ended,
        tokens=reply.tokens,
        token_ids=reply.token_ids,
        score=score,
        right=score >= RIGHT,
        structured=bool(response_format.spans(reply.text)),
        format=formed,
        **_perception_grades(row, reply.text, response_format),
    )


def _perception_grades(row: Row, text: str, response_format: ResponseFormat) -> dict[str, float]:
    """Grades of the stated perception; {} where the truth is not known, and for a reply that is not structured."""
    grades = perception_scores(text, row, response_format)
    if grades is None:
        return {}
    return {
        "perception_precision": grades["precision"],
        "perception_recall": grades["recall"],
        "perception_needed": grades["needed_right"],
    }
