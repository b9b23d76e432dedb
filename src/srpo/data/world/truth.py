"""What follows from a row's `truth`: the reference reply, grades of a perception, answers to edited perceptions."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from srpo.data.schema import DataError
from srpo.data.world.families import family
from srpo.data.world.scene import Solution, split_clauses

if TYPE_CHECKING:
    from srpo.roles import ResponseFormat


def read_truth(truth: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """The `truth` column as a mapping with family, facts, needed and query; takes the JSON text or the mapping."""
    parsed = json.loads(truth) if isinstance(truth, str) else truth
    missing = [key for key in ("family", "facts", "needed", "query") if key not in parsed]
    if missing:
        raise DataError(f"truth lacks {', '.join(missing)}; pass the column `truth` of a row of the built-in world")
    return parsed


def recompute(truth: str | Mapping[str, Any], facts: Sequence[str]) -> Solution:
    """Perception, derivation and answer of the same question for other facts; DataError where they do not suffice."""
    truth = read_truth(truth)
    return family(truth["family"]).solve(truth["query"], facts)


def reply(row: Mapping[str, Any], response_format: "ResponseFormat | None" = None) -> str:
    """The reference reply of a row: true perception, derivation and answer in the blocks of the response format."""
    from srpo.roles import ResponseFormat

    truth = read_truth(row["truth"])
    solution = recompute(truth, truth["facts"])
    response_format = response_format or ResponseFormat()
    texts = {
        "perception": solution.perception,
        "reasoning": solution.derivation,
        "answer": solution.answer,
    }
    blocks = []
    for name, text in texts.items():
        opening, closing = response_format.block(name)
        blocks.append(f"{opening} {text} {closing}")
    return "".join(blocks)


def edited(truth: str | Mapping[str, Any], rng: random.Random) -> Solution:
    """The solution after one needed fact was changed such that the answer changes too.

    Continue a policy from the edited perception: a policy that relies on its perception gives this answer.
    """
    truth = read_truth(truth)
    member, facts = family(truth["family"]), list(truth["facts"])
    original = member.derive(truth["query"], facts)[1]
    places = [i for i, fact in enumerate(facts) if fact in truth["needed"]]
    rng.shuffle(places)
    for i in places:
        choices = member.alternatives(facts[i])
        rng.shuffle(choices)
        for choice in choices:
            solution = member.solve(truth["query"], [*facts[:i], choice, *facts[i + 1 :]])
            if solution.answer != original:
                return solution
    raise DataError(f"no change of one needed fact changes the answer {original!r} of this scene; leave the row out")


def score_perception(text: str, truth: str | Mapping[str, Any]) -> dict[str, float]:
    """Grade a written perception against the true facts, as multisets.

    precision = matched / stated, recall = matched / true; needed_right is 1 when the stated facts that the answer rests
    on are exactly the true ones. A clause that cannot be read counts as one wrong fact; without any fact all are 0.
    """
    truth = read_truth(truth)
    member = family(truth["family"])
    stated: list[str] = []
    unreadable = 0
    for clause in split_clauses(text):
        facts = member.parse_clause(clause)
        if facts is None:
            unreadable += 1
        else:
            stated.extend(facts)
    matched = (Counter(stated) & Counter(truth["facts"])).total()
    needed = Counter(member.needed(truth["query"], stated))
    return {
        "precision": matched / (len(stated) + unreadable) if stated else 0.0,
        "recall": matched / len(truth["facts"]),
        "needed_right": float(bool(stated) and needed == Counter(truth["needed"])),
    }
