"""Reward functions by name, import path or file: weights, and every mistake in one sentence."""

from types import SimpleNamespace

import pytest
from datasets import Dataset

from srpo.cli import UsageError
from srpo.commands.reward_functions import make_rewards, reward_weights
from srpo.roles import ResponseFormat

REPLY = "<perception>two dots</perception><think>1 + 1</think><answer>2</answer>"
ROWS = Dataset.from_list([{"prompt": [{"role": "user", "content": "How many?"}], "answer": "2"}] * 3)

FUNCTIONS = '''
def brevity(completions, **kwargs):
    """Shorter is better."""
    return [-len(completion[0]["content"]) / 100 for completion in completions]

def named(completions, answer, prompts, completion_ids, trainer_state, log_extra, log_metric):
    return [float(len(value)) for value in answer]

async def later(completions, **kwargs):
    return [None for _ in completions]

def closed(completions, answer):
    return [0.0 for _ in completions]

def asks(completions, colour, **kwargs):
    return [0.0 for _ in completions]

def short(completions, **kwargs):
    return [0.0]

def words(completions, **kwargs):
    return ["good" for _ in completions]

def single(completions, **kwargs):
    return 1.0

def endless(completions, **kwargs):
    return [float("inf") for _ in completions]

def undefined(completions, **kwargs):
    return [float("nan") for _ in completions]

def leaves(completions, **kwargs):
    raise SystemExit(3)

def undefined(completions, **kwargs):
    return [float("nan") for _ in completions]

def leaves(completions, **kwargs):
    raise SystemExit(3)

def undefined(completions, **kwargs):
    return [float("nan") for _ in completions]

def leaves(completions, **kwargs):
    raise SystemExit(3)

def broken(completions, **kwargs):
    raise KeyError("label")

NUMBER = 3

class Reward:
    pass
'''


@pytest.fixture(autouse=True)
def _functions(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(FUNCTIONS)
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)")
    (tmp_path / "syntax.py").write_text("def broken(:")
    monkeypatch.chdir(tmp_path)
    yield
    import sys

    sys.modules.pop("my_rewards", None)


def made(*names, weights=None, dataset=ROWS, length=100):
    config = SimpleNamespace(reward_weights=weights, max_completion_length=length)
    job = SimpleNamespace(arguments=SimpleNamespace(reward_funcs=list(names)), config=config)
    return make_rewards(job, ResponseFormat(), dataset), config.reward_weights


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (["accuracy"], [1.0]),
        (["accuracy", "format"], [0.9, 0.1]),
        (["accuracy", "format", "length"], [0.9, 0.1, 0.5]),
        (["accuracy", "length:20"], [1.0, 0.5]),
        (["my_rewards.brevity", "accuracy"], [1.0, 1.0]),
        (["length"], [1.0]),
    ],
)
def test_default_weights(names, weights):
    assert reward_weights(names) == pytest.approx(weights)


def test_given_weights_win_and_must_be_as_many_as_the_functions():
    assert made("accuracy", "format", weights=[1, 2])[1] == [1, 2]
    with pytest.raises(UsageError, match="reward_weights has 1 numbers for the 2 reward functions accuracy, format"):
        made("accuracy", "format", weights=[1])
    with pytest.raises(UsageError, match="reward_funcs names no function"):
        made()


@pytest.mark.parametrize(("name", "rewards"), [("length", [0, -0.5, -1, -1]), ("length:40", [-0.5, -0.75, -1, -1])])
def test_the_length_penalty_is_that_of_trl(name, rewards):
    (penalty,), _ = made(name)
    assert penalty(completion_ids=[[0] * n for n in (80, 90, 100, 101)]) == rewards


@pytest.mark.parametrize("window", ["0", "101", "x", "-5", ""])
def test_the_window_of_the_length_penalty_must_fit(window):
    with pytest.raises(UsageError, match="must name a window of 1 to 100 tokens .* write it as in length:256"):
        made(f"length:{window}")


@pytest.mark.parametrize("path", ["my_rewards.brevity", "my_rewards.py:brevity", "./my_rewards.py:brevity"])
def test_a_function_by_import_path_or_file(path):
    functions, weights = made("accuracy", path)
    assert weights == [1.0, 1.0]
    assert functions[1].__name__ == "brevity"
    assert functions[1](completions=[[{"role": "assistant", "content": "a" * 50}]]) == [-0.5]


@pytest.mark.parametrize("name", ["named", "later"])
def test_functions_that_name_everything_and_async_ones(name):
    assert made(f"my_rewards.{name}")[1] == [1.0]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "nowhere.brevity",
            r"'nowhere.brevity' cannot be imported \(ModuleNotFoundError.* give accuracy, format, length",
        ),
        ("my_rewards.nothing", "cannot be imported .*no attribute 'nothing'"),
        ("acuracy", "cannot be imported .*neither a known name nor a path"),
        ("nowhere.py:brevity", "cannot be imported"),
        ("syntax.py:broken", "cannot be imported .*SyntaxError"),
        ("my_rewards.NUMBER", "is a value of type int and must be a function"),
        ("my_rewards.Reward", "is a class and must be a function"),
        ("my_rewards.closed", r"has no parameter 'prompts', which it is given; add \*\*kwargs to its parameters"),
        ("my_rewards.asks", r"asks for 'colour', and it is given by name: prompts, .* answer; rename the parameter"),
        ("my_rewards.short", "returns 1 rewards for 2 completions; it must return a list with one number"),
        ("my_rewards.words", "returns 'good' as a reward; it must return a list with one number, or None"),
        ("my_rewards.single", "returns a float; it must return a list"),
        ("my_rewards.endless", "returns inf as a reward"),
        ("my_rewards.undefined", "returns nan as a reward, and .* must be a number; return None to leave a row out"),
        ("my_rewards.leaves", r"fails on a trial with 2 rows \(SystemExit: 3\)"),
        ("leaving.py:reward", r"cannot be imported \(SystemExit: 3\)"),
        ("my_rewards.broken", r"fails on a trial with 2 rows \(KeyError: 'label'\)"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_before_training(path, message):
    with pytest.raises(UsageError, match=message):
        made("accuracy", path)


def test_rows_without_truth_have_no_perception_grade():
    rows = [{"prompt": [], "answer": "2", "truth": truth} for truth in ("", None)]
    (_, perception), weights = made("accuracy", dataset=Dataset.from_list(rows))
    assert weights == [1.0, 0.0]
    assert perception(completions=[REPLY, REPLY], truth=["", None]) == [None, None]


def test_a_stream_of_rows_will_do():
    functions, _ = made("accuracy", "my_rewards.brevity", dataset=ROWS.to_iterable_dataset())
    assert len(functions) == 2
