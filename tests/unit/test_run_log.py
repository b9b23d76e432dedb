"""Totals over a run from logged means."""

from fractions import Fraction

import pytest

from srpo.run.log import logged_total


def test_means_of_windows_add_up_to_the_sum_over_steps():
    # seven steps of 1, 2, ..., 7 seconds: windows of 3, 3 and 1, with means 2, 5 and 7
    entries = [{"step": 3, "x": 2.0}, {"step": 6, "x": 5.0}, {"step": 7, "x": 7.0}]
    assert logged_total(entries, "x") == 28
    assert logged_total([{"step": s, "x": float(s)} for s in range(1, 8)], "x") == 28
    assert logged_total([{"step": 1}, {"step": 2, "x": None}], "x") == 0


@pytest.mark.parametrize("every", [1, 2, 3, Fraction(1, 2), Fraction(3, 2)])
def test_quantities_of_a_generation_count_once_a_generation(every):
    # generation k begins with step floor(k · every) + 1 and takes k + 1 seconds
    starts = {k: int(k * every) + 1 for k in range(40)}
    expected = sum(k + 1 for k, step in starts.items() if step <= 10)
    for logging_steps in (1, 5):
        entries, before = [], 0
        for step in range(logging_steps, 11, logging_steps):
            inside = [k + 1 for k, start in starts.items() if before < start <= step]
            entries.append({"step": step, "x": sum(inside) / len(inside) if inside else None})
            before = step
        assert logged_total(entries, "x", every) == pytest.approx(expected)
