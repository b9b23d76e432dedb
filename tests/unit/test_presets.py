"""Presets: a small local file in each set's own layout, and what its rows become."""

import io
import json
import sys
from pathlib import Path

import datasets
import pytest
from datasets import Dataset
from PIL import Image

from srpo.data import DataError, load, load_splits
from srpo.data.presets import PRESETS, find_preset
from srpo.grading import grade

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the third-party data at {SHARED} is missing")


def png(color="red"):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), color).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


MATHVISTA = {
    "image": "images/1.jpg",
    "decoded_image": png(),
    "choices": None,
    "unit": None,
    "precision": None,
    "query": "Hint: ...",
    "question_type": "free_form",
    "answer_type": "integer",
    "metadata": {"task": "geometry problem solving", "split": "testmini"},
}
MATHVERSE = {
    "problem_index": "1",
    "image": png(),
    "query_wo": "Please directly answer ...",
    "query_cot": "Please first conduct ...",
    "question_for_eval": "...",
    "metadata": {"split": "testmini"},
}
MATHVERSE_QUESTION = "What is the length of AB?\nChoices:\nA:2\nB:3\nC:4\nD:5"
WE_MATH = {"split": "testmini", "knowledge concept": "Area of squares", "image_path": png(), "question number": 1}
DYNAMATH = {"image": "images/q1.png", "decoded_image": png(), "subject": "algebra", "knowledge_level": "high school"}
MMMU_PRO = {
    "id": "test_Math_1",
    "question": "Compare <image 1> with <image 2>.",
    "options": "['the first', 'the second', 'none']",
    "explanation": "",
    **{f"image_{i}": png() if i < 3 else None for i in range(1, 8)},
    "answer": "B",
    "subject": "Math",
}
PUZZLEVQA = {
    "image": png(),
    "question": "What is the missing number?",
    "options": ["6", "3", "4", "2"],
    "answer": "6",
    "caption": "There are 6 circles.",
    "explanation": "Each number is the count.",
    "deduction": "So it is 6.",
}

