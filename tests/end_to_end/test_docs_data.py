"""Every example of docs/data.md runs as it stands, on local files."""

import json
import re
import shlex
from pathlib import Path

import pytest
from datasets import Dataset
from PIL import Image

from srpo.cli import main
from srpo.data.presets import PRESETS
from srpo.data.schema import COLUMNS, USUAL_NAMES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def examples(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the examples name."""
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path, tmp_path / "my_folder"):
        (place / "images").mkdir(parents=True)
        Image.new("RGB", (40, 40), "red").save(place / "images" / "red.png")
    row = {"question": "What?", "ask": "What colour?", "answer": "red", "image": "red.png"}
    (tmp_path / "my_folder" / "train.jsonl").write_text(json.dumps(row))
    own = {
        "context": "Look at the square.",
        "ask": "What colour has it?",
        "meta": {"key": "red"},
        "options": ["red", "blue"],
    }
    Image.new("RGB", (40, 40), "blue").save(tmp_path / "blue.png")
    rows = [{"nr": 5, **own, "image": "images/red.png"}, {"nr": 6, **own, "meta": {"key": "blue"}, "image": "blue.png"}]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    mathvista = {"pid": "1", "question": "How long?", "answer": "1.2", "precision": 1.0, "answer_type": "float"}
    (tmp_path / "my_mathvista").mkdir()
    Dataset.from_list([mathvista]).to_parquet(tmp_path / "my_mathvista" / "testmini.parquet")
    (mixture,) = examples("yaml")
    (tmp_path / "mix.yaml").write_text(mixture)
    return tmp_path


@pytest.mark.parametrize("number", range(len(examples("python"))))
def test_python(number, folder):
    exec(compile(examples("python")[number], f"docs/data.md, example {number + 1}", "exec"), {})


@pytest.mark.parametrize("line", [line for example in examples("bash") for line in example.splitlines()])
def test_command_lines(line, folder, capsys):
    program, *arguments = shlex.split(line)
    assert program == "srpo"
    assert main(arguments) == 0


def test_tables_are_complete():
    for column in COLUMNS:
        assert f"\n| `{column}` | " in TEXT
    for name in PRESETS:
        assert f"\n| `{name}` | " in TEXT
    for ours, names in USUAL_NAMES.items():
        (row,) = re.findall(rf"\n\| `{ours}` \| (`.*?) \|", TEXT.partition("## Columns")[2].partition("## Presets")[0])
        assert re.findall("`([^`]+)`", row.partition(";")[0]) == list(names)
    for preset in PRESETS.values():
        assert preset.hub in TEXT
