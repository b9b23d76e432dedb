"""The figures of the grounding audit (docs/evaluation.md)."""

from collections.abc import Iterable, Mapping, Sequence

from srpo.evaluation.audit.perception import perception_tallies
from srpo.evaluation.audit.reliance import edited_tallies, other_tallies
from srpo.evaluation.audit.rows import Row, without_images
from srpo.evaluation.audit.tally import Tally
from srpo.evaluation.audit.variants import IMAGE_VARIANTS
from srpo.evaluation.bootstrap import Bootstrap, Estimate
from srpo.evaluation.store import AS_IS, ScoredReply
from srpo.roles import DEFAULT_FORMAT, ResponseFormat


def audit_metrics(
    rows: Iterable[Row],
    replies: Mapping[str, Sequence[ScoredReply]],
    *,
    response_format: ResponseFormat = DEFAULT_FORMAT,
    bootstrap: Bootstrap | None = None,
) -> dict[str, Estimate | None]:
    """Every figure of the audit, None where nothing tells it: no truth, no image, or a variant that was not drawn.

    Args:
        rows: the rows of the evaluation.
        replies: variant -> its replies; the plain ones are "as_is".
        response_format: the tags.
        bootstrap: how intervals are drawn.
    """
    table = without_images(rows)
    as_is = replies[AS_IS]
    by_key = {(reply.row, reply.sample): reply for reply in as_is}
    drawn = {name: replies.get(name, ()) for name in (*IMAGE_VARIANTS, "edited", "own_perception", "other_perception")}
    tallies = {f"vision_gain/{name}": vision_gain(by_key, drawn[name]) for name in IMAGE_VARIANTS}
    tallies |= perception_tallies(table, as_is)
    tallies |= edited_tallies(table, by_key, drawn["edited"], response_format)
    tallies |= other_tallies(table, by_key, drawn["own_perception"], drawn["other_perception"], response_format)
    intervals = bootstrap or Bootstrap()
    return {name: tally.estimate(intervals) for name, tally in tallies.items()}


def audit_metrics_by(
    column: str,
    rows: Sequence[Row],
    replies: Mapping[str, Sequence[ScoredReply]],
    *,
    response_format: ResponseFormat = DEFAULT_FORMAT,
    bootstrap: Bootstrap | None = None,
) -> dict[str, dict[str, Estimate | None]]:
    """`audit_metrics` for each value of a column of the replies, such as task or family; {} where all are empty."""
    kinds = sorted({getattr(reply, column) for reply in replies[AS_IS]} - {""})
    return {
        kind: audit_metrics(
            rows,
            {name: [reply for reply in drawn if getattr(reply, column) == kind] for name, drawn in replies.items()},
            response_format=response_format,
            bootstrap=bootstrap,
        )
        for kind in kinds
    }


def vision_gain(as_is: Mapping[tuple[int, int], ScoredReply], changed: Iterable[ScoredReply]) -> Tally:
    """Score with the image minus score with a changed image, paired by (row, sample)."""
    tally = Tally(share=False)
    for reply in changed:
        tally.add(reply.row, as_is[reply.row, reply.sample].score - reply.score)
    return tally
