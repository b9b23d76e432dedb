"""What the questions of an easy-VQA image tell about it, and the rows that are written."""

import json

import pytest

from bench import easy_vqa as rows


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("what is the blue shape?", "rectangle")], ("blue", "rectangle")),
        ([("what color is the triangle?", "red")], ("red", "triangle")),
        ([("what color is the shape?", "red"), ("is there a circle?", "yes")], ("red", "circle")),
        ([("what color is the shape?", "red"), ("is there not a circle?", "no")], ("red", "circle")),
        ([("what shape is in the image?", "circle"), ("is a teal shape present?", "no")], None),
        (
            [
                ("what color is the shape?", "red"),
                ("does the image not contain a circle?", "yes"),
                ("is there a triangle?", "no"),
            ],
            ("red", "rectangle"),
        ),
    ],
)
def test_the_scene_follows_from_the_questions(pairs, expected):
    assert rows.scene(pairs) == expected


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("what shape is in the image?", "circle", "shape : circle"),
        ("is there a red shape?", "no", "red ? blue , no"),
        ("is there not a red shape?", "yes", "red ? blue , no ; not , yes"),
        ("does the image not contain a circle?", "no", "circle ? circle , yes ; not , no"),
    ],
)
def test_the_derivation_ends_in_the_answer(question, answer, expected):
    assert rows.derivation(question, answer, "blue", "circle") == expected
    assert expected.endswith(answer)


def test_the_files_share_no_image_and_only_the_warm_up_knows_the_perception(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["easy_vqa", str(tmp_path)])
    rows.main()
    read = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("warmup", "train", "test")
    }
    images = {name: {row["image"] for row in found} for name, found in read.items()}
    assert not images["warmup"] & images["train"]
    assert not images["test"] & (images["warmup"] | images["train"])
    assert min(map(len, read.values())) > 1000
    assert all(row["reasoning"].endswith(row["answer"]) for row in read["warmup"])
    assert not any(row["perception"] or row["reasoning"] for row in read["train"] + read["test"])
    assert all((tmp_path / name).is_file() for found in images.values() for name in found)
