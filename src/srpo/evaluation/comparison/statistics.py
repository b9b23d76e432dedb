"""Means, intervals and paired tests over seeds: pure functions of a few numbers."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from srpo.evaluation.student import t_quantile, two_sided_p

LEVEL = 0.95
NO_SPREAD = 1e-9  # of the largest difference: what rounding leaves of differences that are equal
MAX_EXACT = 20  # seeds: 2^20 sign patterns take a second


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds with its interval, whose ends are None for a single seed.

    `bound` is "≥" or "≤" where the mean is a bound of the true one, because figures are censored; it has no interval.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    bound: str = ""


@dataclass(frozen=True)
class Paired:
    """Differences to the baseline, one per seed: their mean with interval, and two tests of the mean being 0.

    Differences that are equal in all seeds have neither interval nor t test, but for p = 1 where all are 0.
    """

    difference: Interval
    p_t: float | None
    p_sign_flip: float | None


def mean_interval(values: Sequence[float], level: float = LEVEL, *, bound: str = "") -> Interval:
    """mean ± t · s / √n over independent seeds, with s the standard deviation (n − 1) and t Student's quantile.

    Args:
        values: one of each seed.
        level: coverage of the interval.
        bound: "≥" or "≤" where some values are such bounds, and with them the mean; there is no interval then.

    Raises:
        ValueError: for no values, or one that is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"values {list(values)} must be one finite number or more; leave out what is missing")
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1 or bound:
        return Interval(mean, None, None, n, bound)
    half = t_quantile(level, n - 1) * _standard_error(values, mean)
    return Interval(mean, mean - half, mean + half, n)


def paired_comparison(
    values: Mapping[int, float],
    baseline: Mapping[int, float],
    *,
    censored: Collection[int] = (),
    baseline_censored: Collection[int] = (),
) -> Paired | None:
    """A method against the baseline over the seeds that both have; None where they share none.

    The t test assumes differences that are about normal; the sign-flip test only that they are symmetric around 0.
    A censored figure is a lower bound, so the mean difference is a lower bound where figures of the method are
    censored and an upper one where figures of the baseline are, without interval and tests; None where both are.

    Args:
        values: seed -> figure of the method.
        baseline: seed -> figure of the baseline.
        censored: seeds whose figure of the method is censored.
        baseline_censored: seeds whose figure of the baseline is censored.
    """
    seeds = sorted(set(values) & set(baseline))
    bounds = "≥" * bool(set(seeds) & set(censored)) + "≤" * bool(set(seeds) & set(baseline_censored))
    if not seeds or len(bounds) > 1:
        return None
    differences = [values[seed] - baseline[seed] for seed in seeds]
    interval = mean_interval(differences, bound=bounds)
    if interval.n == 1 or bounds:
        return Paired(interval, None, None)
    error, largest = _standard_error(differences, interval.mean), max(map(abs, differences))
    if error * math.sqrt(interval.n) <= NO_SPREAD * largest:
        return Paired(
            Interval(interval.mean, None, None, interval.n), None if largest else 1.0, sign_flip_p(differences)
        )
    return Paired(interval, two_sided_p(interval.mean / error, interval.n - 1), sign_flip_p(differences))


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Exact two-sided sign-flip p: the share of the 2^n sign patterns whose |mean| is at least that observed.

    It cannot fall below 2 / 2^n, `sign_flip_floor`. None for more than MAX_EXACT differences.
    """
    if len(differences) > MAX_EXACT:
        return None
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    scale = math.fsum(map(abs, differences))
    return float(np.mean(np.abs(sums) >= abs(math.fsum(differences)) - 1e-9 * scale))


def sign_flip_floor(n: int) -> float:
    """The smallest p that `sign_flip_p` can give with n differences: 2 / 2^n."""
    return 2.0 / 2**n


def holm(p_values: Mapping[str, float], planned: int) -> dict[str, float]:
    """Holm's adjusted p-values: with p_(1) <= p_(2) <= ..., max over j <= i of (m − j + 1) · p_(j), at most 1.

    They control the chance of any false finding in the family (Holm 1979).

    Args:
        p_values: of the tests that could be made.
        planned: m, the number of tests that were to be made; those without a p-value count.

    Raises:
        ValueError: for fewer planned tests than p-values.
    """
    if planned < len(p_values):
        raise ValueError(f"planned {planned} must be at least the number of p-values, {len(p_values)}")
    adjusted: dict[str, float] = {}
    highest = 0.0
    for i, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        highest = max(highest, min(1.0, (planned - i) * p_values[name]))
        adjusted[name] = highest
    return adjusted


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Trailing mean over up to `window` values, fewer at the start.

    Raises:
        ValueError: for a window below 1.
    """
    if window < 1:
        raise ValueError(f"window {window} must be 1 or more; 1 smooths nothing")
    return [
        math.fsum(part) / len(part) for part in (values[max(0, i + 1 - window) : i + 1] for i in range(len(values)))
    ]


def first_reach(steps: Sequence[int], values: Sequence[float], target: float, window: int) -> int | None:
    """The first step at which the trailing mean over `window` values is at the target, and the next one too.

    Only full windows count. The next one is that of the `window` values behind; it keeps a noisy curve from reaching
    the target by one lucky window. None where the target is not reached, or only where nothing is left to confirm it.
    """
    means = smoothed(values, window)
    confirmed = range(window - 1, len(means) - window)
    return next((steps[i] for i in confirmed if min(means[i], means[i + window]) >= target), None)


def _standard_error(values: Sequence[float], mean: float) -> float:
    squares = math.fsum((value - mean) ** 2 for value in values)
    return math.sqrt(squares / (len(values) - 1) / len(values))
