"""An inspection gives replies the numbers of a training run, on several layouts and with a real tokenizer."""

import pytest
import torch

from srpo.evaluation.inspection import (
    NO_ADVANTAGE,
    NO_ANSWER,
    by_role,
    highest_gaps,
    inspect_replies,
    readable,
    records,
)
from srpo.evaluation.replay import ReplayTrainer, no_reward
from srpo.tiny.layouts import save_random_model
from tests.real_tokenizers import qwen_tokenizer
from tests.scripted import ScriptedSRPO, make_trainer, reward, scripted_dataset, train

SETTINGS = {"credit_weight_min": 0.9, "credit_weight_max": 1.1, "max_steps": 1, "per_device_train_batch_size": 4}


@pytest.fixture(scope="module")
def real_qwen(tmp_path_factory):
    """The folder of a random Qwen2.5-VL with the tokenizer of the published model."""
    folder = tmp_path_factory.mktemp("qwen")
    return str(save_random_model("qwen2_5_vl", folder / "model", tokenizer=qwen_tokenizer()))


class Structured(ScriptedSRPO):
    """Most of its replies are structured."""

    kinds = ("right", "wrong", "right", "unstructured")


def replayed(folder, tmp_path, data, function=reward, **config):
    options = {"train_dataset": data, "reward_funcs": function, **SETTINGS, **config}
    return make_trainer(ReplayTrainer, folder, tmp_path, **options)


def check_against_a_run(folder, tmp_path, **config):
    """Train one step on one row, and inspect the same row and replies: every number is the run's."""
    data = scripted_dataset(1, (2,), flat_every=9)
    run = train(Structured, folder, tmp_path, train_dataset=data, **SETTINGS, **config)
    credit = run.credits[0]
    ids, mask = credit.batch["completion_ids"], credit.batch["completion_mask"].bool()
    replies = [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)]
    found = inspect_replies(
        replayed(folder, tmp_path, data, **config), dict(data[0]), rewarded=True, replies=replies
    ).credit
    assert (credit.roles != 0).any(1).sum() == 3
    assert credit.gaps.abs().max() > 1e-3
    for name in ("advantages", "learns", "roles", "gaps", "weights"):
        assert getattr(found, name).equal(getattr(credit, name)), name
    assert found.batch["advantages"].equal(credit.batch["advantages"])
    assert found.rewards == credit.rewards
    for i in range(4):
        twins = zip(found.corrupted(i), credit.corrupted(i), strict=True)
        assert all(ours.tobytes() == theirs.tobytes() for ours, theirs in twins)
    assert len(found.corrupted(0)) == 2
    return found


@pytest.mark.parametrize("layout", ["qwen2_5_vl", "smolvlm"])
def test_the_numbers_are_those_of_training(layout, layout_folders, tmp_path):
    check_against_a_run(layout_folders[layout], tmp_path)


@pytest.mark.parametrize("credit", ["vppo", "rlsd", "perception"])
def test_other_credits(credit, qwen_folder, tmp_path):
    check_against_a_run(qwen_folder, tmp_path, credit=credit, credit_strength=0.5)


def test_a_real_tokenizer(real_qwen, tmp_path):
    check_against_a_run(real_qwen, tmp_path, reasoning_contrast="blind")


TEXTS = [
    "<perception> red 2 </perception><think> 2 + 2 = 4 </think><answer> 4 </answer>",
    "<perception> 🦊 red 3 </perception><think> 3 + 2 = 5 </think><answer> 5 </answer>",
    "no tags at all",
    "<perception> red 2 </perception><think> 2 + 2 = 4 </think><answer> 4 </answer>",
]


def test_without_an_answer_weights_are_those_of_right_replies(real_qwen, tmp_path):
    data = scripted_dataset(1)
    trainer = replayed(real_qwen, tmp_path, data, no_reward)
    inspection = inspect_replies(trainer, dict(data[0]), rewarded=False, replies=TEXTS)
    assert inspection.assumed == NO_ANSWER
    replies = readable(inspection, trainer.processing_class.tokenizer)
    assert [found.text for found in replies] == TEXTS
    assert [found.structured for found in replies] == [True, True, False, True]
    assert all(found.advantage is None and found.credits is None and found.ended for found in replies)
    assert replies[0].gaps == pytest.approx(replies[3].gaps, abs=1e-6)
    (first, second, *_) = (replies[i].gaps[t] for i, t in highest_gaps(replies, 3))
    assert first == max(gap for found in replies for gap in found.gaps)
    assert first >= second
    raised = [w for w, role in zip(replies[0].weights, replies[0].roles, strict=True) if role == 1]
    gaps = [g for g, role in zip(replies[0].gaps, replies[0].roles, strict=True) if role == 1]
    assert raised.index(max(raised)) == gaps.index(max(gaps))  # A > 0: more weight to higher gaps
    for record in records(inspection, trainer.processing_class.tokenizer):
        assert record["advantage"] is None
        assert record["rewards"] == []
        assert len(record["gaps"]) == len(record["tokens"])


def test_equal_rewards_teach_nothing_and_are_told(qwen_folder, tmp_path):
    data = scripted_dataset(1)
    trainer = replayed(qwen_folder, tmp_path, data, no_reward)
    inspection = inspect_replies(trainer, dict(data[0]), rewarded=True, replies=TEXTS)
    assert inspection.assumed == NO_ADVANTAGE
    assert inspection.credit.advantages.eq(0).all()
    assert inspection.credit.batch["advantages"].eq(0).all()
    assert inspection.credit.gaps.abs().max() > 0
    assert inspection.credit.learns.all()


def test_figures_of_roles(qwen_folder, tmp_path):
    data = scripted_dataset(1)
    trainer = replayed(qwen_folder, tmp_path, data, no_reward)
    replies = readable(inspect_replies(trainer, dict(data[0]), rewarded=False, replies=TEXTS), trainer._tokenizer)
    found = by_role(replies)
    assert sum(of_role.share for of_role in found.values()) == pytest.approx(1)
    tokens = [(g, w) for r in replies for g, w, role in zip(r.gaps, r.weights, r.roles, strict=True) if role == 2]
    assert found["reasoning"].tokens == len(tokens)
    assert found["reasoning"].gap == pytest.approx(sum(g for g, _ in tokens) / len(tokens))
    assert found["reasoning"].weight == pytest.approx(sum(w for _, w in tokens) / len(tokens))
    assert found["neutral"].weight == 1
    assert by_role(replies[2:3]) == {"neutral": by_role(replies[2:3])["neutral"]}


def test_sampling_follows_the_seed_and_leaves_the_observers_alone(qwen_folder, tmp_path):
    data = scripted_dataset(1)
    drawn = []
    for seed in (1, 1, 2):
        config = {"max_completion_length": 8, "seed": seed}
        trainer = replayed(qwen_folder, tmp_path, data, no_reward, **config)
        drawn.append(inspect_replies(trainer, dict(data[0]), rewarded=False).credit.batch["completion_ids"])
        assert trainer.observers == []
    assert drawn[0].equal(drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
