"""The built-in visual world: hand-computed scenes of every family, splits, balance, grades of a perception."""

import json
import random
import time
from collections import Counter, defaultdict

import numpy as np
import pytest

from srpo.data.schema import DataError
from srpo.data.world import (
    FAMILIES,
    FAMILY_NAMES,
    SPLITS,
    edited,
    generate,
    recompute,
    reply,
    score_perception,
    split_of,
)
from srpo.roles import ResponseFormat, Role

# family, query, facts, question, perception, derivation, answer, needed facts: all worked out by hand
HAND_COMPUTED = [
    (
        "count",
        {"color": "red", "shape": "circle"},
        ["red circle", "blue square", "red circle", "red square"],
        "How many red circles?",
        "red circle ; blue square ; red circle ; red square",
        "1 + 1 = 2",
        "2",
        ["red circle", "red circle"],
    ),
    (
        "pips",
        {"color": "red"},
        ["red 4", "blue 2", "red 6"],
        "Sum of pips on the red tiles?",
        "red 4 ; blue 2 ; red 6",
        "4 + 6 = 10",
        "10",
        ["red 4", "red 6"],
    ),
    (
        "pips",
        {"color": "blue"},
        ["red 4", "blue 2"],
        "Sum of pips on the blue tiles?",
        "red 4 ; blue 2",
        "2 = 2",
        "2",
        ["blue 2"],
    ),
    (
        "compare",
        {},
        ["top 3", "top 2", "bottom 6", "bottom 1"],
        "Difference of the row sums?",
        "top 3 2 ; bottom 6 1",
        "3 + 2 = 5 ; 6 + 1 = 7 ; 7 - 5 = 2",
        "2",
        ["top 3", "top 2", "bottom 6", "bottom 1"],
    ),
    (
        "chain",
        {"add": "red", "subtract": "blue"},
        ["white 5", "red 2", "blue 1", "red 4"],
        "From white, add red, subtract blue?",
        "white 5 ; red 2 ; blue 1 ; red 4",
        "5 + 2 = 7 ; 7 - 1 = 6 ; 6 + 4 = 10",
        "10",
        ["white 5", "red 2", "blue 1", "red 4"],
    ),
    (
        "chart",
        {"kind": "sum", "first": "red", "second": "blue"},
        ["red 4", "blue 7", "green 2"],
        "Sum of the red and blue bars?",
        "red 4 ; blue 7 ; green 2",
        "4 + 7 = 11",
        "11",
        ["red 4", "blue 7"],
    ),
    (
        "chart",
        {"kind": "difference", "first": "green", "second": "blue"},
        ["red 4", "blue 7", "green 2"],
        "Difference of the green and blue bars?",
        "red 4 ; blue 7 ; green 2",
        "7 - 2 = 5",
        "5",
        ["blue 7", "green 2"],
    ),
    (
        "angle",
        {"from": "red", "to": "blue"},
        ["red 2", "blue 7"],
        "Degrees clockwise from red to blue?",
        "red 2 ; blue 7",
        "7 - 2 = 5 ; 5 * 30 = 150",
        "150",
        ["red 2", "blue 7"],
    ),
    (
        "angle",
        {"from": "blue", "to": "red"},
        ["red 2", "blue 7"],
        "Degrees clockwise from blue to red?",
        "red 2 ; blue 7",
        "2 + 12 - 7 = 7 ; 7 * 30 = 210",
        "210",
        ["red 2", "blue 7"],
    ),
]


FROZEN = [
    ("How many blue circles?", "green circle ; red circle ; blue circle ; blue circle", "2"),
    ("Sum of pips on the green tiles?", "green 5 ; green 3", "8"),
    ("Difference of the row sums?", "top 1 ; bottom 5 1 3", "8"),
    ("From white, add blue, subtract red?", "white 1 ; blue 3 ; blue 2 ; red 6", "0"),
    ("Sum of the yellow and green bars?", "red 9 ; yellow 8 ; green 4", "12"),
    ("Degrees clockwise from blue to red?", "red 5 ; blue 4", "30"),
]


