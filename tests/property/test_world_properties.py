"""Properties of the built-in world that hold for any seed, and of its parsers for any text."""

import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from srpo.data.world import FAMILIES, FAMILY_NAMES, SPLITS, generate, recompute, score_perception, split_of

families = st.sampled_from(FAMILY_NAMES)
seeds = st.integers(0, 2**32)
words = st.sampled_from(["red", "blue", "white", "top", "bottom", "circle", "4", "7", "12", ";", "-1", "", "é"])


@given(families, seeds)
@settings(max_examples=300, deadline=None)
def test_facts_survive_the_perception_text_and_give_the_same_answer(name, seed):
    family = FAMILIES[name]
    scene = family.sample(random.Random(seed))
    solution = family.solve(scene.query, scene.facts)
    parsed = family.parse_facts(solution.perception)
    assert parsed == list(scene.facts)
    assert family.solve(scene.query, parsed) == solution
    assert solution.answer == solution.derivation.rsplit("= ", 1)[1]
    for step in solution.derivation.split(" ; "):
        left, right = step.split(" = ")
        assert eval(left) == int(right)


@given(families, seeds)
@settings(max_examples=200, deadline=None)
def test_the_answer_rests_on_the_needed_facts_alone(name, seed):
    family = FAMILIES[name]
    scene = family.sample(random.Random(seed))
    needed = family.needed(scene.query, scene.facts)
    assert needed
    assert set(needed) <= set(scene.facts)
    assert family.derive(scene.query, needed) == family.derive(scene.query, scene.facts)


@given(families, seeds)
@settings(max_examples=100, deadline=None)
def test_alternatives_are_facts_that_the_family_writes(name, seed):
    family = FAMILIES[name]
    for fact in family.sample(random.Random(seed)).facts:
        others = family.alternatives(fact)
        assert fact not in others
        assert len(set(others)) == len(others) >= 5
        assert all(family.parse_facts(other) == [other] for other in others)


@given(st.sampled_from(SPLITS), seeds)
@settings(max_examples=60, deadline=None)
def test_rows_lie_in_their_split_and_grade_as_perfect(split, seed):
    for row in generate(split, rows=len(FAMILY_NAMES), seed=seed):
        truth = json.loads(row["truth"])
        assert split_of(row["family"], truth["facts"]) == split
        assert score_perception(row["perception"], truth) == {"precision": 1.0, "recall": 1.0, "needed_right": 1.0}
        assert recompute(truth, truth["facts"]).answer == row["answer"]


@given(families, seeds, st.one_of(st.text(max_size=60), st.lists(words, max_size=12).map(" ".join)))
@settings(max_examples=500, deadline=None)
def test_any_text_can_be_parsed_and_graded(name, seed, text):
    family = FAMILIES[name]
    scene = family.sample(random.Random(seed))
    facts = family.parse_facts(text)
    if facts is not None:
        assert family.parse_facts(family.write_facts(facts)) is not None
    needed = family.needed(scene.query, scene.facts)
    truth = {"family": name, "facts": list(scene.facts), "needed": needed, "query": scene.query}
    score = score_perception(text, truth)
    assert all(0.0 <= part <= 1.0 for part in score.values())


@given(families, seeds, seeds)
@settings(max_examples=60, deadline=None)
def test_drawing_moves_only_the_nuisance(name, scene_seed, drawing_seed):
    family = FAMILIES[name]
    scene = family.sample(random.Random(scene_seed))
    one, two = (family.draw(scene, random.Random(drawing_seed)).tobytes() for _ in range(2))
    assert one == two
