"""What the audit asks again: images, donors, edited and exchanged perceptions, and where a variant does not apply."""

import json
import random

import numpy as np
import pytest
from PIL import Image
from transformers import AutoConfig, AutoProcessor

from srpo.corruption import corrupt
from srpo.data import load, world
from srpo.evaluation.audit import VARIANTS, AuditRequests, image_corruption
from srpo.evaluation.audit.blocks import perception_of_prefix, up_to_perception, written_perception
from srpo.evaluation.audit.donors import Donors, answers_differ
from srpo.prompts import build_prompt
from srpo.roles import ResponseFormat
from srpo.tiny import model_path
from tests.audited import FORMAT, blocks, number_rows, world_rows
from tests.unit.test_audit_metrics import scored

TAGS = ResponseFormat("see", "reason", "solution")


def replies_to(rows, samples=2, text=None, tags=FORMAT):
    return [
        scored(
            row=i,
            row_id=row["id"],
            sample=s,
            text=blocks(f"saw {i}.{s}", row["answer"], tags) if text is None else text,
        )
        for i, row in enumerate(rows)
        for s in range(samples)
    ]


def asked(variant, rows, **options):
    return list(AuditRequests(variant, rows, replies_to(rows), **options))


def pixels(images):
    return [image.tobytes() for image in images]


def test_images_are_exchanged_and_the_question_stays():
    rows = world_rows(6)
    for variant in ("corrupted", "blank", "swapped"):
        for i, request in enumerate(asked(variant, rows)):
            row = rows[i // 2]
            assert request.messages == row["prompt"]
            assert request.prefix == ""
            assert [image.size for image in request.images] == [(96, 96)]
            assert pixels(request.images) != pixels(row["images"])
    assert not np.asarray(asked("blank", rows)[0].images[0]).any()


def test_the_corrupted_image_is_that_of_training():
    """Black squares of 14 pixels on 60 % of 7 x 7 cells, round(29.4) = 29; each sample has a draw of its own."""
    rows = number_rows(1) + number_rows(1)
    white = Image.new("RGB", (98, 98), "white")
    rows = [row | {"images": [white], "id": f"{i}"} for i, row in enumerate(rows)]
    images = [np.asarray(request.images[0])[7::14, 7::14, 0] for request in asked("corrupted", rows)]
    assert [int((image == 0).sum()) for image in images] == [29] * 4
    assert len({image.tobytes() for image in images}) == 4


def test_draws_depend_on_seed_row_and_sample_alone():
    rows = world_rows(12) + number_rows()
    for variant in VARIANTS:
        first, again, other = (asked(variant, rows, seed=seed) for seed in (1, 1, 2))
        assert [(r and (r.key, r.prefix, pixels(r.images))) for r in first] == [
            (r and (r.key, r.prefix, pixels(r.images))) for r in again
        ]
        if variant not in ("blank", "own_perception"):
            assert [r and (r.prefix, pixels(r.images)) for r in first] != [
                r and (r.prefix, pixels(r.images)) for r in other
            ]


def test_a_request_is_told_to_apply_without_being_made():
    rows = world_rows(6) + number_rows()
    for variant in VARIANTS:
        requests = AuditRequests(variant, rows, replies_to(rows))
        assert [requests.applies(i) for i in range(len(requests))] == [request is not None for request in requests]


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="'upside_down' must be one of corrupted, blank"):
        AuditRequests("upside_down", [], [])


