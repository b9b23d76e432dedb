"""The reward functions of a job, by name or import path, and their weights."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset

from srpo.cli import UsageError
from srpo.commands.arguments import Job
from srpo.data import world
from srpo.rewards import completion_text, make_accuracy_reward, make_format_reward
from srpo.roles import ResponseFormat

FORMAT_WEIGHT = 0.1  # 0.9 accuracy + 0.1 format: EasyR1, VPPO

RewardFunction = Callable[..., Sequence[float | None]]


def make_rewards(job: Job, response_format: ResponseFormat, dataset: Dataset) -> list[RewardFunction]:
    """Reward functions; their weights go into the config. The built-in world adds its perception grade with weight 0.

    Raises:
        UsageError: for a name that is neither known nor an import path, and for a wrong number of weights.
    """
    names = job.arguments.reward_funcs
    functions: list[RewardFunction] = []
    weights: list[float] = []
    for name in names:
        if name in ("accuracy", "accuracy_reward"):
            functions.append(make_accuracy_reward(response_format))
            weights.append(1.0 - FORMAT_WEIGHT if len(names) > 1 else 1.0)
        elif name in ("format", "format_reward"):
            functions.append(make_format_reward(response_format))
            weights.append(FORMAT_WEIGHT if len(names) > 1 else 1.0)
        else:
            functions.append(_imported(name))
            weights.append(1.0)
    given = job.config.reward_weights
    if given is not None and len(given) != len(names):
        raise UsageError(
            f"reward_weights has {len(given)} numbers for the {len(names)} reward functions {', '.join(names)}; "
            "give one for each"
        )
    job.config.reward_weights = list(given or weights)
    if "truth" in dataset.column_names:
        functions.append(_perception_grade(response_format))
        job.config.reward_weights.append(0.0)
    return functions


def _imported(path: str) -> RewardFunction:
    module, _, name = path.rpartition(".")
    sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"reward function {path!r} cannot be imported ({error}); give accuracy, format, or an import path such as "
            "my_rewards.brevity"
        ) from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(function):
        raise UsageError(f"reward function {path!r} is a {type(function).__name__} and must be callable")
    return function


def _perception_grade(response_format: ResponseFormat) -> RewardFunction:
    def perception(completions: Sequence[Any], truth: Sequence[str], **kwargs: Any) -> list[float | None]:
        """1.0 where the written perception holds exactly the facts that the answer rests on; a figure, not a reward."""
        grades: list[float | None] = []
        for completion, facts in zip(completions, truth, strict=True):
            text = completion_text(completion)
            spans = response_format.spans(text)
            seen = text[spans[0].start : spans[0].end] if spans else ""
            grades.append(world.score_perception(seen, facts)["needed_right"])
        return grades

    return perception
