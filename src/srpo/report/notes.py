"""What the weights of an inspected question stand on, in a sentence, for the terminal and for the page."""

from srpo.report.runs import WITHOUT_GAPS, RunFiles

_ASSUMED = {
    "no_answer": "Without --answer there are no rewards: weights are those of a right reply (A > 0).",
    "no_advantage": "All {count} replies got the same rewards, so A = 0 and training would learn nothing from them. "
    "Weights are those of a right reply (A > 0).",
}


def weights_note(credit: str, assumed: str, count: int) -> str:
    """How weights differ from those of training, or that a credit has none; "" where there is nothing to say.

    Args:
        credit: name of the token credit.
        assumed: of `srpo.evaluation.inspection.Inspection`.
        count: replies.
    """
    if credit in WITHOUT_GAPS:
        return f"credit {credit} weighs every token alike; --credit srpo shows the contrasts."
    return _ASSUMED.get(assumed, "").format(count=count)


def run_note(run: RunFiles) -> str:
    """The same, of the result of a run; "" for all but inspected questions."""
    if run.kind != "inspect" or run.result is None:
        return ""
    replies = run.result.get("replies")
    return weights_note(
        run.credit, str(run.result.get("weights_assume")), len(replies) if isinstance(replies, list) else 0
    )
