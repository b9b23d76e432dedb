"""PAPO's perception term by hand: the sum, its gradient, and what it is a mean over."""

import math
from types import SimpleNamespace

import pytest
import torch

from srpo.papo import ROWS, Forward, PerceptionLoss, perception_term

# Of each rollout: log-probabilities before the image and before the corrupted one, both entropies, and the mask. The
# third has no image. Differences d of the tokens that count: -1, 5 | -30, nan.
SEEN = torch.tensor([[-1.0, -6.0, -9.0], [-0.5, -1.0, -1.0], [-2.0, -2.0, -2.0], [-1.0, -1.0, -1.0]])
CORRUPTED = torch.tensor([[-2.0, -1.0, -1.0], [-30.5, math.nan, -9.0], [-4.0, -4.0, -4.0], [-1.0, -1.0, -1.0]])
ENTROPY = torch.tensor([[1.0, 2.0, 40.0], [0.5, 0.25, 40.0], [3.0, 1.0, 2.0], [0.0, 1.0, 40.0]])
CORRUPTED_ENTROPY = torch.tensor([[2.0, 2.0, 40.0], [1.0, 1.0, 40.0], [7.0, 7.0, 7.0], [0.0, 2.0, 40.0]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]])
HAS_IMAGE = torch.tensor([True, True, False, True])
KL = [math.exp(-1) + 10, 10 + 0, 0, 0]  # exp(5) - 6 and exp(-30) + 29 are clamped at 10; what is not finite is 0
ENTROPIES = [(3, 4), (0.75, 2), (6, 0), (1, 2)]  # without an image, those of the corrupted pass do not count
TOKENS = 9
GAMMA, ETA = 2.0, 0.5


def by_hand(rollouts):
    """The term of some rollouts before it is divided by anything."""
    return sum(ETA * sum(ENTROPIES[i]) - GAMMA * KL[i] for i in rollouts)


def test_the_term_and_its_metrics_by_hand():
    seen, corrupted = Forward(SEEN, ENTROPY), Forward(CORRUPTED, CORRUPTED_ENTROPY)
    loss, metrics = perception_term(seen, corrupted, MASK, HAS_IMAGE, 4.0, gamma=GAMMA, entropy_coef=ETA)
    assert loss.item() == pytest.approx(by_hand(range(4)) / 4)
    assert [value.item() for value in metrics["srpo/papo/kl"]] == pytest.approx([math.exp(-1) + 20, 6])
    assert [value.item() for value in metrics["srpo/papo/corrupted_entropy"]] == pytest.approx([8, 6])


def test_the_gradient_raises_what_the_image_tells_and_stops_at_the_clamp():
    """d L / d log π(y | I) = -γ (1 - exp(d)) / normalizer where the image counts and the estimate is not clamped."""
    seen = Forward(SEEN.clone().requires_grad_(), ENTROPY.clone().requires_grad_())
    corrupted = Forward(CORRUPTED, CORRUPTED_ENTROPY)
    perception_term(seen, corrupted, MASK, HAS_IMAGE, 4.0, gamma=GAMMA, entropy_coef=ETA)[0].backward()
    expected = torch.zeros(4, 3)
    expected[0, 0] = -GAMMA * (1 - math.exp(-1)) / 4
    torch.testing.assert_close(seen.log_probs.grad, expected)
    torch.testing.assert_close(seen.entropies.grad, MASK * ETA / 4)


def perception_loss(processes=1, strength=1.0):
    """A loss that has seen a generation batch of the rollouts above, and its batch."""
    settings = SimpleNamespace(
        papo_gamma=GAMMA,
        papo_entropy_coef=ETA,
        papo_corrupted_gradient=False,
        credit_strength=strength,
        steps_per_generation=2,
    )
    loss, batch = PerceptionLoss(settings, processes), {"completion_ids": torch.zeros(4, 3, dtype=torch.long)}
    loss.generated(SimpleNamespace(has_image=HAS_IMAGE, corrupted=lambda rows: {"rows": rows}), batch)
    return loss, batch


def term(loss, batch, rollouts, tokens=TOKENS, accumulated=2):
    """The term of a micro-batch; the advantages of its odd rollouts are 0."""

    def forward(model, ids, mask, length, *, rows, **others):
        assert not torch.is_grad_enabled()
        return CORRUPTED[rows], CORRUPTED_ENTROPY[rows], None

    loss.saw(SEEN[rollouts], ENTROPY[rollouts])
    prompts = torch.zeros(len(rollouts), 2, dtype=torch.long)
    inputs = {
        ROWS: batch[ROWS][rollouts],
        "prompt_ids": prompts,
        "prompt_mask": prompts + 1,
        "completion_ids": batch["completion_ids"][rollouts],
        "completion_mask": MASK[rollouts],
        "advantages": torch.tensor([1.0 - i % 2 for i in rollouts]),
        "num_items_in_batch": torch.tensor(tokens),
    }
    return loss.term(forward, None, inputs, accumulated).item()


def test_micro_batches_add_up_to_a_mean_over_all_tokens_those_without_advantage_included():
    """Shuffled micro-batches of a generation that one step accumulates; advantages take no part."""
    loss, batch = perception_loss()
    parts = [term(loss, batch, rollouts) for rollouts in ([3, 0], [1, 2])]
    assert parts == pytest.approx([by_hand([3, 0]) / TOKENS, by_hand([1, 2]) / TOKENS])
    assert loss.metrics()["srpo/papo/kl"][0].item() == pytest.approx(sum(KL))
    assert loss.metrics() == {}


def test_two_steps_a_generation_are_each_a_mean_over_their_share_of_the_tokens():
    loss, batch = perception_loss(strength=0.5)
    found = term(loss, batch, [0, 1], accumulated=1)
    assert found == pytest.approx(0.5 * by_hand([0, 1]) / (TOKENS / 2))


def test_the_mean_of_the_ranks_is_that_over_the_tokens_of_all():
    """Each rank divides by half of the tokens of both, because their gradients are averaged."""
    terms = []
    for rollouts in ([0, 2], [1, 3]):
        loss, batch = perception_loss(processes=2)
        terms.append(term(loss, batch, rollouts))
    assert sum(terms) / 2 == pytest.approx(by_hand(range(4)) / TOKENS)


def test_a_generation_without_a_token_gives_a_finite_term():
    loss, batch = perception_loss()
    assert math.isfinite(term(loss, batch, [0, 1], tokens=0))
