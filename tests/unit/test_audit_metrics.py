"""The formulas of the audit on replies made by hand."""

import dataclasses

import pytest

from srpo.evaluation.audit import audit_metrics, audit_metrics_by, legend, perception_scores
from srpo.evaluation.store import ScoredReply
from tests.audited import blocks, number_rows, world_rows

PIPS = {
    **world_rows(1)[0],
    "question": "Sum of pips on the red tiles?",
    "answer": "10",
    "truth": '{"family": "pips", "facts": ["red 4", "blue 2", "red 6"], "needed": ["red 4", "red 6"],'
    ' "query": {"color": "red"}}',
}
BARE = ScoredReply("as_is", 0, "r", "q", "10", "math", "", 0, "", "", None, True, 1, [1], 0.0, False, False, 0.0)


def scored(**fields):
    """A reply with these fields."""
    return dataclasses.replace(BARE, **fields)


def pips_reply(perception, right, sample=0, row=0):
    """A structured reply to PIPS, graded."""
    text = blocks(perception, "10" if right else "9")
    grades = perception_scores(text, PIPS)
    return scored(
        row=row,
        sample=sample,
        text=text,
        score=float(right),
        right=right,
        structured=True,
        perception_precision=grades["precision"],
        perception_recall=grades["recall"],
        perception_needed=grades["needed_right"],
    )


def values(estimates):
    return {name: estimate.value for name, estimate in estimates.items() if estimate is not None}


def test_grades_of_a_perception_by_hand():
    assert perception_scores(blocks("red 4 ; blue 5 ; red 6", "10"), PIPS) == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "needed_right": 1.0,
    }
    assert perception_scores("<answer>10</answer>", PIPS) is None
    assert perception_scores(blocks("3", "3"), number_rows()[3]) is None


def test_right_answers_divide_into_grounded_lucky_and_unsupported():
    as_is = [
        pips_reply("red 4 ; blue 2 ; red 6", right=True, sample=0),  # grounded; precision 1, recall 1
        pips_reply("red 4 ; red 6", right=True, sample=1),  # grounded; 1, 2/3
        pips_reply("red 5 ; red 5", right=True, sample=2),  # lucky; 0, 0
        pips_reply("red 4 ; blue 2 ; red 6", right=False, sample=3),  # facts right, answer wrong; 1, 1
        scored(sample=0, row=1, text="<answer> 10 </answer>", score=1.0, right=True),  # unsupported
        pips_reply("blue 2", right=False, sample=1, row=1),  # nothing; 1, 1/3
        scored(sample=2, row=1, text="I do not know"),
        scored(sample=3, row=1, text="I do not know"),
    ]
    figures = values(audit_metrics([PIPS, PIPS], {"as_is": as_is}))
    assert figures == {
        "perception/precision": pytest.approx(4 / 5),
        "perception/recall": pytest.approx((1 + 2 / 3 + 0 + 1 + 1 / 3) / 5),
        "perception/needed": pytest.approx(3 / 5),
        "grounded_accuracy": pytest.approx(2 / 8),
        "lucky_rate": pytest.approx(1 / 8),
        "unsupported_rate": pytest.approx(1 / 8),
        "lucky_share": pytest.approx(1 / 4),
    }


def test_vision_gain_is_paired_and_over_questions():
    """Differences 1, 0 for the first question and 0.5, -0.5 for the second: mean 1/4, two questions."""
    as_is = [scored(row=r, sample=s, score=x) for r, s, x in ((0, 0, 1.0), (0, 1, 1.0), (1, 0, 0.5), (1, 1, 0.0))]
    blank = [scored(row=r, sample=s, score=x) for r, s, x in ((0, 0, 0.0), (0, 1, 1.0), (1, 0, 0.0), (1, 1, 0.5))]
    gain = audit_metrics(number_rows(2), {"as_is": as_is, "blank": blank})["vision_gain/blank"]
    assert gain.value == 0.25
    assert gain.n == 2
    assert (gain.low, gain.high) == (0.0, 0.5)  # only three figures can be resampled: 0, 0.25 and 0.5


def test_figures_of_each_family_rest_on_its_own_questions():
    rows = [PIPS] * 3
    families = ("chain", "pips", "")
    as_is = [scored(row=i, score=1.0, right=True, family=family) for i, family in enumerate(families)]
    swapped = [dataclasses.replace(reply, variant="swapped", score=float(reply.row)) for reply in as_is]
    found = audit_metrics_by("family", rows, {"as_is": as_is, "swapped": swapped})
    gains = {family: figures["vision_gain/swapped"] for family, figures in found.items()}
    assert {family: (gain.value, gain.n) for family, gain in gains.items()} == {"chain": (1.0, 1), "pips": (0.0, 1)}
    assert found["pips"]["vision_gain/blank"] is None