# preset -> file of a local copy, rows, what they become: (id, answer, task, options, images), words of the first prompt
CASES = {
    "geometry3k": (
        "data/train-00000-of-00001.parquet",
        [
            {
                "images": [png()],
                "problem": "<image>Find x.",
                "answer": r"2 \sqrt { 221 }",
                "id": 0,
                "choices": ["10", "20", "30", "40"],
                "ground_truth": "A",
            }
        ],
        [("0", r"2 \sqrt { 221 }", "math", 0, 1)],
        "<IMAGE>Find x.",
    ),
    "virl39k": (
        "39Krelease.parquet",
        [
            {"qid": "a-1", "question": "<image>What is x?", "answer": r"\boxed{17^\circ}", "image": ["images/a.png"]},
            {"qid": "a-2", "question": "Which? A. 1\nB. 2", "answer": r"\boxed{B}", "image": []},
        ],
        [("a-1", r"17^\circ", "math", 0, 1), ("a-2", "B", "choice", 0, 0)],
        "<IMAGE>What is x?",
    ),
    "mmk12": (
        "test-00000-of-00001.parquet",
        [
            {"id": "t1", "image": png(), "question": "<image>Which?\nA. 1\nB. 2", "answer": "B", "subject": "math"},
            {"id": "t2", "image": png(), "question": "<image>How long?", "answer": "$4$", "subject": "math"},
        ],
        [("t1", "B", "choice", 0, 1), ("t2", "$4$", "math", 0, 1)],
        "The answer is the letter of the right option.",
    ),
    "mathvista": (
        "data/testmini-00000-of-00001.parquet",
        [
            MATHVISTA
            | {
                "pid": "1",
                "question": "How long?",
                "answer": "1.2",
                "precision": 1.0,
                "unit": "cm",
                "answer_type": "float",
            },
            MATHVISTA
            | {"pid": "2", "question": "Which?", "answer": "12", "choices": ["7", "12"], "answer_type": "text"},
            MATHVISTA | {"pid": "3", "question": "How many?", "answer": "4"},
        ],
        [("1", "1.2", "math:0.05", 0, 1), ("2", "12", "choice", 2, 1), ("3", "4", "math", 0, 1)],
        "How long? (Unit: cm) Give the answer with 1 decimal place.",
    ),
    "mathverse": (
        "testmini.parquet",
        [
            MATHVERSE
            | {
                "sample_index": "1",
                "question": MATHVERSE_QUESTION,
                "answer": "B",
                "question_type": "multi-choice",
                "problem_version": "Text Dominant",
            },
            MATHVERSE
            | {
                "sample_index": "5",
                "question": "",
                "answer": "D",
                "question_type": "multi-choice",
                "problem_version": "Vision Only",
            },
            MATHVERSE
            | {
                "sample_index": "6",
                "question": "Find x.",
                "answer": r"12\sqrt{2}",
                "question_type": "free-form",
                "problem_version": "Text Lite",
            },
        ],
        [("1", "B", "choice", 0, 1), ("5", "D", "choice", 0, 1), ("6", r"12\sqrt{2}", "math", 0, 1)],
        "<IMAGE>What is the length of AB?",
    ),
    "mathvision": (
        "test-00000-of-00001.parquet",
        [
            {
                "id": "4",
                "question": "How many?\n<image1>",
                "options": [],
                "image": "images/4.jpg",
                "decoded_image": png(),
                "answer": "6",
                "solution": None,
                "level": 1,
                "subject": "counting",
            }
        ],
        [("4", "6", "math", 0, 1)],
        "How many?\n<IMAGE>",
    ),
    "we_math": (
        "testmini.parquet",
        [
            WE_MATH
            | {
                "ID": "3",
                "key": key,
                "question": "Area?",
                "option": "A. 2 cm; B. 3 cm; C. No correct answer",
                "answer": "C",
            }
            for key in ("2steps_1", "2steps_2")
        ],
        [("3-2steps_1", "C", "choice", 3, 1), ("3-2steps_2", "C", "choice", 3, 1)],
        "<IMAGE>Area?\nA. 2 cm\nB. 3 cm\nC. No correct answer",
    ),
    "dynamath": (
        "sample_variant1.parquet",
        [
            DYNAMATH
            | {
                "id": "1",
                "question": "Which is it? (A) a (B) b",
                "ground_truth": "B",
                "answer_type": "multiple choice",
            },
            DYNAMATH | {"id": "2", "question": "What period?", "ground_truth": "0.785", "answer_type": "float"},
            DYNAMATH | {"id": "3", "question": "Which shape?", "ground_truth": "circle", "answer_type": "text"},
        ],
        [("1", "B", "choice", 0, 1), ("2", "0.785", "math:0.001", 0, 1), ("3", "circle", "text", 0, 1)],
        "<IMAGE>Which is it?",
    ),
    "logicvista": (
        "test.parquet",
        [
            {
                "id": i,
                "question": "Select from A, B, C and D.",
                "answer": answer,
                "reasoning": "Because.",
                "image": png(("red", "blue")[i]),
            }
            for i, answer in enumerate(("C", "A, C"))
        ],
        [("0", "C", "choice", 0, 1), ("1", "A, C", "choice", 0, 1)],
        "or all letters where several are right.",
    ),
    "mmmu_pro": (
        "standard (10 options)/test-00000-of-00001.parquet",
        [MMMU_PRO],
        [("test_Math_1", "B", "choice", 3, 2)],
        "Compare <IMAGE> with <IMAGE>.\nA. the first",
    ),
    "clevr_counting": (
        "train-00000-of-00001.parquet",
        [{"image": png(), "problem": "How many items are there?", "solution": "<answer> 3 </answer>"}],
        [("train-00000-of-00001-0", "3", "math", 0, 1)],
        "The answer is a whole number.",
    ),
    "chartqa": (
        "data/val-00000-of-00001.parquet",
        [
            {"image": png(), "query": "What is the total?", "label": ["12.5"], "human_or_machine": 0},
            {"image": png(), "query": "Is it more?", "label": ["Yes"], "human_or_machine": 1},
        ],
        [("val-00000-of-00001-0", "12.5", "math:5%", 0, 1), ("val-00000-of-00001-1", "Yes", "text", 0, 1)],
        "<IMAGE>What is the total?",
    ),
    "puzzlevqa": (
        "train-00000-of-00001.parquet",
        [PUZZLEVQA],
        [("train-00000-of-00001-0", "6", "choice", 4, 1)],
        "What is the missing number?\nA. 6\nB. 3",
    ),
}
SPLIT = {"mmk12": "test", "chartqa": "validation"}


