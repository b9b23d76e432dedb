"""Hand-computed credit. Roles: 0 neutral, 1 perception, 2 reasoning."""

import math

import pytest
import torch

from srpo.credit import block_gaps, clipped_tokens, equal_rewards, role_aware_weights, token_advantages
from srpo.roles import Role

LN2 = math.log(2)


def test_weights_of_one_rollout_by_hand():
    # gaps of the role tokens: ln 2, 0, -ln 2, so b = 0 and w = 2, 1, 1/2, whose mean is 3.5 / 3
    gaps = torch.tensor([[9.0, LN2, 0.0, 9.0, -LN2]])
    roles = torch.tensor([[0, 1, 1, 0, 2]])
    expected = torch.tensor([[1.0, 2 * 3 / 3.5, 3 / 3.5, 1.0, 0.5 * 3 / 3.5]])
    torch.testing.assert_close(role_aware_weights(gaps, roles), expected)


def test_shared_baseline_by_hand():
    # b = (3 + 1 + 2) / 3 = 2; exponents 1, -1, 0; clipped to 2 and 1/2; mean 3.5 / 3
    gaps = torch.tensor([[3.0, 1.0, 2.0]])
    roles = torch.tensor([[1, 1, 2]])
    expected = torch.tensor([[2.0, 0.5, 1.0]]) * 3 / 3.5
    torch.testing.assert_close(role_aware_weights(gaps, roles), expected)


def test_per_role_baseline_by_hand():
    # perception: b = 2, exponents 1 and -1; reasoning: b = 5, exponent 0
    gaps = torch.tensor([[3.0, 1.0, 5.0]])
    roles = torch.tensor([[1, 1, 2]])
    w = torch.tensor([[math.e, 1 / math.e, 1.0]])
    weights = role_aware_weights(gaps, roles, weight_min=0.1, weight_max=10.0, baseline="per_role")
    torch.testing.assert_close(weights, w * 3 / w.sum())


def test_temperature_divides_the_gap():
    gaps, roles = torch.tensor([[2 * LN2, -2 * LN2]]), torch.tensor([[1, 2]])
    expected = torch.tensor([[2.0, 0.5]]) / 1.25
    torch.testing.assert_close(role_aware_weights(gaps, roles, temperature=2.0, weight_max=4.0), expected)


def test_clip_comes_before_the_normalisation():
    gaps, roles = torch.tensor([[50.0, -50.0]]), torch.tensor([[1, 2]])
    expected = torch.tensor([[4.0, 0.25]]) / 2.125
    torch.testing.assert_close(role_aware_weights(gaps, roles, weight_min=0.25, weight_max=4.0), expected)
    assert clipped_tokens(gaps, roles, weight_min=0.25, weight_max=4.0).tolist() == [[True, True]]


def test_only_weights_beyond_the_clip_count_as_clipped():
    gaps, roles = torch.tensor([[3.0, 0.0, -3.0, 0.0]]), torch.tensor([[1, 1, 2, 0]])
    assert clipped_tokens(gaps, roles).tolist() == [[True, False, True, False]]
    assert not clipped_tokens(gaps, roles, weight_min=0.01, weight_max=100.0).any()


def test_unstructured_rollouts_have_weight_exactly_one():
    gaps = torch.full((2, 3), torch.nan)
    assert role_aware_weights(gaps, torch.zeros(2, 3, dtype=torch.long)).equal(torch.ones(2, 3))


def test_a_gap_that_is_not_finite_counts_as_zero():
    gaps = torch.tensor([[torch.nan, math.inf, -math.inf, 0.0]])
    roles = torch.tensor([[1, 1, 2, 2]])
    assert role_aware_weights(gaps, roles).equal(torch.ones(1, 4))


@pytest.mark.parametrize("huge", [-1e10, 1e10, 3e38, -3e38])
def test_masked_log_probabilities_leave_the_weights_finite(huge):
    weights = role_aware_weights(torch.tensor([[huge, huge, 0.0, 1.0]]), torch.tensor([[1, 2, 2, 1]]))
    assert torch.isfinite(weights).all()
    assert (weights > 0).all()
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gaps_give_float32_weights(dtype):
    gaps = torch.tensor([[LN2, -LN2]], dtype=dtype)
    weights = role_aware_weights(gaps, torch.tensor([[1, 2]]))
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, torch.tensor([[1.6, 0.4]]), atol=5e-3, rtol=0)


