"""Totals over a training run from its log, whose entries are means over `logging_steps` steps."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any


def logged_total(entries: Sequence[Mapping[str, Any]], name: str, every: Fraction | int = 1) -> float:
    """Sum of a quantity over a run: Σ value · count, because TRL logs the mean over the steps since the last entry.

    Args:
        entries: logged training steps in order, each with its `step`.
        name: of the quantity.
        every: optimizer steps between two values; 1 for one a step. A quantity of a generation has its first value at
            step 1 and a further one every `num_iterations * steps_per_generation / gradient_accumulation_steps` steps.
    """
    total, before = 0.0, 0
    for entry in entries:
        step = int(entry["step"])
        total += (entry.get(name) or 0.0) * (_started(step, every) - _started(before, every))
        before = step
    return total


def _started(step: int, every: Fraction | int) -> int:
    """Values up to a step: its ceiling division."""
    return -int(-step // every)
