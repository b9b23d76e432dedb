"""Why a reply gets its rewards: the blocks found, the answer read, the rule that decided, and the sum."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from srpo.cli import UsageError
from srpo.commands.custom_reward import call_reward, check_signature
from srpo.commands.reward_functions import ACCURACY, FORMAT, is_known, make_reward, reward_weights
from srpo.grading import Grade
from srpo.grading.text import clean
from srpo.rewards import RewardError, grade_reply, reference_text
from srpo.roles import ResponseFormat

MAX_COMPLETION_LENGTH = 512  # of a run that does not say, as in SRPOConfig
SHOWN = 400  # characters of a block


@dataclass
class Case:
    """A reply and what it is judged by; `recorded` holds the rewards of a run, `tokens` the reply's length in it."""

    reply: str
    answer: str | None
    options: list[str] = field(default_factory=list)
    task: str | None = None
    alternatives: list[str] = field(default_factory=list)
    question: str = ""
    row: dict[str, Any] = field(default_factory=dict)
    recorded: dict[str, float] = field(default_factory=dict)
    tokens: int | None = None


@dataclass
class Scheme:
    """Which reward functions a run has, their weights (the defaults for None), tags and completion length."""

    names: list[str]
    weights: list[float] | None = None
    response_format: ResponseFormat = field(default_factory=ResponseFormat)
    max_completion_length: int = MAX_COMPLETION_LENGTH


@dataclass(frozen=True)
class Scored:
    """One reward of a reply: None where the function leaves the row out, and a note where there is something to say."""

    name: str
    weight: float
    value: float | None
    note: str = ""


def grade_case(case: Case, scheme: Scheme) -> Grade | None:
    """The grade of the answer, None without a reference; UsageError for an unusable task or reference."""
    try:
        return grade_reply(
            case.reply,
            case.answer,
            options=case.options,
            task=case.task,
            alternatives=case.alternatives,
            response_format=scheme.response_format,
        )
    except RewardError as error:
        raise UsageError(str(error)) from error


def score(case: Case, scheme: Scheme) -> list[Scored]:
    """Each reward of the scheme for one reply, computed anew where that can be done, else as the run recorded it."""
    weights = reward_weights(scheme.names, scheme.weights)
    return [_scored(name, weight, case, scheme) for name, weight in zip(scheme.names, weights, strict=True)]


def structure_problem(text: str, response_format: ResponseFormat) -> str | None:
    """The first reason why a reply does not have the response format, None where it has it."""
    if response_format.spans(text):
        return None
    tags = [tag for name in ("perception", "reasoning", "answer") for tag in response_format.block(name)]
    for tag in tags:
        if (count := text.count(tag)) != 1:
            return f"{tag} is missing" if count == 0 else f"{tag} occurs {count} times"
    places = [text.index(tag) for tag in tags]
    if places != sorted(places):
        return f"the tags are not in the order {' '.join(tags)}"
    return "a block is blank: both the perception and the derivation must say something"


def show(console: Console, case: Case, scheme: Scheme) -> None:
    """Print the explanation of one reply."""
    grade, rewards = grade_case(case, scheme), score(case, scheme)
    if case.question:
        _section(console, "Question", [("", case.question)])
    _section(console, "Blocks", _blocks(case.reply, scheme.response_format))
    _section(console, "Answer", _answer(case, scheme, grade))
    table = Table.grid(padding=(0, 3))
    for reward in rewards:
        value = "left out" if reward.value is None else f"{reward.value:.3f}"
        table.add_row(f"  {reward.name}", value, f"x {reward.weight:g}", reward.note)
    table.add_row("  sum", f"{total(rewards):.3f}", "", "")
    console.print("Rewards", style="bold")
    console.print(table)


def total(rewards: Sequence[Scored]) -> float:
    """Sum of weight times reward, over the rewards that are not left out."""
    return sum(reward.weight * reward.value for reward in rewards if reward.value is not None)


def _scored(name: str, weight: float, case: Case, scheme: Scheme) -> Scored:
    recorded = _recorded(name, case.recorded)
    value, note = _computed(name, case, scheme)
    if recorded is None:
        return Scored(name, weight, value, note)
    if value is None or note:
        return Scored(name, weight, recorded, "as the run recorded it")
    differs = abs(recorded - value) > 1e-6
    return Scored(name, weight, value, f"the run recorded {recorded:.3f}" if differs else "as recorded")


def _computed(name: str, case: Case, scheme: Scheme) -> tuple[float | None, str]:
    if name in ACCURACY:
        grade = grade_case(case, scheme)
        return (grade.score, "") if grade else (None, "the row has no reference")
    if name in FORMAT:
        return float(bool(scheme.response_format.spans(case.reply))), ""
    if is_known(name):
        if case.tokens is None:
            return None, "needs the reply's tokens, which a run's rollouts have"
        function = make_reward(name, scheme.response_format, scheme.max_completion_length)
        return float(function(completion_ids=[[0] * case.tokens])[0] or 0.0), ""
    if case.recorded:
        return None, ""
    return _of_user(name, case, scheme)


def _of_user(name: str, case: Case, scheme: Scheme) -> tuple[float | None, str]:
    function = make_reward(name, scheme.response_format, scheme.max_completion_length)
    row = {"answer": case.answer, "options": case.options, "task": case.task, "question": case.question, **case.row}
    check_signature(name, function, row)
    return call_reward(name, function, [row], case.reply)[0], ""


def _recorded(name: str, recorded: Mapping[str, float]) -> float | None:
    called = {"length": "soft_overlong_punishment_reward"}.get(name.split(":")[0], re.split(r"[.:]", name)[-1])
    return recorded.get(called, recorded.get(f"{called}_reward"))


def _blocks(text: str, response_format: ResponseFormat) -> list[tuple[str, str]]:
    lines = []
    for name, tag in zip(("perception", "reasoning", "answer"), response_format.tags, strict=True):
        opening, closing = response_format.block(name)
        start = text.rfind(opening)
        end = text.find(closing, start)
        found = start >= 0 and end >= 0
        lines.append((tag, _short(text[start + len(opening) : end]) if found else "not found"))
    problem = structure_problem(text, response_format)
    return [*lines, ("structured", f"no: {problem}" if problem else "yes")]


def _answer(case: Case, scheme: Scheme, grade: Grade | None) -> list[tuple[str, str]]:
    answer = scheme.response_format.answer(case.reply)
    lines = [("read as", _short(clean(answer)) if answer is not None else "nothing: no closed answer block")]
    lines.append(("reference", " or ".join([reference_text(case.answer) or "none", *case.alternatives])))
    if case.options:
        lines.append(("options", "; ".join(f"{chr(65 + i)}. {text}" for i, text in enumerate(case.options))))
    lines.append(("task", case.task or "by options and reference"))
    if grade is None:
        return [*lines, ("verdict", "none: the row has no reference, so its accuracy is left out")]
    verdict = "right" if grade.correct else "wrong"
    return [*lines, ("verdict", f"{verdict}, by the rule {grade.rule!r}"), ("reason", _short(grade.reason))]


def _section(console: Console, title: str, lines: Sequence[tuple[str, str]]) -> None:
    console.print(title, style="bold")
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in lines:
        table.add_row(f"  {name}" if name else " ", text)
    console.print(table)
    console.print()


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"
