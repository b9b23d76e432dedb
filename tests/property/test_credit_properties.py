"""Invariants 1, 2, 3, 5 and 6 of the method, for any gaps and roles."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from srpo.credit import block_gaps, role_aware_weights, token_advantages
from srpo.roles import Role

ANY_FLOAT = st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, -1e10, 1e10, 0.0])
REAL_GAPS = st.floats(-30, 30, width=32)
PARAMETERS = st.fixed_dictionaries(
    {
        "temperature": st.floats(0.05, 20),
        "weight_min": st.floats(0.01, 1.0),
        "weight_max": st.floats(1.0, 100.0),
        "baseline": st.sampled_from(["shared", "per_role"]),
    }
)


@st.composite
def rollouts(draw, elements=ANY_FLOAT):
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 12)))
    gaps = draw(hnp.arrays("float32", shape, elements=elements))
    roles = draw(hnp.arrays("int64", shape, elements=st.integers(0, 2)))
    return torch.from_numpy(gaps), torch.from_numpy(roles)


@given(rollouts(), PARAMETERS)
@settings(max_examples=400, deadline=None)
def test_weights_are_positive_finite_and_of_mean_one(batch, parameters):
    gaps, roles = batch
    weights = role_aware_weights(gaps, roles, **parameters)
    assert torch.isfinite(weights).all()
    assert (weights > 0).all()
    credited = roles != 0
    assert weights[~credited].eq(1).all()
    for row in range(len(gaps)):
        if credited[row].any():
            torch.testing.assert_close(weights[row][credited[row]].mean(), torch.tensor(1.0), atol=1e-5, rtol=0)


@given(rollouts(), PARAMETERS, st.floats(0, 1), st.data())
@settings(max_examples=200, deadline=None)
def test_the_sign_of_the_advantage_stays(batch, parameters, strength, data):
    gaps, roles = batch
    elements = st.floats(-10, 10, width=32, allow_subnormal=False)
    advantages = torch.tensor(data.draw(st.lists(elements, min_size=len(gaps), max_size=len(gaps))))
    tokens = token_advantages(advantages, role_aware_weights(gaps, roles, **parameters), strength=strength)
    assert tokens.shape == gaps.shape
    big_enough = advantages.abs() > 1e-30
    expected = advantages.sign()[:, None].expand_as(tokens)
    assert tokens.sign()[big_enough].equal(expected[big_enough])
    assert tokens[advantages == 0].eq(0).all()


@given(rollouts(REAL_GAPS), PARAMETERS, st.floats(-20, 20))
@settings(max_examples=200, deadline=None)
def test_a_constant_added_to_every_gap_changes_nothing(batch, parameters, constant):
    gaps, roles = batch
    shifted = role_aware_weights(gaps.double() + constant, roles, **parameters)
    torch.testing.assert_close(shifted, role_aware_weights(gaps.double(), roles, **parameters), atol=1e-6, rtol=1e-6)


@given(rollouts(), PARAMETERS, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_rows_are_independent(batch, parameters, random):
    gaps, roles = batch
    order = list(range(len(gaps)))
    random.shuffle(order)
    whole = role_aware_weights(gaps, roles, **parameters)
    assert role_aware_weights(gaps[order], roles[order], **parameters).equal(whole[order])
    alone = torch.cat([role_aware_weights(g[None], r[None], **parameters) for g, r in zip(gaps, roles, strict=True)])
    torch.testing.assert_close(alone, whole)


@given(rollouts(), PARAMETERS, st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_padding_changes_nothing(batch, parameters, padding):
    gaps, roles = batch
    padded_gaps = torch.cat([gaps, torch.full((len(gaps), padding), -1e10)], dim=1)
    padded_roles = torch.cat([roles, roles.new_zeros(len(gaps), padding)], dim=1)
    weights = role_aware_weights(padded_gaps, padded_roles, **parameters)
    torch.testing.assert_close(weights[:, : gaps.size(1)], role_aware_weights(gaps, roles, **parameters))
    assert weights[:, gaps.size(1) :].eq(1).all()


@given(rollouts())
@settings(max_examples=200, deadline=None)
def test_block_gaps_keep_the_mean_of_a_role_and_the_others(batch):
    gaps, roles = batch
    finite = torch.where(torch.isfinite(gaps), gaps.clamp(-1e3, 1e3), 0.0)
    spread = block_gaps(finite, roles, Role.REASONING)
    assert spread[roles != Role.REASONING].equal(finite[roles != Role.REASONING])
    for row in range(len(gaps)):
        of_role = roles[row] == Role.REASONING
        if of_role.any():
            assert spread[row][of_role].unique().numel() == 1
            torch.testing.assert_close(spread[row][of_role].mean(), finite[row][of_role].mean(), atol=1e-3, rtol=1e-5)