@pytest.mark.parametrize(
    ("name", "query", "facts", "question", "perception", "derivation", "answer", "needed"), HAND_COMPUTED
)
def test_texts_of_a_hand_computed_scene(name, query, facts, question, perception, derivation, answer, needed):
    family = FAMILIES[name]
    assert family.question(query) == question
    solution = family.solve(query, facts)
    assert (solution.perception, solution.derivation, solution.answer) == (perception, derivation, answer)
    assert family.needed(query, facts) == needed
    assert family.parse_facts(perception) == facts


@pytest.fixture(scope="module")
def samples():
    return {name: generate("train", rows=2000, families=[name]) for name in FAMILY_NAMES}


def test_six_families_take_turns():
    assert len(FAMILY_NAMES) >= 6
    assert [row["family"] for row in generate("train", rows=12)] == list(FAMILY_NAMES) * 2


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_guessing_without_the_image_is_below_35_percent(samples, name):
    rows = samples[name]
    constant = Counter(row["answer"] for row in rows).most_common(1)[0][1] / len(rows)
    by_question = defaultdict(Counter)
    for row in rows:
        by_question[row["question"]][row["answer"]] += 1
    knowing_the_question = sum(answers.most_common(1)[0][1] for answers in by_question.values()) / len(rows)
    assert constant < 0.35
    assert knowing_the_question < 0.35


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_replies_are_short_and_structured(samples, name):
    response_format = ResponseFormat()
    for row in samples[name][:500]:
        text = reply(row, response_format)
        assert len(text.replace("><", "> <").split()) <= 45
        spans = response_format.spans(text)
        assert [span.role for span in spans] == [Role.PERCEPTION, Role.REASONING, Role.REASONING]
        assert [text[span.start : span.end].strip() for span in spans][::2] == [row["perception"], row["answer"]]


def test_reply_of_a_known_row_in_other_tags():
    truth = {"family": "pips", "facts": ["red 4", "red 6"], "needed": ["red 4", "red 6"], "query": {"color": "red"}}
    row = {"truth": json.dumps(truth)}
    assert reply(row) == ("<perception> red 4 ; red 6 </perception><think> 4 + 6 = 10 </think><answer> 10 </answer>")
    assert reply(row, ResponseFormat("see", "why", "so")) == (
        "<see> red 4 ; red 6 </see><why> 4 + 6 = 10 </why><so> 10 </so>"
    )


def test_chain_stays_between_0_and_15(samples):
    for row in samples["chain"]:
        solution = recompute(row["truth"], json.loads(row["truth"])["facts"])
        results = [int(step.rsplit("=", 1)[1]) for step in solution.derivation.split(";")]
        assert min(results) >= 0
        assert max(results) <= 15


def test_splits_share_no_scene_for_other_seeds_and_sizes():
    scenes = {
        "train": {(r["family"], r["perception"]) for r in generate("train", rows=7000, seed=1)},
        "validation": {(r["family"], r["perception"]) for r in generate("validation", rows=1500, seed=2)},
        "test": {(r["family"], r["perception"]) for r in generate("test", rows=1500, seed=2)},
    }
    assert not scenes["train"] & scenes["validation"]
    assert not scenes["train"] & scenes["test"]
    assert not scenes["validation"] & scenes["test"]
    assert all(len({family for family, _ in found}) == len(FAMILY_NAMES) for found in scenes.values())


def test_split_shares_are_80_10_10():
    rng = random.Random(0)
    splits = Counter(split_of("chart", FAMILIES["chart"].sample(rng).facts) for _ in range(5000))
    assert splits["train"] / 5000 == pytest.approx(0.8, abs=0.03)
    assert splits["test"] / 5000 == pytest.approx(0.1, abs=0.03)


def test_a_row_depends_on_neither_the_number_of_rows_nor_the_other_families():
    def plain(row):
        return {**row, "images": [np.asarray(image).tobytes() for image in row["images"]]}

    few, many = generate("test", rows=7, seed=3), generate("test", rows=30, seed=3)
    assert [plain(row) for row in few] == [plain(row) for row in many[:7]]
    only_pips = generate("test", rows=5, seed=3, families=["pips"])
    assert [plain(row) for row in only_pips] == [plain(row) for row in many if row["family"] == "pips"]
    assert plain(generate("test", rows=1, seed=4)[0]) != plain(few[0])


