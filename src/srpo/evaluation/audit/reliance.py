"""Does the answer follow from the perception that the reply states? Tell by exchanging the perception."""

from collections.abc import Mapping, Sequence

from srpo.data import world
from srpo.evaluation.audit.answers import answers
from srpo.evaluation.audit.blocks import perception_of_prefix
from srpo.evaluation.audit.rows import Row
from srpo.evaluation.audit.tally import Tally
from srpo.evaluation.store import ScoredReply
from srpo.roles import ResponseFormat


def edited_tallies(
    rows: Sequence[Row],
    as_is: Mapping[tuple[int, int], ScoredReply],
    edited: Sequence[ScoredReply],
    response_format: ResponseFormat,
) -> dict[str, Tally]:
    """What becomes of the answer when one needed fact of the perception is changed.

    reliance/edited: it is the answer to the edited facts; reliance/edited_stays: it is that of the image;
    reliance/edited_other: neither, or none. The three add up to 1. reliance/edited_chance: how often the plain reply of
    the same (row, sample) already gave the answer to the edited facts, which no perception told it.

    Args:
        rows: the rows.
        as_is: the plain replies by (row, sample).
        edited: the replies to the variant "edited"; the edited facts are read from their prefixes.
        response_format: the tags.
    """
    names = ("edited", "edited_stays", "edited_other", "edited_chance")
    tallies = {f"reliance/{name}": Tally() for name in names}
    for reply in edited:
        row = rows[reply.row]
        target = _answer_to_facts(row, perception_of_prefix(reply.prefix, response_format))
        follows = answers(reply.text, target, row, response_format)
        stays = not follows and answers(reply.text, str(row["answer"]), row, response_format)
        plain = as_is[reply.row, reply.sample]
        outcomes = (follows, stays, not (follows or stays), answers(plain.text, target, row, response_format))
        for tally, outcome in zip(tallies.values(), outcomes, strict=True):
            tally.add(reply.row, outcome)
    return tallies


def other_tallies(
    rows: Sequence[Row],
    as_is: Mapping[tuple[int, int], ScoredReply],
    own: Sequence[ScoredReply],
    other: Sequence[ScoredReply],
    response_format: ResponseFormat,
) -> dict[str, Tally]:
    """How often the answer changes with the perception, beyond how often it changes by being sampled again.

    reliance/other = reliance/other_changes - reliance/own_changes. A change is another answer than the plain reply of
    the same (row, sample) gave; a continuation without a closed answer block counts as no change. [choice]

    Args:
        rows: the rows.
        as_is: the plain replies by (row, sample).
        own: the replies to the variant "own_perception".
        other: the replies to the variant "other_perception", of the same (row, sample) pairs.
        response_format: the tags.
    """
    names = ("other", "other_changes", "own_changes")
    tallies = {f"reliance/{name}": Tally(share=name != "other") for name in names}
    controls = {(reply.row, reply.sample): reply for reply in own}
    for reply in other:
        key = (reply.row, reply.sample)
        changes, sampled_again = (
            _changes(continued, as_is[key], rows[reply.row], response_format) for continued in (reply, controls[key])
        )
        for tally, value in zip(tallies.values(), (changes - sampled_again, changes, sampled_again), strict=True):
            tally.add(reply.row, value)
    return tallies


def _answer_to_facts(row: Row, perception: str) -> str:
    truth = world.read_truth(row["truth"])
    facts = world.FAMILIES[truth["family"]].parse_facts(perception)
    if facts is None:
        raise ValueError(
            f"perception {perception!r} of a reply to {row['id']} is none of family {truth['family']}; the replies "
            "belong to other rows, so draw them again"
        )
    return world.recompute(truth, facts).answer


def _changes(reply: ScoredReply, plain: ScoredReply, row: Row, response_format: ResponseFormat) -> int:
    before = response_format.answer(plain.text)
    after = response_format.answer(reply.text)
    return int(after is not None and not answers(reply.text, before or "", row, response_format))
