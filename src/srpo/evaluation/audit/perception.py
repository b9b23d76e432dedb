"""Grades of what a reply says it sees, where the truth is known, and whether a right answer rests on it."""

from collections.abc import Sequence

from srpo.data import world
from srpo.evaluation.audit.blocks import stated_perception
from srpo.evaluation.audit.rows import Row
from srpo.evaluation.audit.tally import Tally
from srpo.evaluation.store import ScoredReply
from srpo.roles import DEFAULT_FORMAT, ResponseFormat


def perception_scores(text: str, row: Row, response_format: ResponseFormat = DEFAULT_FORMAT) -> dict[str, float] | None:
    """Precision, recall and needed_right of what a reply states (`srpo.data.world.score_perception`).

    None where the row has no `truth`, and for a reply that is not structured: it states no perception.
    """
    stated = stated_perception(text, response_format)
    return world.score_perception(stated, row["truth"]) if row.get("truth") and stated is not None else None


def perception_tallies(rows: Sequence[Row], as_is: Sequence[ScoredReply]) -> dict[str, Tally]:
    """Perception accuracy and what right answers rest on, over the rows with `truth`.

    perception/precision, perception/recall, perception/needed: means over structured replies.
    With r = answer right and f = needed facts right, over all replies:
    grounded_accuracy = P(r and f), lucky_rate = P(r and not f, structured), unsupported_rate = P(r, not structured).
    These three add up to P(r), the share of right replies; lucky_share = lucky_rate / P(r).
    """
    figures = ("precision", "recall", "needed")
    of_perception = {f"perception/{name}": Tally() for name in figures}
    outcomes = {name: Tally() for name in ("grounded_accuracy", "lucky_rate", "unsupported_rate")}
    share = Tally()
    for reply in as_is:
        if not rows[reply.row].get("truth"):
            continue
        stated = reply.perception_needed is not None
        needed = reply.perception_needed == 1.0
        for name, tally in zip(figures, of_perception.values(), strict=True):
            if stated:
                tally.add(reply.row, getattr(reply, f"perception_{name}"))
        kinds = (needed, stated and not needed, not stated)
        for kind, tally in zip(kinds, outcomes.values(), strict=True):
            tally.add(reply.row, reply.right and kind)
        if reply.right:
            share.add(reply.row, stated and not needed)
    return {**of_perception, **outcomes, "lucky_share": share}