def test_scenes_and_texts_of_seed_0_are_the_published_ones():
    # trained models and reported figures rest on them: changing these texts makes both worthless
    rows = generate("train", rows=6)
    assert [(row["question"], row["perception"], row["answer"]) for row in rows] == FROZEN


def test_images_are_96_pixels_rgb_with_contrast():
    for row in generate("validation", rows=60):
        (image,) = row["images"]
        assert (image.size, image.mode) == ((96, 96), "RGB")
        pixels = np.asarray(image, dtype=int)
        assert np.median(pixels) > 200
        assert pixels.min() < 60


def test_one_scene_is_drawn_in_many_ways():
    family = FAMILIES["pips"]
    scene = family.sample(random.Random(0))
    drawings = {family.draw(scene, random.Random(seed)).tobytes() for seed in range(20)}
    assert len(drawings) == 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red 4 ; blue 2 ; red 6", (1, 1, 1)),
        ("  red 6;red   4 ; blue 2 ;", (1, 1, 1)),
        ("red 4 ; blue 3 ; red 6", (2 / 3, 2 / 3, 1)),
        ("red 4 ; blue 2 ; red 5", (2 / 3, 2 / 3, 0)),
        ("red 4 ; red 6", (1, 2 / 3, 1)),
        ("red 4 ; red 6 ; red 6 ; blue 2", (3 / 4, 1, 0)),
        ("red 4 ; blue 2 ; red 6 ; nonsense", (3 / 4, 1, 1)),
        ("nonsense", (0, 0, 0)),
        ("red 7", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_score_perception_by_hand(text, expected):
    facts = ["red 4", "blue 2", "red 6"]
    truth = {"family": "pips", "facts": facts, "needed": ["red 4", "red 6"], "query": {"color": "red"}}
    score = score_perception(text, truth)
    assert (score["precision"], score["recall"], score["needed_right"]) == pytest.approx(expected)
    assert score == score_perception(text, json.dumps(truth))


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_an_edited_perception_has_another_answer(samples, name):
    for row in samples[name][:300]:
        solution = edited(row["truth"], random.Random(row["id"]))
        assert solution.answer != row["answer"]
        facts = FAMILIES[name].parse_facts(solution.perception)
        truth = json.loads(row["truth"])
        assert len(facts) == len(truth["facts"])
        assert sum(a != b for a, b in zip(facts, truth["facts"], strict=True)) == 1
        assert recompute(truth, facts) == solution
        assert score_perception(solution.perception, truth)["needed_right"] == 0


def test_recompute_needs_the_facts_of_the_question():
    facts = ["red 4", "blue 7"]
    query = {"kind": "sum", "first": "red", "second": "blue"}
    truth = {"family": "chart", "facts": facts, "needed": facts, "query": query}
    with pytest.raises(DataError, match="blue 0 times"):
        recompute(truth, ["red 4"])
    with pytest.raises(DataError, match="red 2 times"):
        recompute(truth, ["red 4", "red 5", "blue 7"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev", "rows": 1}, "unknown split 'dev'.*train, validation, test"),
        ({"split": "train", "rows": -1}, "rows is -1"),
        ({"split": "train", "rows": 1, "families": ["pip"]}, "unknown family 'pip'.*pips"),
        ({"split": "train", "rows": 1, "families": ["pips", "pips"]}, "repeat"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(DataError, match=message):
        generate(**arguments)


def test_truth_that_lacks_a_key():
    with pytest.raises(DataError, match="truth lacks needed, query"):
        score_perception("red 4", {"family": "pips", "facts": ["red 4"]})


@pytest.mark.parametrize("split", SPLITS)
def test_a_thousand_rows_take_about_a_second(split):
    generate(split, rows=60)
    start = time.process_time()
    generate(split, rows=600)
    assert time.process_time() - start < 0.6 * 2  # twice the target, for a busy machine
