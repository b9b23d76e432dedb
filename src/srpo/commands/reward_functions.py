"""The reward functions of a job, by name or import path, and their weights."""

from collections.abc import Sequence
from typing import Any

from srpo.cli import UsageError
from srpo.commands.custom_reward import RewardFunction, check_signature, import_reward, try_reward
from srpo.data import world
from srpo.rewards import completion_text, make_accuracy_reward, make_format_reward
from srpo.roles import ResponseFormat

FORMAT_WEIGHT = 0.1  # 0.9 accuracy + 0.1 format: EasyR1, VPPO
LENGTH_WEIGHT = 0.5  # DAPO's penalty reaches -1 beside an accuracy of -1 or 1, twice as wide as ours of 0 or 1
LENGTH_WINDOW = 5  # the last fifth of the completion length: DAPO (4,096 of 20,480 tokens)
ACCURACY = ("accuracy", "accuracy_reward")
FORMAT = ("format", "format_reward")


def make_rewards(job: Any, response_format: ResponseFormat, dataset: Any) -> list[RewardFunction]:
    """Reward functions; their weights go into the config. The built-in world adds its perception grade with weight 0.

    Names: accuracy, format, length or length:WINDOW (TRL's soft overlong punishment over the last WINDOW tokens), an
    import path (my_rewards.brevity) or a file (rewards.py:brevity). A user's function is called once on the first rows.

    Args:
        job: the parsed command line (`srpo.commands.arguments.Job`).
        response_format: the tags.
        dataset: the training rows, a Dataset or an IterableDataset.

    Raises:
        UsageError: for a name that is neither known nor an import path, a function that TRL could not use, and a wrong
            number of weights.
    """
    names = list(job.arguments.reward_funcs)
    if not names:
        raise UsageError("reward_funcs names no function; give accuracy format")
    functions = [make_reward(name, response_format, job.config.max_completion_length) for name in names]
    columns = list(dataset.column_names or ()) or list(next(iter(dataset), {}))
    for name, function in zip(names, functions, strict=True):
        if not is_known(name):
            check_signature(name, function, columns)
            try_reward(name, function, dataset, example_reply(response_format))
    job.config.reward_weights = reward_weights(names, job.config.reward_weights)
    if "truth" in columns:
        functions.append(_perception_grade(response_format))
        job.config.reward_weights.append(0.0)
    return functions


def make_reward(name: str, response_format: ResponseFormat, max_completion_length: int) -> RewardFunction:
    """The reward function of a name or import path; errors as in `make_rewards`."""
    if name in ACCURACY:
        return make_accuracy_reward(response_format)
    if name in FORMAT:
        return make_format_reward(response_format)
    if is_known(name):
        from trl.rewards import get_soft_overlong_punishment

        return get_soft_overlong_punishment(max_completion_length, _window(name, max_completion_length))
    return import_reward(name)


def is_known(name: str) -> bool:
    """Return whether a name is one of ours, and not an import path."""
    return name in (*ACCURACY, *FORMAT, "length") or name.startswith("length:")


def reward_weights(names: Sequence[str], given: Sequence[float] | None = None) -> list[float]:
    """The weight of each reward function: as given, else 0.9 accuracy, 0.1 format, 0.5 length and 1 for others.

    A function alone has weight 1. Raises UsageError where the numbers of weights and functions differ.
    """
    if given is not None:
        if len(given) != len(names):
            raise UsageError(
                f"reward_weights has {len(given)} numbers for the {len(names)} reward functions {', '.join(names)}; "
                "give one for each"
            )
        return list(given)
    if len(names) == 1:
        return [1.0]
    has_format = any(name in FORMAT for name in names)
    return [_default_weight(name, has_format) for name in names]


def example_reply(response_format: ResponseFormat) -> str:
    """A structured reply, for trying a reward function."""
    blocks = {"perception": "two red dots", "reasoning": "1 + 1 = 2", "answer": "2"}
    return "\n".join(text.join(response_format.block(name)) for name, text in blocks.items())


def _default_weight(name: str, has_format: bool) -> float:
    if name in ACCURACY:
        return 1.0 - FORMAT_WEIGHT if has_format else 1.0
    if name in FORMAT:
        return FORMAT_WEIGHT
    return LENGTH_WEIGHT if is_known(name) else 1.0


def _window(name: str, max_completion_length: int) -> int:
    _, colon, text = name.partition(":")
    if not colon:
        return max(1, max_completion_length // LENGTH_WINDOW)
    if not text.isdigit() or not 1 <= int(text) <= max_completion_length:
        raise UsageError(
            f"reward function {name!r} must name a window of 1 to {max_completion_length} tokens "
            "(max_completion_length); write it as in length:256"
        )
    return int(text)


def _perception_grade(response_format: ResponseFormat) -> RewardFunction:
    def perception(completions: Sequence[Any], truth: Sequence[str | None], **kwargs: Any) -> list[float | None]:
        """1.0 where the written perception holds exactly the facts that the answer rests on, None without a truth.

        A figure, not a reward.
        """
        grades: list[float | None] = []
        for completion, facts in zip(completions, truth, strict=True):
            text = completion_text(completion)
            spans = response_format.spans(text)
            seen = text[spans[0].start : spans[0].end] if spans else ""
            grades.append(world.score_perception(seen, facts)["needed_right"] if facts else None)
        return grades

    return perception
