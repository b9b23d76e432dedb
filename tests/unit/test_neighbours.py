"""The weights of the other methods by hand, and what holds for every credit of the registry."""

import math
from dataclasses import replace

import pytest
import torch

from srpo.contrast import CONTEXTS
from srpo.credit import block_gaps, role_aware_weights
from srpo.credit_settings import NAMES, CreditSettings
from srpo.credits import CREDITS, Evidence
from srpo.neighbours import k3, pgpo_weights, rlsd_weights, vppo_weights
from srpo.roles import Role

SETTINGS = CreditSettings()
TOKEN_CREDITS = [name for name in NAMES if CREDITS[name].contexts(SETTINGS)]


def test_k3_by_hand():
    d = torch.tensor([0.0, 1.0, -1.0, 5.0, -30.0, 1e9, math.nan, math.inf])
    expected = [0, math.e - 2, math.exp(-1), 10, 10, 10, 0, 0]
    torch.testing.assert_close(k3(d), torch.tensor(expected))


def test_k3_is_the_divergence_on_average():
    p, q = torch.tensor([0.7, 0.2, 0.1]).log(), torch.tensor([0.5, 0.3, 0.2]).log()
    assert (p.exp() * k3(q - p)).sum() == pytest.approx((p.exp() * (p - q)).sum())


