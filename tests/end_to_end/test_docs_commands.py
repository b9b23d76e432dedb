"""What the pages about evaluation, credit and comparison name exists: commands, options, settings, files."""

import dataclasses
import re
from pathlib import Path

import pytest
from trl import ModelConfig

from srpo.cli import COMMANDS
from srpo.commands.arguments import JobArguments
from srpo.commands.compare_options import CompareArguments
from srpo.commands.credit_options import CreditArguments, parse
from srpo.commands.eval_options import EvalArguments
from srpo.config import SRPOConfig

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "evaluation": (EvalArguments, ModelConfig),
    "credit": (CreditArguments, SRPOConfig, ModelConfig),
    "compare": (CompareArguments, JobArguments, SRPOConfig, ModelConfig),
}
ALIASES = {"model", "dataset", "config", "help", "help_all"}
OF_OTHERS = {"num_processes", "limit", "reasoning_tags"}  # accelerate's and lmms-eval's


def page(name):
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", KINDS)
def test_options_exist(name):
    fields = {field.name for kind in KINDS[name] for field in dataclasses.fields(kind)}
    named = set(re.findall(r"(?<![\w-])--([a-z]\w+)", page(name).replace("srpo eval --audit", "")))
    assert named - fields - ALIASES - OF_OTHERS == set()


def test_commands_and_make_targets_exist():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / f"{name}.md" for name in KINDS)]
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    examples = "\n".join(re.findall(r"```\w*\n.*?```|^    .*$|`[^`\n]+`", text, re.DOTALL | re.MULTILINE))
    commands = set(re.findall(r"(?:^ *|`)srpo ([a-z]+)", examples, re.MULTILINE))
    assert {"eval", "credit", "compare"} <= commands <= {*COMMANDS}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^ *|`)make ([a-z-]+)", examples, re.MULTILINE)) <= targets


def test_credits_that_are_named_can_be_measured(tmp_path):
    texts = re.findall(r"--credits ((?:[a-z][\w:=.,/]* ?)+)", page("credit"))
    assert texts
    for text in texts:
        assert len(parse(["tiny", "--output_dir", str(tmp_path), "--credits", *text.split()]).specs) > 2


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_links_between_pages(path):
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert "://" in link or (path.parent / link).exists(), link
