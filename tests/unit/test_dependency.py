"""Dependency profiles by hand."""

import math

import pytest
import torch

from srpo.evaluation.dependency import DependencyProfile, dependency_profile


def test_the_mean_gap_by_role_and_relative_position():
    roles = torch.tensor([[1, 1, 0, 2, 2, 2], [0, 1, 2, 0, 0, 0]])
    gaps = torch.tensor([[1.0, 3.0, 9.0, 4.0, 5.0, 6.0], [9.0, 7.0, 8.0, 9.0, 9.0, 9.0]])
    profile = dependency_profile(gaps, roles, bins=2)
    # perception: (1, 3) fall into bins 0 and 1, a single token into bin 0; reasoning: (4, 5, 6) into 0, 0, 1
    assert profile["perception"] == {"overall": pytest.approx(11 / 3), "mean": [4.0, 3.0], "count": [2, 1]}
    assert profile["reasoning"] == {"overall": 5.75, "mean": [pytest.approx(17 / 3), 6.0], "count": [3, 1]}


def test_batches_add_up_and_gaps_that_are_not_finite_are_left_out():
    profile = DependencyProfile(bins=1)
    profile.add(torch.tensor([[1.0, math.nan]]), torch.tensor([[1, 1]]))
    profile.add(torch.tensor([[3.0, -math.inf, 2.0]]), torch.tensor([[1, 2, 0]]))
    assert profile.result() == {
        "perception": {"overall": 2.0, "mean": [2.0], "count": [2]},
        "reasoning": {"overall": None, "mean": [None], "count": [0]},
    }


def test_every_bin_of_a_long_block_gets_its_share():
    profile = dependency_profile(torch.arange(30.0)[None], torch.ones(1, 30, dtype=torch.long))
    assert profile["perception"]["count"] == [3] * 10
    assert profile["perception"]["mean"] == [3.0 * i + 1 for i in range(10)]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="must share one shape"):
        dependency_profile(torch.zeros(1, 2), torch.zeros(1, 3))
