"""A user's reward function: found by import path or file path, its signature checked, tried on the first rows."""

import asyncio
import importlib
import importlib.util
import inspect
import math
import numbers
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from srpo.cli import UsageError

RewardFunction = Callable[..., Sequence[float | None]]

FROM_TRL = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
ROWS_TRIED = 2
REMEDY = (
    "give accuracy, format, length, an import path such as my_rewards.brevity, or a file such as rewards.py:brevity"
)


def import_reward(path: str) -> RewardFunction:
    """The function that "package.module.name" or "folder/file.py:name" names; modules of this folder are found too.

    Raises:
        UsageError: for a path that cannot be imported, or that names something that cannot be called.
    """
    file, colon, name = path.rpartition(":")
    try:
        function = getattr(_module_of_file(file), name) if colon else _imported(path)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"reward function {path!r} cannot be imported ({type(error).__name__}: {error}); {REMEDY}"
        ) from error
    if isinstance(function, type) or not callable(function):
        kind = "class" if isinstance(function, type) else f"value of type {type(function).__name__}"
        raise UsageError(f"reward function {path!r} is a {kind} and must be a function")
    return function


def check_signature(path: str, function: RewardFunction, columns: Iterable[str]) -> None:
    """Check that TRL can call the function: it must take what it is not given, and ask for nothing that there is not.

    TRL passes `completions`, `prompts`, ..., and every column of the data by name, so a function without **kwargs must
    name them all.

    Raises:
        UsageError: naming the first parameter or column that does not fit.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return
    passed = [*FROM_TRL, *(column for column in columns if column not in ("prompt", "completion"))]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    required = [p.name for p in parameters if p.name in named and p.default is p.empty]
    absent = [name for name in required if name not in passed]
    if positional or absent:
        raise UsageError(
            f"reward function {path!r} asks for {(positional or absent)[0]!r}, and it is given by name: "
            f"{', '.join(passed)}; rename the parameter or give it a default"
        )
    refused = [name for name in passed if name not in named]
    if refused and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise UsageError(
            f"reward function {path!r} has no parameter {refused[0]!r}, which it is given; "
            "add **kwargs to its parameters"
        )


def try_reward(path: str, function: RewardFunction, rows: Iterable[dict[str, Any]], reply: str) -> None:
    """Call the function once on the first rows, each with `reply`; errors as in `call_reward`."""
    if first := list(islice(iter(rows), ROWS_TRIED)):
        call_reward(path, function, first, reply)


def call_reward(
    path: str, function: RewardFunction, rows: Sequence[dict[str, Any]], reply: str
) -> Sequence[float | None]:
    """The rewards of `reply` for each row, asked for as TRL does (without the tokens of the reply).

    Raises:
        UsageError: when it raises, returns another number of rewards than completions, or anything but numbers.
    """
    columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "completion")}
    given: dict[str, Any] = {
        "prompts": [row.get("prompt") for row in rows],
        "completions": [[{"role": "assistant", "content": reply}] for _ in rows],
        "completion_ids": [[0] * 8 for _ in rows],
        "trainer_state": None,
        "log_extra": lambda *arguments: None,
        "log_metric": lambda *arguments: None,
    }
    try:
        rewards: Any = function(**given, **columns)
        rewards = asyncio.run(_awaited(rewards)) if inspect.isawaitable(rewards) else rewards
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UsageError(f"reward function {path!r} fails on a trial with {len(rows)} rows ({reason})") from error
    return _checked(path, rewards, len(rows))


def _checked(path: str, rewards: Any, count: int) -> list[float | None]:
    rule = "it must return a list with one number, or None, for each completion"
    if isinstance(rewards, (str, bytes, dict)) or not isinstance(rewards, Iterable):
        raise UsageError(f"reward function {path!r} returns a {type(rewards).__name__}; {rule}")
    values = list(rewards)
    if len(values) != count:
        raise UsageError(f"reward function {path!r} returns {len(values)} rewards for {count} completions; {rule}")
    for value in values:
        if value is not None and not _is_number(value):
            raise UsageError(f"reward function {path!r} returns {value!r} as a reward; {rule}")
        if value is not None and math.isnan(float(value)):
            raise UsageError(
                f"reward function {path!r} returns nan as a reward, and a reward must be a number; "
                "return None to leave a row out"
            )
    return [None if value is None else float(value) for value in values]


def _is_number(value: Any) -> bool:
    if not isinstance(value, numbers.Real):  # a tensor of one element counts, a text does not
        item = getattr(value, "item", None)
        value = item() if item is not None and getattr(value, "ndim", 1) == 0 else None
    return isinstance(value, numbers.Real) and not math.isinf(float(value))


async def _awaited(rewards: Any) -> Any:
    return await rewards


def _imported(path: str) -> Any:
    module, dot, name = path.rpartition(".")
    if not dot:
        raise ImportError("it is neither a known name nor a path")
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    finally:
        sys.path.remove(os.getcwd())


def _module_of_file(file: str) -> Any:
    path = Path(file).expanduser().resolve()
    name = f"_reward_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.exists():
        raise ImportError(f"there is no Python file {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
