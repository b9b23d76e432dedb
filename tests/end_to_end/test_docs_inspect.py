"""Every example of docs/inspect.md runs as it stands, and every option that it names exists."""

import dataclasses
import re
import shlex
from pathlib import Path

from trl import ModelConfig

from srpo.cli import main
from srpo.commands.inspect_options import InspectArguments, InspectConfig
from srpo.commands.token_view import BARS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "inspect.md").read_text(encoding="utf-8")


def examples(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_examples_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for example in examples("python"):
        exec(compile(example, "docs/inspect.md", "exec"), {})
    lines = [line for example in examples("bash") for line in example.splitlines()]
    assert len(lines) > 3
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "srpo"
        assert main(arguments) == 0, line
        assert "Highest gaps" in capsys.readouterr().out, line
    named = re.search(r"A folder of the form of a run directory.*?\n\n", TEXT, re.DOTALL)[0]
    for file in Path("runs/blurred").rglob("*.*"):
        assert file.name in named


def test_options_and_bars_exist():
    kinds = (InspectArguments, InspectConfig, ModelConfig)
    fields = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert set(re.findall(r"(?<![\w-])--([a-z]\w+)", TEXT)) - fields == {"config"}
    assert " ".join(BARS) in TEXT
