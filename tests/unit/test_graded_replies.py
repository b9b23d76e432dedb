"""The verifier's regression set: whole replies with the label that a careful reader gives them.

A reply whose label the grader does not share is marked in the file with the reason ("disagrees").
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from srpo.rewards import grade_reply

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "graded_replies.jsonl").read_text(encoding="utf-8").splitlines()
]
MAX_DISAGREEMENT = 0.02


def graded(case):
    return grade_reply(
        case["reply"],
        case["answer"],
        options=case.get("options"),
        task=case.get("task"),
        alternatives=case.get("alternatives"),
    )


def test_there_are_enough_cases_of_both_labels_and_of_every_kind():
    assert len(CASES) >= 320
    assert min(Counter(case["right"] for case in CASES).values()) >= 150
    kinds = {str(case.get("task", "")).partition(":")[0] for case in CASES}
    assert kinds == {"", "math", "text", "range", "box"}
    assert sum("options" in case for case in CASES) >= 100


def test_no_case_is_there_twice():
    keys = Counter(json.dumps({k: v for k, v in case.items() if k != "note"}, sort_keys=True) for case in CASES)
    assert [key for key, count in keys.items() if count > 1] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["reply"].rpartition("<answer>")[2][:40])
def test_the_grader_agrees_with_the_label_unless_the_file_says_why_not(case):
    grade = graded(case)
    assert grade.correct is (case["right"] != ("disagrees" in case)), grade


def test_disagreements_are_few_explained_and_never_too_generous():
    marked = [case for case in CASES if "disagrees" in case]
    assert len(marked) <= MAX_DISAGREEMENT * len(CASES)
    assert all(len(case["disagrees"]) > 10 for case in marked)
    assert all(case["right"] for case in marked)
