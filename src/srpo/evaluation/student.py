"""Student's t: its tail and its quantiles, exact for every number of degrees of freedom."""

import math
from functools import lru_cache

import mpmath


def two_sided_p(t: float, degrees: int) -> float:
    """P(|T| >= |t|) of Student's t: I_x(ν/2, 1/2) with x = ν / (ν + t²), the regularized incomplete beta function.

    Raises:
        ValueError: for fewer than one degree of freedom.
    """
    if degrees < 1:
        raise ValueError(f"degrees {degrees} must be 1 or more; an interval or a test needs two values")
    if math.isinf(t):
        return 0.0
    return float(mpmath.betainc(degrees / 2, 0.5, 0, degrees / (degrees + t * t), regularized=True))


@lru_cache
def t_quantile(level: float, degrees: int) -> float:
    """The t >= 0 with P(|T| <= t) = level, by bisection of `two_sided_p`.

    Raises:
        ValueError: for a level outside (0, 1), or fewer than one degree of freedom.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} must lie in (0, 1); 0.95 is usual")
    low, high = 0.0, 1.0
    while two_sided_p(high, degrees) > 1 - level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, degrees) > 1 - level else (low, middle)
    return (low + high) / 2
