"""Means, intervals and tests over seeds against values from tables and by hand."""

import math

import pytest

from srpo.evaluation.comparison.statistics import (
    first_reach,
    holm,
    mean_interval,
    paired_comparison,
    sign_flip_floor,
    sign_flip_p,
    smoothed,
)


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match="must"):
        smoothed([1.0], 0)


def test_mean_and_interval_by_hand():
    # mean 3, s = sqrt(10 / 4) = 1.5811, s / sqrt(5) = 0.70711, t_4 = 2.77645: half width 1.96324
    interval = mean_interval([1, 2, 3, 4, 5])
    assert (interval.mean, interval.n) == (3, 5)
    assert interval.low == pytest.approx(3 - 1.96324, abs=1e-4)
    assert interval.high == pytest.approx(3 + 1.96324, abs=1e-4)


def test_one_seed_has_a_mean_and_no_interval():
    interval = mean_interval([0.7])
    assert (interval.mean, interval.low, interval.high, interval.n) == (0.7, None, None, 1)
    for values in ([], [1.0, math.nan]):
        with pytest.raises(ValueError, match="finite"):
            mean_interval(values)


def test_pairs_are_made_by_seed_and_only_of_seeds_that_both_have():
    paired = paired_comparison({0: 0.6, 1: 0.9, 7: 99.0}, {1: 0.7, 0: 0.5, 3: -99.0})
    # differences 0.1 and 0.2: mean 0.15, standard error 0.05, t = 3 on one degree: p = 1 - 2/pi atan(3) = 0.204833
    assert paired.difference.mean == pytest.approx(0.15)
    assert paired.difference.n == 2
    assert paired.p_t == pytest.approx(0.2048328, abs=1e-6)
    assert paired.p_sign_flip == 0.5
    assert paired_comparison({0: 1.0}, {1: 1.0}) is None
    assert paired_comparison({0: 1.0}, {0: 0.5}).p_t is None


def test_equal_differences_leave_no_spread_to_divide_by():
    same = paired_comparison({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5})
    assert (same.p_t, same.p_sign_flip) == (1.0, 1.0)
    for values in ({0: 0.75, 1: 0.75}, {0: 0.5 + 0.1, 1: 0.3 + 0.1 + 0.2}):  # exactly, and but for rounding
        shifted = paired_comparison(values, {0: 0.5, 1: 0.5})
        assert (shifted.p_t, shifted.p_sign_flip) == (None, 0.5)
        assert (shifted.difference.low, shifted.difference.high) == (None, None)
    narrow = paired_comparison({0: 0.1, 1: 0.1001}, {0: 0.0, 1: 0.0})
    assert narrow.p_t == pytest.approx(1 - 2 / math.pi * math.atan(2001))  # mean 0.10005, standard error 0.00005


def test_sign_flips_by_hand():
    # |sum| of the patterns of (1, 2, -4): 7 x2, 5 x2, 3 x2, 1 x2; the observed |1 + 2 - 4| = 1 is the least
    assert sign_flip_p([1, 2, -4]) == 1.0
    # of (1, 2, 3): 6, 4, 2, 0 (each twice): observed 6
    assert sign_flip_p([1, 2, 3]) == 0.25
    # of (-1, 2, 3): observed 4, so 6 and 4 count
    assert sign_flip_p([-1, 2, 3]) == 0.5
    assert sign_flip_p([0.1, 0.2, 0.3, 0.4, 0.5]) == sign_flip_floor(5) == 2 / 32
    assert sign_flip_p([1.0] * 21) is None


def test_rounding_does_not_break_ties_of_sign_flips():
    assert sign_flip_p([0.1, 0.2, 0.3]) == sign_flip_p([0.3, 0.1, 0.2]) == 0.25
    assert sign_flip_p([0.3, -0.1, -0.2]) == 1.0


def test_holm_by_hand():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}, 4)
    # sorted: 0.005 x4 = 0.02, 0.01 x3 = 0.03, 0.03 x2 = 0.06, 0.04 x1 -> 0.06 (no less than the one before)
    assert adjusted == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.7}, 2) == {"a": 1.0, "b": 1.0}
    assert holm({}, 2) == {}


def test_tests_that_could_not_be_made_count_for_holm():
    assert holm({"a": 0.01, "b": 0.04}, 5) == pytest.approx({"a": 0.05, "b": 0.16})
    with pytest.raises(ValueError, match="at least the number"):
        holm({"a": 0.01, "b": 0.04}, 1)


def test_smoothing_is_a_trailing_mean():
    assert smoothed([1, 2, 6, 0], 2) == [1, 1.5, 4, 3]
    assert smoothed([1, 2, 6], 1) == [1, 2, 6]


def test_first_reach():
    assert first_reach([5, 10, 15], [0.1, 0.6, 0.5], 0.5, 1) == 10
    assert first_reach([5, 10], [0.1, 0.2], 0.5, 1) is None


def test_one_lucky_window_reaches_nothing():
    steps = [1, 2, 3, 4, 5, 6, 7, 8]
    # windows of 2 end with means .45 .2 .4 .6 .6 .5 .6: the first generation alone, 0.9, is no window
    assert first_reach(steps, [0.9, 0.0, 0.4, 0.4, 0.8, 0.4, 0.6, 0.6], 0.5, 2) == 5
    # means .9 .45 .2 .6 .6 .5 .6: the first is followed by 0.2 two steps later, so 4, at .2, is no confirmation
    assert first_reach(steps, [0.9, 0.9, 0.0, 0.4, 0.8, 0.4, 0.6, 0.6], 0.5, 2) == 5
    assert first_reach(steps, [0.9, 0.9, 0.0, 0.4, 0.4, 0.4], 0.5, 2) is None
    # the last window has no next one that could confirm it, and neither has one whose next is cut short
    assert first_reach(steps, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 0.5, 2) is None
    assert first_reach(steps, [0.0, 0.0, 0.0, 0.5, 0.5, 0.5], 0.5, 2) is None
    assert first_reach(steps, [0.0, 0.0, 0.5, 0.5, 0.5, 0.5], 0.5, 2) == 4