def test_what_becomes_of_the_answer_to_edited_facts():
    """Edited to red 1 ; blue 2 ; red 6, whose sum is 7: followed once, kept once, lost twice; by chance 7 once."""
    prefix = "<perception> red 1 ; blue 2 ; red 6 </perception>"
    given = ["<answer> 7.0 </answer>", "<answer> 10 </answer>", "<answer> 8 </answer>", " and so on"]
    edited = [scored(sample=i, prefix=prefix, text=prefix + text) for i, text in enumerate(given)]
    as_is = [scored(sample=i, text=blocks("red 4", answer)) for i, answer in enumerate(("10", "10", "7", "9"))]
    figures = values(audit_metrics([PIPS], {"as_is": as_is, "edited": edited}))
    assert figures["reliance/edited"] == 0.25
    assert figures["reliance/edited_stays"] == 0.25
    assert figures["reliance/edited_other"] == 0.5
    assert figures["reliance/edited_chance"] == 0.25


def test_a_change_is_another_answer_by_the_grader_and_never_a_missing_one():
    as_is = [scored(sample=i, text=blocks("x", "1/2")) for i in range(4)]
    other = [blocks("y", "0.5"), blocks("y", "3"), "<perception> y </perception> I", blocks("y", "4")]
    own = [blocks("x", "1/2"), blocks("x", "0.50"), blocks("x", "1/2"), blocks("x", "5")]
    replies = {
        "as_is": as_is,
        "other_perception": [scored(sample=i, text=text) for i, text in enumerate(other)],
        "own_perception": [scored(sample=i, text=text) for i, text in enumerate(own)],
    }
    figures = values(audit_metrics(number_rows(1), replies))
    assert figures["reliance/other_changes"] == 0.5
    assert figures["reliance/own_changes"] == 0.25
    assert figures["reliance/other"] == 0.25


def test_options_are_compared_by_letter_and_by_text():
    row = number_rows(1, options=["red", "blue"])[0] | {"task": "choice", "answer": "A"}
    replies = {
        "as_is": [scored(text=blocks("x", "B"))],
        "other_perception": [scored(text=blocks("y", "blue"))],
        "own_perception": [scored(text=blocks("x", "B"))],
    }
    assert values(audit_metrics([row], replies))["reliance/other_changes"] == 0


def test_an_answer_that_is_no_reference_is_compared_as_text():
    row = number_rows(1, options=["red", "blue"])[0] | {"task": "choice", "answer": "A"}
    replies = {
        "as_is": [scored(text=blocks("x", "green")), scored(text=blocks("x", "green"), sample=1)],
        "other_perception": [scored(text=blocks("y", "Green.")), scored(text=blocks("y", "A"), sample=1)],
        "own_perception": [scored(text=blocks("x", "green")), scored(text=blocks("x", ""), sample=1)],
    }
    figures = values(audit_metrics([row], replies))
    assert figures["reliance/other_changes"] == 0.5


def test_without_replies_to_a_variant_its_figures_are_none():
    estimates = audit_metrics(number_rows(1), {"as_is": [scored(text=blocks("x", "0"))]})
    assert set(values(estimates)) == set()
    assert "reliance/other" in estimates


def test_replies_to_other_rows_are_refused():
    edited = scored(prefix="<perception> top 3 </perception>", text="<perception> top 3 </perception>")
    with pytest.raises(ValueError, match="draw them again"):
        audit_metrics([PIPS], {"as_is": [scored()], "edited": [edited]})


def test_an_answer_that_is_no_range_is_compared_as_text():
    """The grader refuses such a reference: "about three" is no range."""
    row = number_rows(1)[0] | {"task": "range", "answer": "3"}
    replies = {
        "as_is": [scored(text=blocks("x", "about three"))],
        "other_perception": [scored(text=blocks("y", "About three"))],
        "own_perception": [scored(text=blocks("x", "4"))],
    }
    figures = values(audit_metrics([row], replies))
    assert (figures["reliance/other_changes"], figures["reliance/own_changes"]) == (0, 1)


def test_the_legend_says_what_is_shown_and_what_could_not_be_measured():
    lines = legend(["vision_gain/blank", "reliance/other", "reliance/other_changes"])
    assert [line.split(":")[0] for line in lines] == ["vision_gain", "reliance/other", "not measured"]
    assert "no row has `truth`" in lines[-1]
    assert not any(
        line.startswith("not measured")
        for line in legend(["vision_gain/blank", "grounded_accuracy", "reliance/edited"])
    )


def test_shares_of_none_or_all_have_an_interval_and_differences_do_not():
    rows = [PIPS] * 3
    as_is = [pips_reply("red 4 ; blue 2 ; red 6", right=True, row=row) for row in range(3)]
    blind = [scored(variant="blank", row=row, score=1.0, right=True) for row in range(3)]
    found = audit_metrics(rows, {"as_is": as_is, "blank": blind})
    assert (found["grounded_accuracy"].low, found["grounded_accuracy"].high) == pytest.approx((0.025 ** (1 / 3), 1.0))
    assert (found["lucky_rate"].low, found["lucky_rate"].high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 3)))
    assert (found["vision_gain/blank"].low, found["vision_gain/blank"].high) == (0.0, 0.0)
