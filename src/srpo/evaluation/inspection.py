"""What training would do with replies to one question: rewards, advantages, roles, gaps and weights of every token.

All numbers come from the trainer's own code (`srpo.evaluation.replay`). Axes: G replies, T completion tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from srpo.credit import token_advantages
from srpo.credits import CREDITS
from srpo.evaluation.replay import ReplayTrainer
from srpo.metrics import CreditBatch
from srpo.roles import Role, token_spans
from srpo.run.rollouts import rollout_record

STEP = 0  # in place of the optimizer steps done, which decide on the corruption
NO_ANSWER = "no_answer"
NO_ADVANTAGE = "no_advantage"


@dataclass(frozen=True)
class Inspection:
    """The replies to one question with their credit.

    Attributes:
        credit: the group as a trainer gives it to its observers, but that A is 0 and not what rounding leaves of it
            where a reply does not learn.
        assumed: "" where gaps and weights are those that training computes; else why they are those of replies with
            A > 0: NO_ANSWER, or NO_ADVANTAGE where all replies got the same rewards. All replies count as scored then.
    """

    credit: CreditBatch
    assumed: str

    @property
    def rewarded(self) -> bool:
        """Whether rewards and advantages mean something."""
        return self.assumed != NO_ANSWER


@dataclass(frozen=True)
class Reply:
    """One reply for reading; lists have one entry a token.

    Attributes:
        text: without special tokens.
        ids: of the tokens.
        spans: characters text[start:end] of each token; those of special tokens are empty.
        roles: 0 neutral, 1 perception, 2 reasoning.
        gaps: in nats.
        weights: of the credit.
        credits: Â_t = A · ((1 - λ) + λ · w_t); None without an answer.
        rewards: by reward function; {} without an answer.
        advantage: A, relative to the group; None without an answer.
        scored: whether gaps were measured: not in a reply that training learns nothing from.
        ended: by itself, not at the most tokens of a reply.
    """

    text: str
    ids: list[int]
    spans: list[tuple[int, int]]
    roles: list[int]
    gaps: list[float]
    weights: list[float]
    credits: list[float] | None
    rewards: dict[str, float | None]
    advantage: float | None
    scored: bool
    ended: bool

    @property
    def structured(self) -> bool:
        """Whether any token has a role."""
        return any(self.roles)


def inspect_replies(
    trainer: ReplayTrainer, row: dict[str, Any], *, rewarded: bool, replies: Sequence[Any] | None = None
) -> Inspection:
    """Sample `num_generations` replies to a row, or take the given ones, and give them the credit of training.

    Args:
        trainer: with the settings of the credit.
        row: a data row; without an answer where `rewarded` is false.
        rewarded: whether the rewards of the trainer mean something.
        replies: G texts or lists of completion tokens instead of sampled ones.
    """
    settings, seen = trainer.args, list[CreditBatch]()
    trainer.observers.append(seen.append)
    try:
        rows = [row] * trainer.num_generations
        rollouts = trainer.rollouts(rows, step=STEP, seed=f"inspect/{settings.seed}", replies=replies)
    finally:
        trainer.observers.remove(seen.append)
    assumed = NO_ANSWER if not rewarded else "" if rollouts.learns.any() else NO_ADVANTAGE
    credit = CREDITS[settings.credit]
    evidence = trainer.evidence(rollouts, [credit], all_rollouts=bool(assumed))
    weights = credit.weights(evidence, settings)
    advantages = rollouts.advantages
    found = replace(
        seen[0],
        batch=seen[0].batch | {"advantages": token_advantages(advantages, weights, strength=settings.credit_strength)},
        advantages=advantages,
        learns=torch.ones_like(rollouts.learns) if assumed else rollouts.learns,
        gaps=credit.gaps(evidence, settings),
        weights=weights,
    )
    return Inspection(found, assumed)


def readable(inspection: Inspection, tokenizer: Any) -> list[Reply]:
    """The G replies for reading."""
    found, rewarded = inspection.credit, inspection.rewarded
    replies = []
    for i, length in enumerate(found.batch["completion_mask"].sum(1).tolist()):
        ids = found.batch["completion_ids"][i, :length].tolist()
        text, spans = token_spans(ids, tokenizer)
        of_tokens = (found.roles, found.gaps, found.weights, found.batch["advantages"])
        roles, gaps, weights, credits = (values[i, :length].tolist() for values in of_tokens)
        replies.append(
            Reply(
                *(text, ids, spans, roles, gaps, weights, credits if rewarded else None),
                rewards={name: values[i] for name, values in found.rewards.items()} if rewarded else {},
                advantage=found.advantages[i].item() if rewarded else None,
                scored=bool(found.learns[i]),
                ended=bool(ids) and ids[-1] in found.eos,
            )
        )
    return replies


def records(inspection: Inspection, tokenizer: Any) -> list[dict[str, Any]]:
    """The G replies as a run saves its rollouts (`srpo.run.rollouts`); without an answer, the advantages are null."""
    found = [rollout_record(inspection.credit, i, tokenizer) for i in range(len(inspection.credit.rows))]
    unknown: dict[str, Any] = {} if inspection.rewarded else {"advantage": None, "rewards": []}
    return [record | unknown for record in found]


@dataclass(frozen=True)
class OfRole:
    """Figures of one role over replies: tokens, their share of all tokens, mean gap in nats, mean weight."""

    tokens: int
    share: float
    gap: float
    weight: float


def by_role(replies: Sequence[Reply]) -> dict[str, OfRole]:
    """Role -> figures over the tokens of scored replies; without roles that have no token."""
    tokens = [
        entry for reply in replies if reply.scored for entry in zip(reply.roles, reply.gaps, reply.weights, strict=True)
    ]
    found = {}
    for role in (Role.PERCEPTION, Role.REASONING, Role.NEUTRAL):
        of_role = [(gap, weight) for one, gap, weight in tokens if one == role]
        if of_role:
            gap, weight = (sum(column) / len(of_role) for column in zip(*of_role, strict=True))
            found[role.name.lower()] = OfRole(len(of_role), len(of_role) / len(tokens), gap, weight)
    return found


def highest_gaps(replies: Sequence[Reply], count: int) -> list[tuple[int, int]]:
    """(reply, token) of the role tokens with the highest gaps, the highest first; equal ones in reading order."""
    places = [(i, t) for i, reply in enumerate(replies) if reply.scored for t, role in enumerate(reply.roles) if role]
    return sorted(places, key=lambda place: -replies[place[0]].gaps[place[1]])[:count]
