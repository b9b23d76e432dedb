"""Shared scoring under the options of training: precisions, adapters, checkpointing, reuse; and nothing to score."""

import pytest
import torch

from tests.both_scorings import compare, first_batch, generate_batch, plain, shared, sharp_trainer
from tests.scripted import ScriptedSRPO, lora, scripted_dataset, train

BFLOAT16 = 0.25  # nats a token at most: logits of some 10 nats in steps of 1/16, twice
BFLOAT16_MEAN = 0.03  # nats on average


class Unstructured(ScriptedSRPO):
    kinds = ("unstructured", "truncated", "repeated")


@pytest.mark.parametrize(
    "precision", [{"model_init_kwargs": {"dtype": "bfloat16"}}, {"bf16": True}], ids=["weights", "autocast"]
)
def test_half_precision_agrees_up_to_its_rounding(layout_folder, tmp_path, scored, precision):
    trainer, call = first_batch(ScriptedSRPO, layout_folder, tmp_path, scored, **precision)
    assert trainer._scorer.shared
    assert compare(trainer, call, tolerance=BFLOAT16) > 60
    found, expected = shared(trainer, call), plain(trainer, call)
    for name, at in call.wanted.items():
        assert (found[name] - expected[name])[at].abs().mean() < BFLOAT16_MEAN


def test_adapters(layout_folder, tmp_path, scored):
    adapter = lora(init_lora_weights=False)
    trainer, call = first_batch(ScriptedSRPO, layout_folder, tmp_path, scored, peft_config=adapter)
    assert trainer._scorer.shared
    assert compare(trainer, call) > 60
    adapted = shared(trainer, call)["original"]
    with call.model.disable_adapter():
        bare = shared(trainer, call)["original"]
    at = call.wanted["original"]
    assert (adapted - bare)[at].abs().max() > 0.1  # so the adapter was in the comparison


@pytest.mark.parametrize("adapter", [None, lora(init_lora_weights=False, lora_dropout=0.5)], ids=["full", "lora"])
def test_gradient_checkpointing_and_modes_are_left_as_they_were(qwen_folder, tmp_path, scored, adapter):
    trainer, call = first_batch(
        ScriptedSRPO, qwen_folder, tmp_path, scored, gradient_checkpointing=True, peft_config=adapter
    )
    model = trainer.model
    model.gradient_checkpointing_enable()  # as `Trainer.train` does
    model.get_decoder().layers[0].eval()

    def state():
        return [(m.training, getattr(m, "gradient_checkpointing", None), len(m._forward_pre_hooks)) for m in modules]

    modules = list(model.modules())
    before = state()
    assert {training for training, *_ in before} == {True, False}
    assert any(checkpointing for _, checkpointing, _ in before)
    log_probs = trainer._scorer(model, call.contexts, call.wanted, call.groups)
    assert state() == before
    assert not log_probs["original"].requires_grad
    assert compare(trainer, call) > 60


REUSED = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 4}


def test_log_probabilities_of_generation_serve_as_the_original_arm(qwen_folder, tmp_path, scored):
    """More steps per generation than gradient accumulation: TRL has π_old, so no original token is scored again."""
    data = scripted_dataset(8, (1, 2))
    trainer, call = first_batch(ScriptedSRPO, qwen_folder, tmp_path, scored, train_dataset=data, **REUSED)
    assert set(call.contexts) == {"corrupted", "cut"}
    assert compare(trainer, call._replace(wanted={name: call.wanted[name] for name in call.contexts})) > 60


@pytest.mark.parametrize("contrast", ["drop", "blind"])
@pytest.mark.parametrize("options", [{}, REUSED], ids=["whole batch", "reused"])
def test_training_is_that_of_plain_scoring(layout_folder, tmp_path, contrast, options):
    data = scripted_dataset(8, (1, 2), flat_every=2)
    options = {"train_dataset": data, "reasoning_contrast": contrast, "max_steps": 1, **options}
    by_scoring = {}
    for scoring in ("shared", "plain"):
        trainer = train(ScriptedSRPO, layout_folder, tmp_path, scoring=scoring, **options)
        assert trainer._scorer.shared == (scoring == "shared")
        by_scoring[scoring] = trainer.credits[0]
    ours, theirs = by_scoring["shared"], by_scoring["plain"]
    torch.testing.assert_close(ours.gaps, theirs.gaps, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.weights, theirs.weights, atol=1e-5, rtol=0)
    flat = theirs.advantages == 0
    assert 0 < flat.sum() < len(flat)
    for credit in (ours, theirs):
        assert credit.gaps[flat].eq(0).all()
        assert credit.weights[flat].eq(1).all()
        assert (credit.weights[~flat] != 1).any()


@pytest.mark.parametrize("scoring", ["shared", "plain"])
@pytest.mark.parametrize(
    ("cls", "flat_every"), [(ScriptedSRPO, 1), (Unstructured, 9)], ids=["all A = 0", "all unstructured"]
)
def test_nothing_to_score_leaves_plain_grpo(layout_folder, tmp_path, scored, scoring, cls, flat_every):
    trainer = sharp_trainer(
        cls, layout_folder, tmp_path, scoring=scoring, train_dataset=scripted_dataset(4, (0, 2), flat_every)
    )
    records = []
    trainer.observers.append(records.append)
    batch = generate_batch(trainer)
    assert not any(at.any() for at in scored[0].wanted.values())
    assert records[0].gaps.eq(0).all()
    assert records[0].weights.eq(1).all()
    assert batch["advantages"].equal(records[0].advantages[:, None].expand_as(records[0].weights))
    assert batch["advantages"].any() == (cls is Unstructured)


def test_dropout_is_off_while_scoring(qwen_folder, tmp_path, scored):
    adapter = lora(init_lora_weights=False, lora_dropout=0.5)
    trainer, call = first_batch(ScriptedSRPO, qwen_folder, tmp_path, scored, peft_config=adapter)
    trainer.model.train()
    first, second = (trainer._scorer(trainer.model, call.contexts, call.wanted, call.groups) for _ in range(2))
    for name in call.contexts:
        assert first[name][call.wanted[name]].equal(second[name][call.wanted[name]])


def test_scoring_draws_no_random_number(qwen_folder, tmp_path, scored):
    """Or training with strength 0 would not be GRPO bit for bit."""
    trainer, call = first_batch(ScriptedSRPO, qwen_folder, tmp_path, scored)
    before = torch.get_rng_state()
    trainer._scorer(trainer.model, call.contexts, call.wanted, call.groups)
    assert torch.get_rng_state().equal(before)
