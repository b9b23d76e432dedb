"""Properties of the audit's figures for any replies."""

import dataclasses
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srpo.evaluation.audit import audit_metrics
from srpo.evaluation.bootstrap import Bootstrap
from tests.audited import blocks, number_rows, world_rows
from tests.unit.test_audit_metrics import scored

WORLD, NUMBERS = world_rows(4, families=["pips"]), number_rows(4)
EDITED = "<perception> red 1 ; blue 2 ; green 3 </perception>"
FEW = Bootstrap(resamples=50)
DIFFERENCES = ("vision_gain/corrupted", "vision_gain/blank", "vision_gain/swapped", "reliance/other")

grades = st.floats(0, 1)
replies = st.fixed_dictionaries(
    {
        "right": st.booleans(),
        "structured": st.booleans(),
        "needed": st.booleans(),
        "precision": grades,
        "recall": grades,
        "answers": st.lists(st.sampled_from(["1", "2", "3", None]), min_size=3, max_size=3),
        "seen": st.lists(st.booleans(), min_size=3, max_size=3),
    }
)
tables = st.lists(st.lists(replies, min_size=2, max_size=2), min_size=8, max_size=8)


def text(prefix, answer):
    return prefix if answer is None else blocks("", answer, prefix=prefix)


def replies_of(table, order):
    """Rows, of both kinds, in an order, and all replies to them."""
    rows = [(WORLD + NUMBERS)[i] for i in order]
    found = {
        name: [] for name in ("as_is", "corrupted", "blank", "swapped", "edited", "own_perception", "other_perception")
    }
    for row, place in enumerate(order):
        for sample, drawn in enumerate(table[place]):
            graded = place < 4 and drawn["structured"]
            plain = scored(
                row=row,
                sample=sample,
                text=text("<perception> 5 </perception>", drawn["answers"][0] or "4"),
                right=drawn["right"],
                score=float(drawn["right"]),
                structured=drawn["structured"],
                perception_precision=drawn["precision"] if graded else None,
                perception_recall=drawn["recall"] if graded else None,
                perception_needed=float(drawn["needed"]) if graded else None,
            )
            found["as_is"].append(plain)
            for name, seen in zip(("corrupted", "blank", "swapped"), drawn["seen"], strict=True):
                found[name].append(dataclasses.replace(plain, score=float(seen)))
            names = ("edited",) if place < 4 else ("own_perception", "other_perception")
            for name, answer in zip(names, drawn["answers"][1:], strict=False):
                found[name].append(dataclasses.replace(plain, prefix=EDITED, text=text(EDITED, answer)))
    return rows, found


@given(tables)
@settings(max_examples=40, deadline=None)
def test_figures_lie_in_their_ranges_and_add_up(table):
    rows, found = replies_of(table, range(8))
    figures = audit_metrics(rows, found, bootstrap=FEW)
    for name, estimate in figures.items():
        if estimate is not None:
            assert (-1 if name in DIFFERENCES else 0) <= estimate.low <= estimate.high <= 1 + 1e-12
            assert estimate.n <= 8
            assert math.isfinite(estimate.value)
    value = {name: estimate.value for name, estimate in figures.items() if estimate is not None}
    of_world = [reply for reply in found["as_is"] if reply.row < 4]
    right = sum(reply.right for reply in of_world) / len(of_world)
    stated = sum(reply.right and reply.structured for reply in of_world) / len(of_world)
    assert value["grounded_accuracy"] + value["lucky_rate"] == pytest.approx(stated)
    assert value["grounded_accuracy"] + value["lucky_rate"] + value["unsupported_rate"] == pytest.approx(right)
    outcomes = [value[f"reliance/{name}"] for name in ("edited", "edited_stays", "edited_other")]
    assert sum(outcomes) == pytest.approx(1)
    assert value["reliance/other"] == pytest.approx(value["reliance/other_changes"] - value["reliance/own_changes"])
    if right:
        assert value["lucky_share"] == pytest.approx(value["lucky_rate"] / right)


@given(tables, st.permutations(range(8)), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_and_of_replies_does_not_matter(table, order, seed):
    rows, found = replies_of(table, range(8))
    other_rows, other = replies_of(table, order)
    for of_variant in other.values():
        random.Random(seed).shuffle(of_variant)
    one, two = (audit_metrics(r, f, bootstrap=FEW) for r, f in ((rows, found), (other_rows, other)))
    assert {name: estimate and (pytest.approx(estimate.value), estimate.n) for name, estimate in one.items()} == {
        name: estimate and (estimate.value, estimate.n) for name, estimate in two.items()
    }