def test_vppo_by_hand():
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], dtype=torch.bool)
    gaps = torch.tensor([[0.0, 1.0, 0.0, -1.0, 0.0], [0.0, 0.0, 0.0, 9.0, 9.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    one, minus = math.exp(-1), math.e - 2  # k3 of d = -1 and d = 1
    means = [(one + minus) / 5, 0.0, one / 2]  # min 0, max that of the first
    u = [mean / means[0] for mean in means]
    scale = [0.9 + value * 0.1 / (sum(u) / 3) for value in u]
    assert sum(scale) / 3 == pytest.approx(1)
    a, b, c = scale
    expected = [[0, a, 0, a, 0], [b, b, 0, 1, 1], [c, 0, 1, 1, 1]]  # ceil(0.4 · 5, 3, 2) = 2, 2, 1 tokens
    torch.testing.assert_close(vppo_weights(gaps, mask), torch.tensor(expected))


def test_vppo_where_rollouts_are_alike_or_take_no_part():
    gaps, mask = torch.ones(2, 5), torch.ones(2, 5, dtype=torch.bool)
    assert vppo_weights(gaps, mask).tolist() == [[1, 1, 0, 0, 0]] * 2
    mask[1] = False
    assert vppo_weights(gaps, mask).tolist() == [[1, 1, 0, 0, 0], [1] * 5]
    assert vppo_weights(gaps, torch.zeros_like(mask)).eq(1).all()


def test_rlsd_by_hand():
    differences = torch.tensor([[0.1, -0.1, 3.0, -3.0, math.nan], [0.1, -0.1, 3.0, -3.0, 1.0]])
    mask = torch.tensor([[True] * 5, [True] * 4 + [False]])
    weights = rlsd_weights(differences, mask, torch.tensor([0.5, -2.0]), clip=0.2)
    up, down = math.exp(0.1), math.exp(-0.1)
    expected = [[up, down, 1.2, 0.8, 1.0], [down, up, 0.8, 1.2, 1.0]]
    torch.testing.assert_close(weights, torch.tensor(expected))


def test_pgpo_by_hand():
    mask = torch.tensor([[True, True, True, True, False]])
    gaps = torch.tensor([[1.0, 0.9, 0.1, 0.0, 5.0]])
    most, next_most = math.exp(-1), math.exp(-0.9) + 0.9 - 1  # k3 of -1 and of -0.9
    gated = [2.0, 1 + next_most / most, 1.0, 1.0]
    assert next_most / most > 0.5
    expected = [[g / (sum(gated) / 4) for g in gated] + [1.0]]
    torch.testing.assert_close(pgpo_weights(gaps, mask), torch.tensor(expected))
    assert pgpo_weights(torch.zeros(1, 4), mask[:, :4]).eq(1).all()


def evidence(rows=6, tokens=9, seed=0, **changed):
    """Random evidence with a row of text, a row with A = 0, an unstructured row, padding, and numbers that are none."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = {name: -torch.rand(rows, tokens, generator=generator) * 4 for name in CONTEXTS}
    for i, name in enumerate(CONTEXTS):
        log_probs[name][0, i] = (math.nan, -math.inf, -1e10)[i % 3]
    lengths = torch.tensor([tokens, tokens - 2, tokens - 3, tokens, 2, tokens - 1])[:rows]
    mask = torch.arange(tokens) < lengths[:, None]
    roles = torch.randint(0, 3, (rows, tokens), generator=generator) * mask
    roles[3] = 0
    advantages = torch.tensor([1.0, -0.5, 0.0, 2.0, -1.0, 0.3])[:rows]
    has_image = torch.tensor([True, True, True, True, True, False])[:rows]
    return Evidence(**({"log_probs": log_probs, "roles": roles, "mask": mask, "advantages": advantages,
                        "has_image": has_image} | changed))  # fmt: skip


def rows_of(whole, index, **changed):
    """The evidence of some rollouts."""
    part = {"log_probs": {name: value[index] for name, value in whole.log_probs.items()}}
    part |= {name: getattr(whole, name)[index] for name in ("roles", "mask", "advantages", "has_image")}
    return Evidence(**(part | changed))


def test_every_name_has_a_credit_with_known_contexts():
    assert tuple(CREDITS) == NAMES
    for credit in CREDITS.values():
        for contrast in ("drop", "blind"):
            settings = CreditSettings(reasoning_contrast=contrast)
            assert set(credit.contexts(settings)) <= set(CONTEXTS)
            assert set(credit.tokens(evidence(log_probs={}), settings)) == set(credit.contexts(settings))


@pytest.mark.parametrize("name", NAMES)
def test_factors_are_finite_and_keep_the_sign(name):
    for seed in range(5):
        factors = CREDITS[name].factors(evidence(seed=seed), SETTINGS)
        assert factors.isfinite().all()
        assert (factors >= 0).all() if name == "vppo" else (factors > 0).all()
        assert not factors.requires_grad


@pytest.mark.parametrize("name", TOKEN_CREDITS)
def test_factors_are_one_where_nothing_is_learned(name):
    factors = CREDITS[name].factors(evidence(), SETTINGS)
    assert factors[2].eq(1).all()
    assert factors[~evidence().mask].eq(1).all()
    assert (factors != 1).any()


@pytest.mark.parametrize("name", TOKEN_CREDITS)
def test_only_the_tokens_that_are_asked_for_matter(name):
    whole = evidence()
    wanted = CREDITS[name].tokens(replace(whole, log_probs={}), SETTINGS)
    only = {context: whole.log_probs[context].masked_fill(~at, math.nan) for context, at in wanted.items()}
    expected = CREDITS[name].factors(whole, SETTINGS)
    assert CREDITS[name].factors(replace(whole, log_probs=only), SETTINGS).equal(expected)


def test_block_gaps_decide_the_weights_and_leave_the_gaps():
    whole, block, token = evidence(), CreditSettings(reasoning_gap="block"), CreditSettings(reasoning_gap="token")
    gaps = CREDITS["srpo"].gaps(whole, block)
    assert gaps.equal(CREDITS["srpo"].gaps(whole, token))
    expected = role_aware_weights(
        block_gaps(gaps, whole.learned_roles, Role.REASONING), whole.learned_roles, advantages=whole.advantages
    )
    assert CREDITS["srpo"].factors(whole, block).equal(expected)
    assert not CREDITS["srpo"].factors(whole, token).equal(expected)
    alone = CREDITS["reasoning"].factors(whole, block)
    assert alone.equal(CREDITS["reasoning"].factors(whole, token))
    assert not alone.eq(1).all()


@pytest.mark.parametrize("name", TOKEN_CREDITS)
def test_no_gradient_flows_through_the_factors(name):
    whole = evidence()
    log_probs = {context: value.requires_grad_() for context, value in whole.log_probs.items()}
    assert not CREDITS[name].factors(replace(whole, log_probs=log_probs), SETTINGS).requires_grad


@pytest.mark.parametrize("name", TOKEN_CREDITS)
def test_padding_and_order_change_nothing(name):
    whole, order = evidence(), torch.tensor([4, 2, 0, 5, 1, 3])
    expected = CREDITS[name].factors(whole, SETTINGS)
    torch.testing.assert_close(CREDITS[name].factors(rows_of(whole, order), SETTINGS), expected[order])
    wider = Evidence(
        {context: torch.nn.functional.pad(value, (0, 3), value=-7.0) for context, value in whole.log_probs.items()},
        torch.nn.functional.pad(whole.roles, (0, 3)),
        torch.nn.functional.pad(whole.mask, (0, 3)),
        whole.advantages,
        whole.has_image,
    )
    torch.testing.assert_close(CREDITS[name].factors(wider, SETTINGS)[:, :-3], expected)


@pytest.mark.parametrize("name", TOKEN_CREDITS)
def test_factors_do_not_depend_on_the_split_over_ranks(name):
    """Each part gathers what the other parts have, as `accelerator.gather` does."""
    whole, parts = evidence(), [torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])]
    expected = CREDITS[name].factors(whole, SETTINGS)
    seen = []
    CREDITS[name].factors(replace(whole, gather=lambda values: seen.append(values) or values), SETTINGS)
    for index in parts:
        part = rows_of(whole, index, gather=lambda values: seen[0])
        torch.testing.assert_close(CREDITS[name].factors(part, SETTINGS), expected[index])
    assert bool(seen) == (name == "vppo")


@pytest.mark.parametrize("name", NAMES)
def test_strength_mixes_with_the_uniform_credit(name):
    whole = evidence()
    full = CREDITS[name].factors(whole, SETTINGS)
    half = CREDITS[name].factors(whole, CreditSettings(credit_strength=0.5))
    torch.testing.assert_close(half, 0.5 + 0.5 * full)
    assert CREDITS[name].factors(whole, CreditSettings(credit_strength=0.0)).eq(1).all()


def test_the_blind_contrast_reads_other_contexts():
    settings, whole = CreditSettings(reasoning_contrast="blind"), evidence()
    reasoning = (whole.roles == 2) & (whole.advantages != 0)[:, None]
    gaps = CREDITS["srpo"].gaps(whole, settings)
    expected = whole.log_probs["corrupted"] - whole.log_probs["blind_cut"]
    torch.testing.assert_close(gaps[reasoning], expected[reasoning], equal_nan=True)
