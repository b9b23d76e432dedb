"""Every layout that rows come in: `srpo data check` finds nothing wrong with it, and three training steps pass."""

import base64
import csv
import io
import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

from srpo.cli import main
from srpo.data.presets import PRESETS
from tests.unit.test_presets import CASES, SPLIT, write

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
STEPS = [
    *("--max_steps", "3", "--per_device_train_batch_size", "4", "--num_generations", "4", "--eval_rows", "0"),
    *("--gradient_accumulation_steps", "1", "--max_completion_length", "4", "--rollouts_every", "0"),
    *("--save_strategy", "no"),
]
QUESTION = "How many dots are in the picture?"


def picture(i):
    return Image.new("RGB", (64, 48), (40 * i % 256, 90, 200))


def png(i):
    buffer = io.BytesIO()
    picture(i).save(buffer, "PNG")
    return buffer.getvalue()


def lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return [path]


def table(path, rows, delimiter):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return [path]


def easyr1(folder, n):
    rows = [{"images": [{"bytes": png(i)}], "problem": f"<image>{QUESTION}", "answer": str(i)} for i in range(n)]
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    return [folder]


def verl(folder, n):
    rows = [
        {
            "prompt": [{"role": "user", "content": f"<image>{QUESTION}"}],
            "images": [{"bytes": png(i)}],
            "reward_model": {"style": "rule", "ground_truth": str(i)},
        }
        for i in range(n)
    ]
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    return [folder / "train.parquet"]


def trl(folder, n):
    rows = [
        {"prompt": [{"role": "user", "content": QUESTION}], "image": picture(i), "solution": f"<answer> {i} </answer>"}
        for i in range(n)
    ]
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    return [folder]


def ms_swift(folder, n):
    user, reply = {"role": "user", "content": f"<image>{QUESTION}"}, {"role": "assistant", "content": "many"}
    rows = [{"messages": [user, reply], "images": [f"images/{i}.png"], "solution": str(i)} for i in range(n)]
    return lines(folder / "train.jsonl", rows)


def llava(folder, n):
    rows = [
        {
            "id": f"q{i}",
            "image": f"{i}.png",
            "conversations": [{"from": "human", "value": f"<image>\n{QUESTION}"}, {"from": "gpt", "value": str(i)}],
        }
        for i in range(n)
    ]
    return lines(folder / "train.json", rows)


def vlmevalkit(folder, n):
    rows = [
        {
            "index": i,
            "image": base64.b64encode(png(i)).decode(),
            "question": QUESTION,
            "A": i,
            "B": i + 1,
            "answer": "AB"[i % 2],
        }
        for i in range(n)
    ]
    return table(folder / "bench.tsv", rows, "\t")


def plain_jsonl(folder, n):
    return lines(folder / "d.jsonl", [{"question": QUESTION, "answer": i, "image": f"{i}.png"} for i in range(n)])


def plain_csv(folder, n):
    return table(
        folder / "d.csv", [{"question": QUESTION, "answer": i, "image": f"images/{i}.png"} for i in range(n)], ","
    )


def plain_parquet(folder, n):
    rows = [{"question": QUESTION, "answer": str(i), "image": f"images/{i}.png"} for i in range(n)]
    Dataset.from_list(rows).to_parquet(folder / "d.parquet")
    return [folder]


def saved_to_disk(folder, n):
    rows = Dataset.from_list([{"query": QUESTION, "label": str(i), "image": picture(i)} for i in range(n)])
    DatasetDict({"train": rows}).save_to_disk(folder / "saved")
    return [folder / "saved"]


def mixture(folder, n):
    plain_jsonl(folder, n)
    (folder / "mix.yaml").write_text("- data: d.jsonl\n  weight: 3\n- data: shapes/pips\n  rows: 32\n")
    return [folder / "mix.yaml"]


def layout_of_ones_own(folder, n):
    rows = [{"stem": "Look closely.", "ask": QUESTION, "key": str(i), "pic": f"{i}.png"} for i in range(n)]
    return [*lines(folder / "d.jsonl", rows), "--columns", "question=stem+ask,answer=key,image=pic"]


LAYOUTS = (
    *(easyr1, verl, trl, ms_swift, llava, vlmevalkit, plain_jsonl, plain_csv, plain_parquet, saved_to_disk, mixture),
    layout_of_ones_own,
)


def checked_and_trained(capsys, dataset, *options):
    """Check a data set and train on it; the report's text."""
    assert main(["data", "check", *map(str, (dataset, *options))]) == 0
    report = capsys.readouterr().out
    assert main(["train", "--dataset", *map(str, (dataset, *options)), *STEPS]) == 0
    assert "3 steps in" in capsys.readouterr().out
    return report


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_layout(layout, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for i in range(6):
        picture(i).save(tmp_path / "images" / f"{i}.png")
    checked_and_trained(capsys, *layout(tmp_path, 6))


@pytest.mark.parametrize("name", sorted(CASES))
def test_preset(name, tmp_path, capsys):
    split = SPLIT.get(name) or ("train" if "train" in PRESETS[name].splits else "test")
    checked_and_trained(capsys, write(tmp_path, name), "--preset", name, "--dataset_train_split", split)


def test_easy_vqa(capsys):
    report = checked_and_trained(capsys, "easy_vqa", "--rows", 200)
    assert "easy_vqa" in PRESETS
    assert "200" in report


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the third-party data at {SHARED} is missing")
@pytest.mark.parametrize(("name", "rows"), [("mathv", "304"), ("puzzlevqa", "400")])
def test_third_party_rows(name, rows, capsys):
    assert rows in checked_and_trained(capsys, SHARED / name)
