"""Figures of k scored replies a question: accuracy, pass@k, maj@k, format, lengths. docs/evaluation.md defines them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import comb
from statistics import fmean
from typing import Any

from srpo.evaluation.audit.answers import same_answer
from srpo.evaluation.bootstrap import Bootstrap, Estimate
from srpo.evaluation.store import ScoredReply

Estimates = dict[str, Estimate]
Row = Mapping[str, Any]
MAX_CHARACTERS = 200  # of an answer that is compared with others for the vote; a longer one stands alone


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Chance that at least one of k replies drawn from the samples is right: 1 - C(n - c, k) / C(n, k), unbiased.

    Args:
        samples: n, the replies to the question.
        right: c, the right ones among them.
        k: how many are drawn, without putting back.

    Raises:
        ValueError: for k above n.

    Source: Chen et al. 2021 (2107.03374).
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs k from 1 to the {samples} replies of a question; draw more samples")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def majority_score(replies: Sequence[ScoredReply], row: Row) -> float:
    """Is the most frequent answer to a question right?

    Replies vote with their answers; equal answers, by the grader of the rewards, vote together, and a reply without an
    answer block does not vote. Ties are broken by chance, in expectation: the mean, over the answers with the most
    votes, of the share of right replies among those that gave it. Without a vote 0.

    Args:
        replies: the replies to one question.
        row: the question, with its options and task.
    """
    groups = answer_groups(replies, row)
    most = max(map(len, groups), default=0)
    return fmean(fmean(reply.right for reply in group) for group in groups if len(group) == most) if groups else 0.0


def answer_groups(replies: Iterable[ScoredReply], row: Row) -> list[list[ScoredReply]]:
    """Replies with equal answers, in the order of their first ones, with which the others are compared."""
    groups: list[list[ScoredReply]] = []
    compared = {**row, "task": "math"} if str(row.get("task") or "").startswith("range") else row
    for reply in replies:
        if reply.answer is None or not reply.answer.strip():
            continue
        group = next((group for group in groups if _same(reply.answer, str(group[0].answer), compared)), None)
        if group is None:
            groups.append([reply])
        else:
            group.append(reply)
    return groups


def _same(answer: str, other: str, row: Row) -> bool:
    if answer.split() == other.split():
        return True
    return max(len(answer), len(other)) <= MAX_CHARACTERS and same_answer(answer, other, row)


def estimates(replies: Sequence[ScoredReply], rows: Sequence[Row], bootstrap: Bootstrap) -> Estimates:
    """Every figure of plain replies: means over questions of means over their replies.

    Args:
        replies: as many to each question.
        rows: all rows of the evaluation, which `ScoredReply.row` counts.
        bootstrap: of the intervals.
    """
    questions = by_question(replies)
    samples = min(map(len, questions.values()))
    figures: dict[str, Callable[[int, Sequence[ScoredReply]], float]] = {
        "accuracy": lambda _, group: fmean(reply.score for reply in group),
        **{f"pass@{k}": _pass_figure(k) for k in reported_k(samples)},
    }
    if samples > 1:
        figures[f"maj@{samples}"] = lambda row, group: majority_score(group, rows[row])
    figures |= {
        "structured": lambda _, group: fmean(reply.structured for reply in group),
        "format": lambda _, group: fmean(reply.format for reply in group),
        "ended": lambda _, group: fmean(reply.ended for reply in group),
        "tokens": lambda _, group: fmean(reply.tokens for reply in group),
    }
    return {
        name: bootstrap.mean([figure(row, group) for row, group in questions.items()], share=name != "tokens")
        for name, figure in figures.items()
    }


def estimates_by(
    column: str, replies: Sequence[ScoredReply], rows: Sequence[Row], bootstrap: Bootstrap
) -> dict[str, Estimates]:
    """`estimates` for each value of a column of the replies, such as task or family; {} where all are empty."""
    kinds: defaultdict[str, list[ScoredReply]] = defaultdict(list)
    for reply in replies:
        kinds[getattr(reply, column)].append(reply)
    return {kind: estimates(kinds[kind], rows, bootstrap) for kind in sorted(kinds) if kind}


def by_question(replies: Iterable[ScoredReply]) -> dict[int, list[ScoredReply]]:
    """Row index -> the replies to that question."""
    questions: defaultdict[int, list[ScoredReply]] = defaultdict(list)
    for reply in replies:
        questions[reply.row].append(reply)
    return dict(questions)


def reported_k(samples: int) -> list[int]:
    """The k of pass@k: powers of two up to the number of samples, and that number; without 1, which is the accuracy."""
    powers = [2**i for i in range(1, samples.bit_length()) if 2**i < samples]
    return [*powers, samples] if samples > 1 else []


def _pass_figure(k: int) -> Callable[[int, Sequence[ScoredReply]], float]:
    return lambda _, group: pass_at_k(len(group), sum(reply.right for reply in group), k)