def test_a_swapped_image_gives_another_answer_to_the_question():
    rows = world_rows(60)
    by_image = {row["images"][0].tobytes(): row for row in rows}
    for i, request in enumerate(asked("swapped", rows)):
        row, donor = rows[i // 2], by_image[request.images[0].tobytes()]
        assert donor["family"] == row["family"]
        assert answers_differ(row, donor)


def test_the_answer_that_a_donor_gives_is_that_to_the_question_asked():
    truth = {"family": "pips", "facts": ["red 4", "blue 6"], "needed": ["red 4"], "query": {"color": "red"}}
    red = {"family": "pips", "answer": "4", "task": "math", "options": [], "truth": json.dumps(truth)}
    blue = red | {"answer": "6", "truth": red["truth"].replace('"color": "red"', '"color": "blue"')}
    assert not answers_differ(red, blue)  # its own answer is 6, but it shows four red pips as well
    chart = red | {"family": "chart", "truth": red["truth"].replace('"pips"', '"chart"')}
    assert not answers_differ(red, chart | {"answer": "4.0"})  # of another family, its own reference stands in
    assert answers_differ(red, chart | {"answer": "6"})


def test_donors_are_as_like_as_possible():
    """The same question first, then the same task, then any row; always as many images, never the same answer."""
    rows = [
        {"question": "How many?", "task": "math", "answer": "1"},
        {"question": "How many?", "task": "math", "answer": "1.0"},
        {"question": "How far?", "task": "math", "answer": "2"},
        {"question": "Which?", "task": "text", "answer": "red"},
        {"question": "How many?", "task": "math", "answer": "3"},
    ]

    def found(chosen, n_images=None):
        some = [rows[i] for i in chosen]
        donor = Donors(some, n_images or [1] * len(some)).find(0, random.Random(0))
        return None if donor is None else chosen[donor]

    assert found([0, 1, 2, 3, 4]) == 4
    assert found([0, 1, 2, 3]) == 2
    assert found([0, 1, 3]) == 3
    assert found([0, 1]) is None
    assert found([0, 4, 2], [1, 2, 1]) == 2


def test_the_same_picture_in_another_row_is_no_swap():
    same = Image.new("RGB", (8, 8), "red")
    rows = [row | {"images": [same]} for row in number_rows(3)]
    assert asked("swapped", rows) == [None] * 6


def test_an_edited_perception_changes_one_needed_fact_and_the_answer():
    rows = world_rows(36)
    requests = asked("edited", rows)
    for i, request in enumerate(requests):
        row = rows[i // 2]
        truth = world.read_truth(row["truth"])
        facts = world.FAMILIES[row["family"]].parse_facts(perception_of_prefix(request.prefix, FORMAT))
        changed = [(a, b) for a, b in zip(truth["facts"], facts, strict=True) if a != b]
        assert len(changed) == 1
        assert changed[0][0] in truth["needed"]
        assert world.recompute(truth, facts).answer != row["answer"]
        assert pixels(request.images) == pixels(row["images"])
    assert len({requests[i].prefix for i in (0, 1)}) + len({requests[i].prefix for i in (2, 3)}) > 2


def test_an_edit_keeps_what_the_reply_wrote_around_its_perception():
    text = "Well.\n<see>\n red 4\n</see>\n<reason> 4 </reason><solution>4</solution>"
    assert up_to_perception(text, TAGS, " blue 5 ") == "Well.\n<see>\n blue 5\n</see>"
    assert up_to_perception(text, TAGS) == "Well.\n<see>\n red 4\n</see>"
    assert up_to_perception("<see> red 4 </see>", TAGS) is None


def test_a_block_that_the_template_opens_is_closed_before_an_edited_perception():
    rows = world_rows(1)
    unstructured = replies_to(rows, text="<answer> 3 </answer>")
    requests = AuditRequests("edited", rows, unstructured, response_format=TAGS, opened="think")
    assert requests[0].prefix.startswith("\n</think>\n\n<see> ")
    assert requests[0].prefix.endswith(" </see>")
    assert written_perception("red 4", FORMAT) == "<perception> red 4 </perception>"


def test_a_structured_reply_closes_the_block_that_the_template_opens_by_itself():
    rows = world_rows(1)
    text = "hm\n</think>\n" + blocks("red 4", "4", TAGS)
    requests = AuditRequests("edited", rows, replies_to(rows, text=text), response_format=TAGS, opened="think")
    assert requests[0].prefix.startswith("hm\n</think>\n<see> ")
    assert requests[0].prefix.count("</think>") == 1


def test_other_perceptions_are_those_of_replies_to_other_questions():
    rows = number_rows()
    other, own = asked("other_perception", rows), asked("own_perception", rows)
    for i, (lent, kept) in enumerate(zip(other, own, strict=True)):
        row, sample = divmod(i, 2)
        assert kept.prefix == f"<perception> saw {row}.{sample} </perception>"
        assert lent.prefix.startswith("<perception> saw ")
        assert perception_of_prefix(lent.prefix, FORMAT).split(".")[0] != f"saw {row}"
        assert pixels(lent.images) == pixels(kept.images) == pixels(rows[row]["images"])


def test_only_structured_replies_lend_and_borrow_perceptions():
    rows = number_rows(3)
    replies = [scored(row=0, row_id="a", text=blocks("one", "0")), scored(row=1, row_id="b", text="<answer>1</answer>")]
    for variant in ("own_perception", "other_perception"):
        assert list(AuditRequests(variant, rows, replies)) == [None, None]
    replies.append(scored(row=2, row_id="c", text=blocks("  one ", "2")))  # says the same
    assert list(AuditRequests("other_perception", rows, replies)) == [None, None, None]


def test_rows_of_a_data_set_are_read_like_rows_in_memory():
    data = load("shapes/pips", "test", rows=4)
    rows = [data[i] for i in range(4)]
    for variant in VARIANTS:
        a, b = (list(AuditRequests(variant, some, replies_to(rows), seed=5)) for some in (data, rows))
        assert [r and (r.messages, r.prefix, pixels(r.images)) for r in a] == [
            r and (r.messages, r.prefix, pixels(r.images)) for r in b
        ]


def test_rows_with_several_images_are_changed_image_by_image():
    rows = [row | {"images": [row["images"][0], row["images"][0].rotate(90)]} for row in world_rows(6)]
    rows = [row | {"prompt": build_prompt(row["question"], 2, structured=True)} for row in rows]
    request = asked("corrupted", rows)[0]
    assert len(request.images) == 2
    black = [np.asarray(image).max(-1) == 0 for image in request.images]
    assert (black[0] != black[1]).any()
    assert len(asked("swapped", rows)[0].images) == 2


def test_squares_are_patches_of_the_model():
    """The tiny model cuts a 96 x 96 image into 6 x 6 patches of 16 pixels: round(0.6 * 36) = 22 are masked."""
    folder = model_path()
    corrupted = image_corruption(AutoConfig.from_pretrained(folder), AutoProcessor.from_pretrained(folder))
    white = Image.new("RGB", (96, 96), "white")
    masked = np.asarray(corrupted(white, 7))
    assert masked[8::16, 8::16, 0].shape == (6, 6)
    assert (masked[8::16, 8::16, 0] == 0).sum() == 22
    assert np.array_equal(masked, np.asarray(corrupt(white, seed=7, patch_size=16)))


def test_the_corruption_that_swaps_images_is_refused():
    with pytest.raises(ValueError, match="the audit does anyway"):
        image_corruption(None, None, "other_image")
