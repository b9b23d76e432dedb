"""The audit of scripted models, whose right figures are known: each shows up for what it is."""

import pytest

from srpo.evaluation.audit import audit_metrics
from srpo.prompts import build_prompt
from srpo.roles import ResponseFormat
from tests.audited import (
    Fickle,
    Guesser,
    ImageReader,
    Knower,
    Lucky,
    Mixed,
    PerceptionReader,
    Terse,
    audit,
    number_rows,
    world_rows,
)
from tests.unit.test_audit_metrics import scored

TAGS = ResponseFormat("see", "reason", "solution")
VISION = ("vision_gain/corrupted", "vision_gain/blank", "vision_gain/swapped")
PERCEPTION = ("perception/precision", "perception/recall", "perception/needed")
EDITED = ("reliance/edited", "reliance/edited_stays", "reliance/edited_other", "reliance/edited_chance")
OTHER = ("reliance/other", "reliance/other_changes", "reliance/own_changes")
SUPPORT = ("grounded_accuracy", "lucky_rate", "unsupported_rate", "lucky_share")


def of(figures, names):
    return tuple(figures.get(name) for name in names)


@pytest.mark.parametrize("tags", [ResponseFormat(), TAGS], ids=str)
def test_who_reads_the_image_gains_all_by_it_and_heeds_no_edit(tmp_path, tags):
    plain, figures = audit(ImageReader(world_rows(), tags), tmp_path)
    assert plain["accuracy"] == 1
    assert of(figures, VISION) == (1, 1, 1)
    assert of(figures, PERCEPTION) == (1, 1, 1)
    assert of(figures, SUPPORT) == (1, 0, 0, 0)
    assert of(figures, EDITED) == (0, 1, 0, 0)
    assert of(figures, OTHER) == (None, None, None)  # the truth is known, so the perception is edited instead


@pytest.mark.parametrize("tags", [ResponseFormat(), TAGS], ids=str)
def test_who_reads_only_its_perception_follows_every_edit(tmp_path, tags):
    plain, figures = audit(PerceptionReader(world_rows(), tags), tmp_path)
    assert plain["accuracy"] == 1
    assert of(figures, VISION) == (1, 1, 1)
    assert of(figures, EDITED) == (1, 0, 0, 0)
    assert of(figures, SUPPORT) == (1, 0, 0, 0)


def test_who_guesses_gains_nothing_by_the_image(tmp_path):
    rows = world_rows(60, families=["pips"])
    plain, figures = audit(Guesser(rows), tmp_path)
    hits = [row for row in rows if row["answer"] == "5"]
    assert 0 < len(hits) < 60
    assert plain["accuracy"] == len(hits) / 60
    assert of(figures, VISION) == (0, 0, 0)
    assert figures["grounded_accuracy"] + figures["lucky_rate"] == pytest.approx(len(hits) / 60)
    assert figures["reliance/edited"] == figures["reliance/edited_chance"]  # what it follows, it follows by chance


def test_who_answers_right_with_wrong_facts_is_lucky(tmp_path):
    plain, figures = audit(Lucky(world_rows()), tmp_path)
    assert plain["accuracy"] == 1
    assert of(figures, PERCEPTION) == (0, 0, 0)
    assert of(figures, SUPPORT) == (0, 1, 0, 1)
    assert of(figures, EDITED) == (0, 1, 0, 0)


def test_a_right_answer_without_a_perception_is_neither_grounded_nor_lucky(tmp_path):
    plain, figures = audit(Terse(world_rows()), tmp_path)
    assert plain["accuracy"] == 1
    assert plain["structured"] == 0
    assert of(figures, PERCEPTION) == (None, None, None)
    assert of(figures, SUPPORT) == (0, 0, 1, 0)
    assert of(figures, EDITED) == (0, 1, 0, 0)  # the edited perception is put before its answer all the same


@pytest.mark.parametrize("tags", [ResponseFormat(), TAGS], ids=str)
def test_without_truth_the_perception_of_another_reply_is_swapped_in(tmp_path, tags):
    rows = number_rows()
    _, reader = audit(PerceptionReader(rows, tags), tmp_path / "a")
    _, ignorer = audit(ImageReader(rows, tags), tmp_path / "b")
    _, fickle = audit(Fickle(rows, tags), tmp_path / "c")
    assert of(reader, OTHER) == (1, 1, 0)
    assert of(ignorer, OTHER) == (0, 0, 0)
    assert of(fickle, OTHER) == (0, 1, 1)  # it changes as often when it goes on from its own perception
    assert of(reader, (*PERCEPTION, *SUPPORT, *EDITED)) == (None,) * 11
    assert of(reader, VISION) == (1, 1, 1)


def test_replies_of_six_kinds_are_told_apart(tmp_path):
    """Two of them follow an edit, and one is never right. Corrupted images mislead two, blank ones three, swapped four.

    Each has 10 replies to rows with an image and 2 to rows without, which a gain must leave out.
    """
    rows = world_rows(30, families=["pips"])
    imageless = number_rows(images=[], prompt=build_prompt("Which number?", 0, structured=True))
    everything = rows + imageless
    models = [
        PerceptionReader(everything),
        Knower(everything, {"legible", "blank"}),
        Knower(everything),
        PerceptionReader(everything),
        Knower(everything, {"legible"}),
        Fickle(everything),
    ]
    plain, figures = audit(Mixed(everything, 2, models), tmp_path)
    assert plain["accuracy"] == pytest.approx((5 * 10 + 2 * 2) / 72)  # two know it without an image
    assert of(figures, VISION) == pytest.approx((2 / 6, 3 / 6, 4 / 6))
    assert of(figures, EDITED) == pytest.approx((2 / 6, 3 / 6, 1 / 6, 0))
    assert of(figures, SUPPORT) == pytest.approx((5 / 6, 0, 0, 0))


def test_a_third_that_goes_by_its_perception_shows_beside_a_third_that_changes_anyway(tmp_path):
    rows = number_rows()
    _, figures = audit(Mixed(rows, 2, [PerceptionReader(rows), ImageReader(rows), Fickle(rows)]), tmp_path)
    assert of(figures, OTHER) == pytest.approx((1 / 3, 2 / 3, 1 / 3))


def test_rows_without_image_have_no_vision_gain(tmp_path):
    rows = [row | {"images": [], "prompt": [{"role": "user", "content": row["question"]}]} for row in number_rows()]
    model = Guesser(rows)
    model.question = lambda request: rows[0]
    _, figures = audit(model, tmp_path)
    assert of(figures, VISION) == (None, None, None)


def test_each_variant_is_drawn_once_a_reply(tmp_path):
    model = PerceptionReader(world_rows() + number_rows())
    audit(model, tmp_path, samples=3)
    variants = [request.key.split("/")[0] for request in model.asked[18 * 3 :]]
    assert {name: variants.count(name) for name in set(variants)} == {
        "corrupted": 18 * 3,
        "blank": 18 * 3,
        "swapped": 18 * 3,
        "edited": 12 * 3,
        "own_perception": 6 * 3,
        "other_perception": 6 * 3,
    }


def test_a_mixed_set_is_audited_part_by_part(tmp_path):
    """Half of the rows have a truth: what needs one rests on these 6 questions, what needs none on the other 6."""
    rows = world_rows(6) + number_rows()
    _, figures = audit(PerceptionReader(rows), tmp_path)
    assert figures["reliance/edited"] == figures["reliance/other"] == figures["grounded_accuracy"] == 1
    replies = {"as_is": [scored(row=row) for row in range(12)]}
    estimates = audit_metrics(rows, replies)
    assert estimates["grounded_accuracy"].n == 6
