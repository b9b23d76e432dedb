"""What the questions of an easy-VQA image tell about it, and the rows that are written."""

import json

import easy_vqa
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import easy_vqa as rows
from bench import easy_vqa_seen


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
    files = {f"{file.parent.name}/{file.stem}": file for file in tmp_path.glob("*/*.jsonl")}
    assert sorted(files) == ["rl/test", "rl/train", "rl/validation", "warmup/train"]
    read = {name: [json.loads(line) for line in file.read_text().splitlines()] for name, file in files.items()}
    assert {name: len(found) for name, found in read.items()} == {
        "warmup/train": 2908,
        "rl/train": 2902,
        "rl/validation": 470,
        "rl/test": 941,
    }
    of_set = {name: {row["id"].split("-")[0] for row in found} for name, found in read.items()}
    assert not of_set["warmup/train"] & of_set["rl/train"]
    assert not of_set["rl/validation"] & of_set["rl/test"]
    warmup = read.pop("warmup/train")
    assert all(row["reasoning"].endswith(row["answer"]) for row in warmup)
    assert not any(row["perception"] or row["reasoning"] for found in read.values() for row in found)
    assert all((files[name].parent / row["image"]).is_file() for name, found in read.items() for row in found)


@pytest.mark.parametrize(
    ("question", "reference", "right", "stated", "expected"),
    [
        ("what color is the shape?", "blue", True, "blue circle", [1, 1, 1, 1, 0]),
        ("what color is the shape?", "blue", True, "blue triangle", [1, 1, 0, 1, 0]),
        ("what color is the shape?", "blue", True, "red circle", [1, 0, 1, 0, 1]),
        ("is there a red shape?", "no", True, "blue triangle", [1, 1, 0, 1, 0]),
        ("is there a red shape?", "no", False, "red circle", [0, 0, 1, 0, 0]),
        ("does the image not contain a circle?", "no", True, "red circle", [1, 0, 1, 1, 0]),
        ("what is the blue shape?", "circle", True, "blue triangle", [1, 1, 0, 0, 1]),
        ("what is the blue shape?", "circle", True, None, [1, 0, 0, 0, 1]),
    ],
)
def test_what_a_reply_saw(question, reference, right, stated, expected):
    text = "circle" if stated is None else f"<perception> {stated} </perception><think> x </think><answer> y </answer>"
    reply = {"question": question, "reference": reference, "right": right, "text": text}
    stated_words = easy_vqa_seen.stated_words(reply)
    assert list(easy_vqa_seen.seen(reply, stated_words, "blue", "circle").values()) == expected


def test_methods_are_compared_by_what_their_replies_saw(tmp_path, monkeypatch, capsys):
    questions, answers, images = easy_vqa.get_test_questions()
    image = next(i for i in images if rows.scene(rows.pairs_of_images((questions, answers, images))[i]))
    color, shape = rows.scene(rows.pairs_of_images((questions, answers, images))[image])
    row = {"variant": "as_is", "row_id": f"{image}-0", "question": "what shape is in the image?", "reference": shape}
    for method, grounded in (("start", [1]), ("grpo", (1, 0)), ("srpo", (2, 2))):
        for seed, count in enumerate(grounded):
            stated = [f"{color} {shape}"] * count + ["nothing"] * (2 - count)
            texts = [f"<perception> {s} </perception><think> x </think><answer> {shape} </answer>" for s in stated]
            replies = [row | {"right": True, "text": text} for text in texts]
            replies.append(row | {"variant": "blank", "right": False, "text": ""})
            run = tmp_path / "start" if method == "start" else tmp_path / "runs" / method / f"seed-{seed}"
            folder = run / "eval"
            folder.mkdir(parents=True)
            pq.write_table(pa.Table.from_pylist(replies), folder / "replies.parquet")
    monkeypatch.setattr("sys.argv", ["easy_vqa_seen", str(tmp_path)])
    easy_vqa_seen.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| before training | 1.000 | 0.500 | 0.500 | 0.500 | 0.500 | 1.000 |"
    assert lines[3] == "| grpo | 1.000 | 0.250 | 0.250 | 0.250 | 0.750 | 0.500 |"
    assert lines[4].startswith("| srpo | 1.000 | 1.000 (+0.750 [")
