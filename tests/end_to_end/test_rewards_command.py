"""`srpo rewards explain` as a user runs it, and the examples of docs/rewards.md."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from srpo.cli import main
from srpo.commands.explanation import MAX_COMPLETION_LENGTH
from srpo.config import SRPOConfig
from srpo.run.rollouts import SCHEMA

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")
REPLY = "<perception>two red, one blue</perception><think>2 + 1</think><answer>{}</answer>"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def explain(*arguments):
    return main(["rewards", "explain", *map(str, arguments)])


def shown(capsys, *arguments):
    """The lines of an explanation, with runs of spaces as one."""
    assert explain(*arguments) == 0
    return lines(capsys.readouterr().out)


def lines(text):
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def refused(capsys, *arguments):
    assert explain(*arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("srpo: error: ")
    return said[0]


def rollout(reply, rewards, **columns):
    nothing = dict.fromkeys(SCHEMA.names)
    row = {"step": 0, "row_id": "1", "question": "How many dots?", "reference": "3", "task": "math"}
    return {**nothing, **row, "completion": reply, "rewards": rewards, "tokens": list(reply), **columns}


def write_run(rows, config, schema=SCHEMA):
    file = Path("run/rollouts/step_000000.parquet")
    file.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    Path("run/config.yaml").write_text(yaml.safe_dump(config))
    return file


def test_a_right_reply_and_its_sum(capsys):
    out = shown(capsys, "--reply", REPLY.format("**3**"), "--answer", "3")
    assert "structured yes" in out
    assert "read as 3" in out
    assert "verdict right, by the rule 'text'" in out
    assert out[-3:] == ["accuracy 1.000 x 0.9", "format 1.000 x 0.1", "sum 1.000"]


def test_a_wrong_choice_with_other_tags_from_a_file(capsys, tmp_path):
    (tmp_path / "reply.txt").write_text("<look>x</look><reason>y</reason><final>B) 14</final>")
    options = ("--options", '["10", "12", 14]', "--response_format", "look,reason,final")
    out = shown(capsys, "--reply", "reply.txt", "--answer", "C", *options)
    assert "options A. 10; B. 12; C. 14" in out
    assert "reason the letter and the text of 'B) 14' do not agree, the reference option C" in out
    assert out[-1] == "sum 0.100"


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("<answer>3</answer>", "no: <perception> is missing"),
        (REPLY.format("3")[:-9], "no: </answer> is missing"),
        (REPLY.format("3") + "<answer>4</answer>", "no: <answer> occurs 2 times"),
        (
            "<think>x</think><perception>y</perception><answer>3</answer>",
            "no: the tags are not in the order <perception>",
        ),
        ("<perception> </perception><think>x</think><answer>3</answer>", "no: a block is blank"),
    ],
)
def test_why_a_reply_is_not_structured(capsys, reply, problem):
    out = shown(capsys, "--reply", reply, "--answer", "3")
    assert any(line.startswith(f"structured {problem}") for line in out)


def test_task_alternatives_and_ones_own_function(capsys, tmp_path):
    (tmp_path / "mine.py").write_text("def two(completions, answer, **kwargs):\n    return [2.0 for _ in answer]\n")
    more = ("--alternatives", '["5"]', "--task", "math:0.5", "--reward_funcs", "accuracy", "mine.py:two", "length")
    out = shown(capsys, "--reply", REPLY.format("5.4"), "--answer", "3", *more)
    assert "reference 3 or 5" in out
    assert "task math:0.5" in out
    assert out[-4:] == [
        "accuracy 1.000 x 1",
        "mine.py:two 2.000 x 1",
        "length left out x 0.5 needs the reply's tokens, which a run's rollouts have",
        "sum 3.000",
    ]


def test_a_row_of_a_data_set(capsys):
    rows = Path("rows.jsonl")
    rows.write_text('{"id": "a", "question": "Which?", "answer": "blue", "options": ["red", "blue"]}\n' * 2)
    out = shown(capsys, "--dataset", rows, "--id", "a", "--reply", REPLY.format("B"))
    assert "Which?" in out
    assert "verdict right, by the rule 'choice'" in out
    said = refused(capsys, "--dataset", rows, "--id", "c", "--reply", "x")
    assert "rows.jsonl has no row 'c' among" in said


def test_rollouts_of_a_run(capsys):
    rewards = [
        ("accuracy_reward", 1.0),
        ("format_reward", 1.0),
        ("soft_overlong_punishment_reward", -0.25),
        ("mine", 4.0),
    ]
    rows = [rollout(REPLY.format("3"), rewards, tokens=["x"] * 90), rollout("no block", [("accuracy_reward", 1.0)])]
    names = ["accuracy", "format", "length:40", "my_rewards.mine"]
    file = write_run(rows, {"reward_funcs": names, "max_completion_length": 120})
    listed = shown(capsys, file)
    assert listed[1].split()[:7] == ["0", "1.00", "1.00", "-0.25", "4.00", "4.88", "3"]
    assert listed[2].endswith("no answer block")
    out = shown(capsys, file, "--row", 0)
    assert out[-5:] == [
        "accuracy 1.000 x 0.9 as recorded",
        "format 1.000 x 0.1 as recorded",
        "length:40 -0.250 x 0.5 as recorded",
        "my_rewards.mine 4.000 x 1 as the run recorded it",
        "sum 4.875",
    ]
    assert "accuracy 0.000 x 0.9 the run recorded 1.000" in shown(capsys, file, "--row", 1)
    assert "row 2 must be 0 to 1" in refused(capsys, file, "--row", 2)


def test_rollouts_use_the_tags_and_weights_of_the_run_and_older_files_are_read(capsys):
    schema = pa.schema([field for field in SCHEMA if field.name not in ("options", "task", "alternatives")])
    row = rollout("<look>x</look><reason>y</reason><final>3</final>", [])
    config = {"response_format": "look,reason,final", "reward_weights": [0.5, 0.25]}
    file = write_run([{name: row[name] for name in schema.names}], config, schema)
    assert shown(capsys, file, "--row", 0)[-1] == "sum 0.750"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "--reply is missing; give --reply and --answer"),
        (["--reply", "x"], "--answer is missing"),
        (["--reply", "x", "--answer", "3", "--colour", "red"], "unknown option '--colour'"),
        (["--reply", "x", "--answer", "3", "--task", "maths"], "task 'maths' must be one of"),
        (["--reply", "<answer>x</answer>", "--answer", "3", "--task", "box"], "reference '3' must be a box"),
        (["--reply", "x", "--answer", "3", "--options", "red"], "--options 'red' is not JSON"),
        (["--reply", "x", "--answer", "3", "--options", '{"A": 1}'], "must be a list"),
        (["--reply", "x", "--answer", "3", "--response_format", "a,b"], "must name three tags"),
        (
            ["--reply", "x", "--answer", "3", "--reward_funcs", "acuracy"],
            "reward function 'acuracy' cannot be imported",
        ),
        (["--reply", "x", "--answer", "3", "--reward_weights", "1"], "reward_weights has 1 numbers for the 2"),
        (["--reply", "x", "--answer", "3", "--reward_weights", "a"], "invalid float value: 'a'"),
        (["--reply", "x", "--id", "a", "--dataset", "nowhere"], "nowhere"),
        (["--dataset", "shapes", "--reply", "x"], "--id is missing"),
        (["nowhere.parquet"], "nowhere.parquet is no file of rollouts"),
        (["nowhere.parquet", "--reply", "x"], "--reply does not go with a file of rollouts"),
    ],
)
def test_mistakes_end_in_one_sentence(capsys, arguments, problem):
    assert problem in refused(capsys, *arguments)


def test_the_completion_length_of_a_run_that_does_not_say():
    assert {field.name: field.default for field in fields(SRPOConfig)}["max_completion_length"] == MAX_COMPLETION_LENGTH


def test_help_and_unknown_commands(capsys):
    assert main(["rewards", "--help"]) == 0
    assert "srpo rewards explain" in capsys.readouterr().out
    assert main(["rewards"]) == 2
    capsys.readouterr()
    assert main(["rewards", "explane"]) == 2
    assert "the one there is, is srpo rewards explain" in capsys.readouterr().err


def test_the_python_examples_of_the_page():
    examples = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "rewards.md", "exec"), {})


def test_the_console_examples_of_the_page(capsys):
    examples = re.findall(r"```console\n\$ srpo (.*?)\n(.*?)```", DOCS, re.DOTALL)
    assert examples
    for command, output in examples:
        assert main(shlex.split(command)) == 0
        assert lines(capsys.readouterr().out) == lines(output)


def test_the_counts_of_the_page():
    cases = (Path(__file__).parents[1] / "graded_replies.jsonl").read_text(encoding="utf-8").splitlines()
    marked = sum('"disagrees"' in case for case in cases)
    assert f"{len(cases)} whole replies" in DOCS
    assert f"disagrees with {marked} of them" in DOCS
