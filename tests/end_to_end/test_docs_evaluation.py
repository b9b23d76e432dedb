"""Every example of docs/evaluation.md runs as it stands, and every figure of an evaluation is defined there."""

import json
import re
import shlex
from pathlib import Path

import pytest

from srpo.cli import main
from srpo.evaluation.store import SCHEMA

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("evaluation*.md")))


def examples(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(examples("python"))))
def test_python(number):
    exec(compile(examples("python")[number], f"docs/evaluation.md, example {number + 1}", "exec"), {})


def test_command_lines(tmp_path, monkeypatch):
    """In their order, because one goes on with the run of another."""
    monkeypatch.chdir(tmp_path)
    for line in [line for example in examples("bash") for line in example.splitlines()]:
        program, *arguments = shlex.split(line)
        assert program == "srpo"
        assert main(arguments) == 0, line
    found = json.loads(Path("runs/pips/evaluation.json").read_text())
    for name in found["metrics"]:
        assert f"`{re.sub('@2', '@j' if name.startswith('pass') else '@k', name)}`" in TEXT, name
    for name in found["audit"]:
        assert name.partition("/")[0] in TEXT, name


def test_every_column_is_named():
    (row,) = re.findall(r"\| `replies.parquet` \|(.*?)\|\n", TEXT)
    graded = {name for name in SCHEMA.names if name.startswith("perception_")}
    for name in {*SCHEMA.names} - graded - {"row_id"}:
        assert re.search(rf"\b{name}\b", row), name