def test_advantages_by_hand():
    weights = torch.tensor([[2.0, 0.5], [1.0, 1.0], [1.5, 0.5]])
    advantages = torch.tensor([1.0, -2.0, 0.0])
    assert token_advantages(advantages, weights).tolist() == [[2.0, 0.5], [-2.0, -2.0], [0.0, 0.0]]
    half = token_advantages(advantages, weights, strength=0.5)
    assert half.tolist() == [[1.5, 0.75], [-2.0, -2.0], [0.0, 0.0]]


def test_strength_zero_is_the_advantage_itself():
    advantages = torch.randn(5)
    assert token_advantages(advantages, torch.rand(5, 7) * 9, strength=0.0).equal(advantages[:, None].expand(5, 7))


def test_no_gradient_flows_through_the_weights():
    gaps = torch.randn(2, 4, requires_grad=True)
    advantages = torch.randn(2, requires_grad=True)
    weights = role_aware_weights(gaps, torch.tensor([[1, 1, 2, 0], [1, 2, 2, 2]]))
    assert not weights.requires_grad
    assert not token_advantages(advantages, weights).requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "credit_temperature 0.0 must be a positive number"),
        ({"temperature": math.inf}, "credit_temperature inf must be"),
        ({"weight_min": 0.0}, "credit_weight_min 0.0 and .* must satisfy"),
        ({"weight_max": 0.9}, "credit_weight_max 0.9 must satisfy"),
        ({"weight_min": 1.1}, "credit_weight_min 1.1"),
        ({"weight_min": 1e-300}, "credit_weight_min 1e-300 and"),
        ({"weight_max": 1e50}, "credit_weight_max 1e.50"),
        ({"baseline": "zero"}, "credit_baseline 'zero' must be one of shared, per_role, none"),
    ],
)
def test_parameters_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        role_aware_weights(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.long), **arguments)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"gaps \(1, 2\) and roles \(1, 3\) must share one shape"):
        role_aware_weights(torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"advantages \(3,\) and weights \(2, 4\)"):
        token_advantages(torch.zeros(3), torch.ones(2, 4))
    with pytest.raises(ValueError, match="strength 1.5 must lie in"):
        token_advantages(torch.zeros(2), torch.ones(2, 4), strength=1.5)


def test_equal_rewards_by_hand():
    nan = torch.nan
    rewards = [[0.1, 1], [0.1, 1], [0.1, 1], [0.2, 1], [0, nan], [0, nan], [0, nan], [0, 0]]
    assert equal_rewards(torch.tensor(rewards), 2).tolist() == [True, True, False, False, True, True, False, False]


def test_rewards_that_no_function_gives_are_equal():
    assert equal_rewards(torch.zeros(4, 0), 2).tolist() == [True] * 4


def test_without_a_baseline_by_hand():
    gaps, roles = torch.tensor([[0.5, -0.5, 3.0, 9.0]]), torch.tensor([[1, 2, 2, 0]])
    w = [math.exp(0.5), math.exp(-0.5), 2.0]  # 3 is clipped
    mean = sum(w) / 3
    weights = role_aware_weights(gaps, roles, baseline="none")
    torch.testing.assert_close(weights, torch.tensor([[*(value / mean for value in w), 1.0]]))


def test_sign_aware_by_hand():
    """With A < 0 the gaps turn round; with A = 0 all weights are 1."""
    gaps, roles = torch.tensor([[0.3, -0.3]]).expand(3, 2), torch.tensor([[1, 2]]).expand(3, 2)
    high, low = math.exp(0.3), math.exp(-0.3)
    mean = (high + low) / 2
    weights = role_aware_weights(gaps, roles, advantages=torch.tensor([2.0, -0.1, 0.0]))
    expected = [[high / mean, low / mean], [low / mean, high / mean], [1.0, 1.0]]
    torch.testing.assert_close(weights, torch.tensor(expected))
    with pytest.raises(ValueError, match=r"advantages \(2,\) must be \(B,\) .* pass one advantage per rollout"):
        role_aware_weights(gaps, roles, advantages=torch.ones(2))


def test_block_gaps_by_hand():
    """Reasoning gaps 3, 0 and NaN, which counts as 0: mean 1. A rollout without reasoning stays as it is."""
    gaps = torch.tensor([[0.5, 3.0, 0.0, math.nan, 7.0], [1.0, 2.0, 0.0, 0.0, 0.0]])
    roles = torch.tensor([[1, 2, 2, 2, 0], [1, 1, 0, 0, 0]])
    expected = torch.tensor([[0.5, 1.0, 1.0, 1.0, 7.0], [1.0, 2.0, 0.0, 0.0, 0.0]])
    assert block_gaps(gaps, roles, Role.REASONING).equal(expected)
    assert block_gaps(gaps, roles, Role.PERCEPTION)[1].tolist() == [1.5, 1.5, 0.0, 0.0, 0.0]