def write(folder, name):
    file, rows, _, _ = CASES[name]
    place = folder / file
    place.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(place)
    (folder / "images").mkdir(exist_ok=True)
    Image.new("RGB", (8, 6)).save(folder / "images" / "a.png")
    return place.parent if name == "mmmu_pro" else folder


def text_of(message):
    return "".join(part["text"] or "<IMAGE>" for part in message["content"])


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_local_copy(name, tmp_path):
    data = load(write(tmp_path, name), SPLIT.get(name), preset=name)
    _, _, expected, words = CASES[name]
    found = [(row["id"], row["answer"], row["task"], len(row["options"]), len(row["images"])) for row in data]
    assert found == expected
    assert words in text_of(data[0]["prompt"][-1])
    for row in data:
        assert grade(row["answer"], row["answer"], options=row["options"], task=row["task"]).correct


def test_every_preset_has_a_case():
    assert set(CASES) | {"easy_vqa"} == set(PRESETS)


def test_what_is_known_beside_the_answer(tmp_path):
    row = load(write(tmp_path, "puzzlevqa"), preset="puzzlevqa")[0]
    assert row["perception"] == "There are 6 circles."
    assert row["reasoning"] == "Each number is the count.\nSo it is 6."
    assert load(write(tmp_path / "l", "logicvista"), preset="logicvista")[0]["reasoning"] == "Because."


def test_a_question_inside_the_image(tmp_path):
    vision_only = load(write(tmp_path, "mathverse"), preset="mathverse")[1]
    assert text_of(vision_only["prompt"][-1]).startswith("<IMAGE>Answer the question that is written in the image.")


def test_a_folder_of_the_presets_name_comes_before_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: pytest.fail("asked the hub"))
    write(tmp_path / "mathvista", "mathvista")
    assert load("mathvista")["task"][:] == ["math:0.05", "choice", "math"]
    assert load("mathvista", "test")["id"][:] == ["1", "2", "3"]


def test_the_hub_is_asked_with_configuration_and_split(monkeypatch):
    asked = []

    def load_dataset(name, config=None, split=None):
        asked.append((name, config, split))
        return Dataset.from_list([MMMU_PRO])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load("mmmu_pro")["options"][:] == [["the first", "the second", "none"]]
    load("mmmu_pro", "test")
    load("chartqa", "validation", columns={"question": "question", "answer": "answer"})
    load("mathvision", "testmini")
    assert asked[0] == asked[1] == ("MMMU/MMMU_Pro", "standard (10 options)", "test")
    assert asked[2:] == [("HuggingFaceM4/ChartQA", None, "val"), ("MathLLMs/MathVision", None, "testmini")]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load("mathvista", "train"), "mathvista has no split 'train'; it has test"),
        (lambda: load_splits("mathvista"), "mathvista has no split to train on; it has test"),
        (lambda: load("x.jsonl", preset="mathvis"), "there is no preset 'mathvis'; choose from geometry3k, virl39k"),
        (lambda: load("shapes", preset="mathvista"), "leave the preset out"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_tasks_of_presets_can_be_read():
    for preset in PRESETS.values():
        assert preset.split(next(iter(preset.splits))) == next(iter(preset.splits.values()))
        assert find_preset(preset.name) is preset


class TestEasyVqa:
    def test_both_splits(self):
        pytest.importorskip("easy_vqa")
        train, held_out = load_splits("easy_vqa", rows=50, eval_rows=20)
        assert (len(train), len(held_out)) == (50, 20)
        assert {row["task"] for row in train.select_columns("task")} == {"text"}
        assert train[0]["images"][0].size == (64, 64)
        assert train["id"][0] == "train-0"
        assert text_of(train[0]["prompt"][-1]).endswith("\nThe answer is one word.")

    def test_without_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "easy_vqa", None)
        with pytest.raises(DataError, match="easy_vqa is a Python package that is not installed; pip install easy-vqa"):
            load("easy_vqa")


@needs_shared
class TestThirdParty:
    def test_puzzlevqa(self):
        data = load(SHARED / "puzzlevqa", preset="puzzlevqa")
        assert len(data) == 400
        assert all(data["perception"])
        assert all(data["reasoning"])

    def test_mathvision(self):
        data = load(SHARED / "mathv", preset="mathvision")
        assert len(data) == 304
        source = [json.loads(line) for line in (SHARED / "mathv" / "testmini.jsonl").read_text().splitlines()]
        assert data["id"][:] == [row["id"] for row in source]
