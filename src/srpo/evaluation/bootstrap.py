"""Estimates over questions, with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 100  # resamples that are drawn together, which bounds the memory


@dataclass(frozen=True)
class Estimate:
    """A figure, its interval, and the number of questions that it rests on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Bootstrap:
    """Percentile bootstrap over questions: whole questions are drawn with replacement, never single replies.

    The replies to one question are no independent witnesses, so that an interval over replies would be too narrow.

    Attributes:
        seed: of the resampling.
        resamples: how many.
        level: of the interval, which leaves out (1 - level) / 2 of the resampled figures at either end.
    """

    seed: int = 0
    resamples: int = 2000
    level: float = 0.95

    def mean(self, values: Sequence[float], *, share: bool = False) -> Estimate:
        """The mean over questions, each with one value: sum of v_q / N.

        Args:
            values: v_q.
            share: see `ratio`.

        Raises:
            ValueError: without a value.
        """
        return self.ratio(values, np.ones(len(values)), share=share)

    def ratio(
        self, numerators: Sequence[float], denominators: Sequence[float] | np.ndarray, *, share: bool = False
    ) -> Estimate:
        """A ratio of sums over questions: sum of a_q / sum of b_q, both sums from the same resample.

        For shares whose denominator differs from question to question, such as those of the right replies. Resamples
        whose denominator is 0 are left out.

        Args:
            numerators: a_q, one for each question.
            denominators: b_q >= 0.
            share: every a_q / b_q lies in [0, 1]. Where all are 0, or all 1, no resample differs; the interval is then
                that of Clopper and Pearson for none, or all, of n: its other end is ((1 - level) / 2)^(1/n) away from
                1, or from 0. [choice]

        Raises:
            ValueError: for lists of different lengths, and for a sum of denominators that is 0.
        """
        above, below = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
        if above.shape != below.shape:
            raise ValueError(f"{above.size} numerators need as many denominators, not {below.size}")
        if not below.sum() > 0:
            raise ValueError("an estimate needs a question to rest on; leave the figure out where there is none")
        value, n, tail = float(above.sum() / below.sum()), int((below > 0).sum()), (1 - self.level) / 2
        if share and value in (0.0, 1.0):
            return Estimate(value, tail ** (1 / n) if value else 0.0, 1.0 if value else 1 - tail ** (1 / n), n)
        resampled = self._resample(np.stack([above, below]))
        figures = resampled[0][resampled[1] > 0] / resampled[1][resampled[1] > 0]
        low, high = np.quantile(figures, [tail, 1 - tail])
        return Estimate(value, float(low), float(high), n)

    def _resample(self, columns: np.ndarray) -> np.ndarray:
        """Sums (columns, resamples) over questions drawn with replacement from `columns` (columns, N)."""
        questions = columns.shape[1]
        rng = np.random.default_rng(self.seed)
        sums = [
            columns @ rng.multinomial(questions, np.full(questions, 1 / questions), size=size).T
            for size in _chunks(self.resamples)
        ]
        return np.concatenate(sums, axis=1)


def _chunks(total: int) -> list[int]:
    return [min(CHUNK, total - start) for start in range(0, total, CHUNK)]
