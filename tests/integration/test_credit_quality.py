"""Replayed evidence equals the trainer's; gradients equal its loss's; a planted credit is told from a bad one."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor

from srpo.credit_settings import CreditSettings
from srpo.credits import CREDITS
from srpo.data import world
from srpo.evaluation.alignment.gradients import GradientSketches, chosen_parameters, loss_normalisation, stacked
from srpo.evaluation.alignment.measure import Measurement, Plan
from srpo.evaluation.alignment.rewards import grounded_rewards
from srpo.evaluation.alignment.sketch import Sketch
from srpo.evaluation.alignment.specs import parse_specs
from srpo.evaluation.alignment.statistics import differences
from srpo.evaluation.alignment.store import GradientStore
from srpo.evaluation.replay import ReplayTrainer, dependency_of, replayed_profile
from srpo.roles import ResponseFormat
from tests.scripted import ScriptedRollouts, ScriptedSRPO, lora, make_trainer, scripted_dataset, train


class ScriptedReplay(ScriptedRollouts, ReplayTrainer):
    """A replay trainer whose samples are scripted."""


def completions(credit):
    """The completion tokens of a batch, without padding."""
    batch = credit.batch
    pairs = zip(batch["completion_ids"], batch["completion_mask"].bool(), strict=True)
    return [ids[mask].tolist() for ids, mask in pairs]


def test_a_replay_has_the_numbers_of_training(layout_folder, tmp_path):
    rows = scripted_dataset(8, (1, 2), flat_every=2)
    (credit,) = train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=rows, max_steps=1).credits
    replay = make_trainer(ReplayTrainer, layout_folder, tmp_path, train_dataset=rows)
    again = replay.rollouts(credit.rows, step=0, seed="any", replies=completions(credit))
    assert again.roles.equal(credit.roles)
    assert again.learns.equal(credit.learns)
    torch.testing.assert_close(again.batch["advantages"], credit.advantages)
    evidence = replay.evidence(again, [CREDITS["srpo"]])
    torch.testing.assert_close(CREDITS["srpo"].gaps(evidence, replay.args), credit.gaps, atol=1e-5, rtol=0)
    torch.testing.assert_close(CREDITS["srpo"].weights(evidence, replay.args), credit.weights, atol=1e-5, rtol=0)
    every = replay.gaps(again)
    torch.testing.assert_close(every[credit.learns], credit.gaps[credit.learns], atol=1e-5, rtol=0)
    silent = ~credit.learns & (credit.roles != 0).any(1)
    assert silent.any()
    assert every[silent].abs().sum() > 0


def test_another_step_has_another_corruption_and_leaves_no_trace(qwen_folder, tmp_path):
    replay = make_trainer(ScriptedReplay, qwen_folder, tmp_path)
    rows = [dict(replay.train_dataset[i]) for i in (0, 1) for _ in range(4)]
    gaps = [replay.gaps(replay.rollouts(rows, step=step, seed="a")) for step in (0, 0, 1)]
    assert gaps[0].shape == gaps[1].shape
    torch.testing.assert_close(gaps[0], gaps[1])
    assert not gaps[0].equal(gaps[2])
    assert replay.state.global_step == 0
    assert not any(replay._metrics["train"].values())


def test_a_replay_refuses_what_makes_no_groups(qwen_folder, tmp_path):
    replay = make_trainer(ReplayTrainer, qwen_folder, tmp_path)
    row = dict(replay.train_dataset[0])
    with pytest.raises(ValueError, match="3 rows do not make groups of 4"):
        replay.rollouts([row] * 3, step=0, seed="a")
    with pytest.raises(ValueError, match="1 replies do not fit 4 rows"):
        replay.rollouts([row] * 4, step=0, seed="a", replies=["x"])


def test_the_profile_of_replies_counts_each_of_them_once(qwen_folder, tmp_path):
    replay = make_trainer(ReplayTrainer, qwen_folder, tmp_path)
    rows = [dict(replay.train_dataset[i]) for i in range(5)]
    reply = "<perception> red 4 </perception><think> 4 </think><answer> 4 </answer>"
    profile = replayed_profile(replay, rows, [reply] * 4 + ["no tags"], batch_size=3)
    one = replay.rollouts([rows[0]] * 4, step=0, seed="a", replies=[reply] * 4)
    assert sum(profile["perception"]["count"]) == 4 * int((one.roles[0] == 1).sum())
    assert sum(profile["reasoning"]["count"]) == 4 * int((one.roles[0] == 2).sum())


def test_the_profile_of_a_bare_model_is_that_of_a_trainer_with_the_same_settings(layout_folder, tmp_path, monkeypatch):
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")
    rows = scripted_dataset(3, (1, 2))
    processor = AutoProcessor.from_pretrained(layout_folder, padding_side="left")
    reply = "<perception> red 4 </perception><think> 4 </think><answer> 4 </answer>"
    replies = [processor.tokenizer(text)["input_ids"] for text in (reply, reply.replace("4", "2 ; 3"), "no tags")]
    replay = make_trainer(ReplayTrainer, layout_folder, tmp_path, train_dataset=rows, num_generations=2)
    expected = replayed_profile(replay, [dict(row) for row in rows], replies, batch_size=4)
    model = AutoModelForImageTextToText.from_pretrained(layout_folder, dtype=torch.float32)
    scored = []
    found = dependency_of(model, processor, rows, replies, batch_size=1, seed=3, progress=scored.append)
    assert scored == [2, 3]
    assert not list(Path.cwd().iterdir())
    for role in ("perception", "reasoning"):
        assert found[role]["count"] == expected[role]["count"]
        assert sum(found[role]["count"]) > 2
        assert found[role]["overall"] == pytest.approx(expected[role]["overall"], abs=1e-5)
        for one, other in zip(found[role]["mean"], expected[role]["mean"], strict=True):
            assert one == (None if other is None else pytest.approx(other, abs=1e-5))


def test_the_grounded_reward_wants_the_answer_and_the_needed_facts():
    row = world.generate(rows=1, families=["pips"])[0]
    right = world.reply(row)
    lucky = right.replace(row["perception"], world.generate(rows=2, families=["pips"])[1]["perception"])
    wrong = right.replace(f"<answer> {row['answer']}", "<answer> 999")
    rewards = grounded_rewards([right, lucky, wrong, "none"], [row] * 4, ResponseFormat())
    assert rewards.tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo", "cispo"])
def test_the_uniform_gradient_is_that_of_the_training_loss(layout_folder, tmp_path, loss_type):
    replay = make_trainer(
        ScriptedReplay,
        layout_folder,
        tmp_path,
        train_dataset=scripted_dataset(8, (1, 2)),
        loss_type=loss_type,
        scale_rewards="none",
    )
    rows = [dict(replay.train_dataset[i]) for i in (0, 1) for _ in range(4)]
    rollouts = replay.rollouts(rows, step=0, seed="a")
    parameters = chosen_parameters(replay.model, None)
    sketch = Sketch([p.numel() for p in parameters.values()], 10**8)
    gradients = GradientSketches(replay.model, list(parameters.values()), sketch, replay.log_prob_function, rows=3)
    normalisation = loss_normalisation(rollouts.mask, loss_type, replay.args.max_completion_length)
    found = gradients(rollouts.batch, stacked([rollouts.advantages, 2 * rollouts.advantages], normalisation))
    replay.model.train()
    replay.current_gradient_accumulation_steps = 1
    replay.compute_loss(replay.model, rollouts.batch).backward()
    expected = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters.values()])
    if loss_type == "cispo":
        expected = expected / replay.epsilon_high  # its cap on the ratio, below 1
    assert expected.norm() > 0
    torch.testing.assert_close(found[0, 0], expected, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(found[1, 0], 2 * expected, atol=2e-6, rtol=1e-3)


def test_gradients_of_chosen_parameters_leave_the_others_alone(qwen_folder, tmp_path):
    replay = make_trainer(ScriptedReplay, qwen_folder, tmp_path)
    rows = [dict(replay.train_dataset[i]) for i in (0, 1) for _ in range(4)]
    rollouts = replay.rollouts(rows, step=0, seed="a")
    normalisation = loss_normalisation(rollouts.mask, "dapo", 64)
    found = []
    for pattern in (None, r"layers\.1\."):
        parameters = chosen_parameters(replay.model, pattern)
        sketch = Sketch([p.numel() for p in parameters.values()], 10**8)
        gradients = GradientSketches(replay.model, list(parameters.values()), sketch, replay.log_prob_function, 8)
        sums = gradients(rollouts.batch, stacked([rollouts.advantages], normalisation))[0, 0]
        found.append(dict(zip(parameters, sums.split(sketch.sizes), strict=True)))
        assert all(p.grad is None for p in replay.model.parameters())
    everything, chosen = found
    assert 0 < len(chosen) < len(everything)
    for name, gradient in chosen.items():
        torch.testing.assert_close(gradient, everything[name])
    with pytest.raises(ValueError, match="matches none"):
        chosen_parameters(replay.model, "no_such_layer")


def test_gradients_with_checkpointing_are_the_same(qwen_folder, tmp_path):
    sums = []
    for checkpointing in (False, True):
        replay = make_trainer(ScriptedReplay, qwen_folder, tmp_path, gradient_checkpointing=checkpointing)
        plan = Plan(batches=3, prompts=2, rows_per_pass=4, parameters=None, sketch=10**8, seed=0)
        measurement = Measurement(replay, parse_specs(["srpo", "perception"], replay.args), plan)
        sums.append(measurement.batch(0)[0])
    assert sums[0].norm() > 0
    torch.testing.assert_close(sums[0], sums[1], atol=1e-6, rtol=1e-4)


def test_gradients_under_dropout_follow_from_the_seed_and_the_batch(qwen_folder, tmp_path):
    replay = make_trainer(ScriptedReplay, qwen_folder, tmp_path, peft_config=lora(lora_dropout=0.5))
    plan = Plan(batches=3, prompts=2, rows_per_pass=4, parameters=None, sketch=10**8, seed=0)
    specs = parse_specs(["srpo:strength=0", "srpo"], replay.args)
    sums = []
    for seed in (1, 2):  # where the generators stand differs between a whole measurement and one that goes on
        torch.manual_seed(seed)
        sums.append(Measurement(replay, specs, plan).batch(0)[0])
    assert sums[0].norm() > 0
    assert sums[0].equal(sums[1])
    torch.testing.assert_close(sums[0][0], sums[0][1])  # with weights of 1, srpo's gradient is that of uniform


def test_a_credit_with_its_own_corruption_has_the_gradient_of_a_run_with_that_corruption(qwen_folder, tmp_path):
    """Beside others in one measurement, and each on the same rollouts."""
    plan = Plan(batches=3, prompts=2, rows_per_pass=8, parameters=None, sketch=10**8, seed=0)
    clip = "temperature=0.01,weight_min=0.01,weight_max=100"
    own = [f"srpo:{clip}", f"srpo:{clip},corruption=blank", "vppo", "vppo:corruption_ratio=0.2"]

    def gradients(credits, **settings):
        replay = make_trainer(ScriptedReplay, qwen_folder, tmp_path, **settings)
        return Measurement(replay, parse_specs(credits, CreditSettings(**settings)), plan).batch(0)[0][1:]

    srpo, blank, vppo, less = gradients(own)
    (alone,) = gradients([f"srpo:{clip}"], corruption="blank")
    torch.testing.assert_close(blank, alone)
    (alone,) = gradients(["vppo"], corruption_ratio=0.2)
    torch.testing.assert_close(less, alone)
    (alone,) = gradients(["vppo"])
    torch.testing.assert_close(vppo, alone)
    assert not torch.allclose(srpo, blank)
    assert not torch.allclose(vppo, less)


def test_sketched_cosines_are_close_to_exact_ones(qwen_folder, tmp_path):
    replay = make_trainer(ScriptedReplay, qwen_folder, tmp_path)
    specs = parse_specs(["srpo:weight_min=0.01,weight_max=100,temperature=0.01", "perception"], replay.args)
    cosines = []
    for dimension in (10**8, 20_000):
        measurement = Measurement(replay, specs, Plan(3, 2, 8, None, dimension, seed=0))
        sums = measurement.batch(0)[0][:, 0].double()
        sums = sums / sums.norm(dim=1, keepdim=True)
        cosines.append(sums @ sums.T)
    assert measurement.sketch.exact is False
    assert (cosines[0] - cosines[1]).abs().max() < 4 / 20_000**0.5
    assert cosines[0][0, 1] < 0.999


class Bandit(nn.Module):
    """A linear policy: T tokens, each drawn from V by the logits of its position; only position 0 earns the reward."""

    def __init__(self, tokens, vocabulary):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(tokens, vocabulary))

    def log_probs(self, _, input_ids, mask, kept, **kwargs):
        ids = input_ids[:, -kept:]
        return self.logits.log_softmax(-1).expand(len(ids), -1, -1).gather(2, ids[..., None]).squeeze(2), None, None


def bandit_batch(ids):
    return {
        "prompt_ids": torch.zeros(len(ids), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(ids), 1, dtype=torch.long),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
    }


def test_the_gradient_of_a_linear_policy_by_hand():
    policy, ids = Bandit(2, 2), torch.tensor([[0, 1], [1, 1]])
    gradients = GradientSketches(policy, [policy.logits], Sketch([4], 8), policy.log_probs, rows=1)
    advantages = torch.tensor([1.0, -1.0])
    found = gradients(bandit_batch(ids), stacked([advantages], loss_normalisation(torch.ones_like(ids), "dapo", 2)))
    # -1/4 Σ A (onehot - 1/2): position 0 gets -(1/4)[(1/2, -1/2) - (-1/2, 1/2)], position 1 cancels
    assert found[0, 0].tolist() == pytest.approx([-0.25, 0.25, 0.0, 0.0])


def test_a_credit_on_the_causal_token_is_better_aligned_and_its_opposite_worse(tmp_path):
    torch.manual_seed(0)
    tokens, rollouts, batches = 12, 32, 24
    policy, mask = Bandit(tokens, 4), torch.ones(rollouts, tokens, dtype=torch.bool)
    gradients = GradientSketches(policy, [policy.logits], Sketch([tokens * 4], 10**6), policy.log_probs, rollouts)
    causal = torch.full((1, tokens), 0.5)
    causal[:, 0] = 2.0
    store = GradientStore(tmp_path, batches, (3, 1, tokens * 4))
    for _ in range(batches):
        ids = torch.randint(0, 4, (rollouts, tokens))
        rewards = (ids[:, 0] == 0).float()
        advantages = rewards - rewards.mean()
        credits = [advantages, advantages[:, None] * causal, advantages[:, None] / causal]
        store.write(gradients(bandit_batch(ids), stacked(credits, loss_normalisation(mask, "dapo", tokens))), {})
    for products in store.products({"reward": 0}, 1e-8).values():
        _, good, bad = differences(products)
        assert good.low > 0
        assert bad.high < 0
