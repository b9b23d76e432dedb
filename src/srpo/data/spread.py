"""Least, median, 99th percentile and most of some numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The spread of numbers; the percentiles are values that occur (the next higher rank)."""

    least: float
    median: float
    p99: float
    most: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> "Spread | None":
        """The spread of some numbers, None for none."""
        if not numbers:
            return None
        values = np.quantile(np.asarray(numbers), [0, 0.5, 0.99, 1], method="higher")
        return cls(*(float(value) if value % 1 else int(value) for value in values))
