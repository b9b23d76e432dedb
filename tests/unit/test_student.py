"""Student's t against printed tables and its closed forms."""

import math

import pytest

from srpo.evaluation.student import t_quantile, two_sided_p


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (9, 2.26216), (30, 2.04227)]
)
def test_t_quantiles_are_those_of_the_printed_tables(degrees, quantile):
    assert t_quantile(0.95, degrees) == pytest.approx(quantile, abs=1e-4)
    assert two_sided_p(quantile, degrees) == pytest.approx(0.05, abs=1e-5)


def test_t_with_one_and_two_degrees_has_a_closed_form():
    for t in (0.0, 0.3, 1.0, 5.0, 40.0):
        assert two_sided_p(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), abs=1e-12)
        assert two_sided_p(-t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-12)


@pytest.mark.parametrize("call", [lambda: two_sided_p(1.0, 0), lambda: t_quantile(1.0, 3)])
def test_senseless_arguments_are_refused(call):
    with pytest.raises(ValueError, match="must"):
        call()
