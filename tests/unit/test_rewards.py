"""Rewards in TRL's signature: shapes of completions, columns, missing references, other tags."""

import inspect

import pytest

from srpo.grading import Grade
from srpo.rewards import (
    RewardError,
    accuracy_reward,
    completion_text,
    format_reward,
    grade_reply,
    make_accuracy_reward,
    make_format_reward,
)
from srpo.roles import ResponseFormat


def reply(answer: str) -> str:
    return f"<perception>two red, one blue</perception><think>2 + 1</think><answer>{answer}</answer>"


def message(text: object, role: str = "assistant") -> dict:
    return {"role": role, "content": text}


def test_plain_and_conversational_completions_earn_the_same() -> None:
    texts = [reply("3"), reply("4"), "3"]
    chats = [[message(text)] for text in texts]
    parts = [[message([{"type": "text", "text": text[:9]}, {"type": "text", "text": text[9:]}])] for text in texts]
    for completions in (texts, chats, parts):
        assert accuracy_reward(completions, answer=["3"] * 3) == [1.0, 0.0, 0.0]
        assert format_reward(completions) == [1.0, 1.0, 0.0]


def test_the_last_answer_block_counts() -> None:
    completions = [
        "<answer>3</answer><answer>4</answer>",
        "<answer>4</answer> no, <answer>3</answer>",
        "<answer>3</answer><answer>4",
        "<answer>3",
        "<answer></answer>",
        "",
    ]
    assert accuracy_reward(completions, answer=["3"] * 6) == [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_only_the_assistant_speaks_for_the_policy() -> None:
    completion = [message("<answer>3</answer>"), message("<answer>4</answer>", role="tool"), message(None)]
    assert completion_text(completion) == "<answer>3</answer>\n"
    assert accuracy_reward([completion], answer=["3"]) == [1.0]
    assert completion_text([message([{"type": "image"}, {"type": "text", "text": None}, "a"])]) == "a"


def test_what_trl_passes_along_is_ignored() -> None:
    rewards = accuracy_reward(
        prompts=["p"],
        completions=[reply("B")],
        completion_ids=[[1, 2]],
        answer=["blue"],
        options=[["red", "blue"]],
        task=["choice"],
        images=[[object()]],
        trainer_state=None,
        log_extra=None,
        log_metric=None,
    )
    assert rewards == [1.0]
    assert format_reward(prompts=["p"], completions=[reply("B")], completion_ids=[[1]], answer=["blue"]) == [1.0]


def test_rows_of_all_kinds_in_one_batch() -> None:
    rewards = accuracy_reward(
        [reply("B"), reply("1/2"), reply("The Triangle."), reply("07"), reply("9")],
        answer=[9, 0.5, "triangle", "7", 9],
        options=[["4", "9"], None, [], [], ["4", "9"]],
        task=["choice", "math", "text", "text", None],
    )
    assert rewards == [1.0, 1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("missing", [None, "", "  ", float("nan")])
def test_a_row_without_reference_is_left_out(missing: object) -> None:
    assert accuracy_reward([reply("3"), "no block", reply("3")], answer=["3", missing, missing]) == [1.0, None, None]


def test_the_column_solution_stands_in_for_answer() -> None:
    assert accuracy_reward([reply("3")], solution=["3"]) == [1.0]
    assert accuracy_reward([reply("3")], answer=["4"], solution=["3"]) == [0.0]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (
            {"label": ["3"], "task": ["math"], "prompts": ["p"], "trainer_state": 1},
            r"needs a column 'answer' or 'solution' with the right answers, and the data has 'label', 'task'; rename",
        ),
        ({}, "and the data has no other columns; rename"),
        ({"answer": "3"}, "column 'answer' has a single text for 1 completions; give one value per completion"),
        ({"answer": ["3", "4"]}, "column 'answer' has 2 values for 1 completions"),
        ({"answer": ["3"], "options": [[], []]}, "column 'options' has 2 values for 1 completions"),
        (
            {"answer": ["3"], "task": ["essay"]},
            "task 'essay' must be one of math, choice, text, range, box; correct it",
        ),
        ({"answer": [["3", "4"]]}, r"reference \['3', '4'\] must be one text or number, not a list; write it as text"),
    ],
)
def test_unusable_columns_are_named(columns: dict, problem: str) -> None:
    with pytest.raises(RewardError, match=problem):
        accuracy_reward([reply("3")], **columns)


def test_an_unstructured_reply_has_no_format_reward() -> None:
    good = reply("3")
    assert format_reward([good, f"{good}\n", good + good, good.replace("</think>", ""), "3"]) == [1, 1, 0, 0, 0]


def test_other_tags() -> None:
    tags = ResponseFormat(perception="look", reasoning="reason", answer="final")
    accuracy, structure = make_accuracy_reward(tags), make_format_reward(tags)
    text = "<look>two</look><reason>2</reason><final>2</final>"
    assert accuracy([text, reply("2")], answer=["2", "2"]) == [1.0, 0.0]
    assert structure([text, reply("2")]) == [1.0, 0.0]


def test_built_rewards_have_the_names_and_signature_that_trl_logs_and_calls() -> None:
    assert make_accuracy_reward().__name__ == accuracy_reward.__name__ == "accuracy_reward"
    assert make_format_reward().__name__ == format_reward.__name__ == "format_reward"
    for built, own in ((make_accuracy_reward(), accuracy_reward), (make_format_reward(), format_reward)):
        assert inspect.signature(built).parameters.keys() == inspect.signature(own).parameters.keys()


def test_a_bad_timeout_is_refused_at_once() -> None:
    with pytest.raises(RewardError, match=r"timeout -1 must be positive; give seconds, such as 5\.0"):
        make_accuracy_reward(timeout=-1)


def test_empty_batch() -> None:
    assert accuracy_reward([], answer=[]) == []
    assert format_reward([]) == []


def test_alternatives_and_partial_scores_reach_the_reward() -> None:
    rewards = accuracy_reward(
        [reply("NYC"), reply("[0, 0, 10, 4]"), reply("95"), reply("A and B")],
        answer=["New York", "[0, 0, 10, 10]", "100", "A, B"],
        alternatives=[["NYC"], [], None, []],
        options=[[], [], None, ["x", "y", "z"]],
        task=["text", "box:iou", "math:5%", "choice"],
    )
    assert rewards == [1.0, pytest.approx(0.4), 1.0, 1.0]


def test_a_bad_task_is_told_even_where_no_reply_has_an_answer() -> None:
    with pytest.raises(RewardError, match="task 'essay' must be one of"):
        accuracy_reward(["no block"], answer=["3"], task=["essay"])


def test_a_reference_that_its_task_cannot_use_is_told() -> None:
    with pytest.raises(RewardError, match="reference 'the dog' must be a box"):
        accuracy_reward([reply("[0, 0, 1, 1]")], answer=["the dog"], task=["box"])


def test_a_graded_reply_says_why() -> None:
    assert grade_reply(reply("4"), "3") == Grade(False, "number", "4 is not 3")
    assert grade_reply("3", "3") == Grade(False, "format", "the reply has no closed answer block")
    assert grade_reply(reply("3"), "") is None
