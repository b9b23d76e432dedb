"""Invariant 4: credit "uniform" and credit_strength 0 are TRL's GRPOTrainer, bit for bit."""

import pytest
import torch
from transformers import AutoConfig, AutoProcessor

from srpo.vision import placeholder_token_ids
from tests.scripted import SampledGRPO, SampledSRPO, ScriptedGRPO, ScriptedSRPO, lora, scripted_dataset, train

STEPS = 5


@pytest.fixture(scope="module")
def rows():
    return scripted_dataset(12)


def assert_identical(run, reference):
    """Every loss and every gradient of both runs, to the last bit; and the reference learns something."""
    assert len(reference.gradients) == STEPS
    assert torch.stack(run.losses).equal(torch.stack(reference.losses))
    assert any(gradient.any() for gradients in reference.gradients for gradient in gradients.values())
    for step, (ours, theirs) in enumerate(zip(run.gradients, reference.gradients, strict=True)):
        assert ours.keys() == theirs.keys()
        for name, gradient in ours.items():
            assert gradient.equal(theirs[name]), f"gradient of {name} differs at step {step}"


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_uniform_and_strength_zero_are_grpo(qwen_folder, tmp_path, rows, loss_type, adapter):
    def run(cls, **config):
        peft_config = lora(lora_dropout=0.1) if adapter else None  # dropout: scoring must draw no random number
        options = {
            "loss_type": loss_type,
            "max_steps": STEPS,
            "steps_per_generation": 2,
            "per_device_train_batch_size": 4,
        }
        return train(cls, qwen_folder, tmp_path, train_dataset=rows, peft_config=peft_config, **options, **config)

    grpo = run(ScriptedGRPO)
    assert_identical(run(ScriptedSRPO, credit="uniform"), grpo)
    assert_identical(run(ScriptedSRPO, credit_strength=0.0), grpo)
    srpo = run(ScriptedSRPO)
    assert any((credit.weights != 1).any() for credit in srpo.credits)
    assert not torch.stack(srpo.losses).equal(torch.stack(grpo.losses))


@pytest.mark.parametrize("ban", [True, False], ids=["banned", "not_banned"])
def test_with_real_sampling(qwen_folder, tmp_path, rows, ban):
    banned = placeholder_token_ids(AutoConfig.from_pretrained(qwen_folder), AutoProcessor.from_pretrained(qwen_folder))
    options = {"train_dataset": rows, "max_steps": STEPS, "max_completion_length": 12}
    generation = {"suppress_tokens": banned} if ban else None
    grpo = train(SampledGRPO, qwen_folder, tmp_path, generation_kwargs=generation, **options)
    for config in ({"credit": "uniform"}, {"credit_strength": 0.0}):
        run = train(SampledSRPO, qwen_folder, tmp_path, ban_placeholder_tokens=ban, **options, **config)
        for ours, theirs in zip(run.batches, grpo.batches, strict=True):
            assert ours["completion_ids"].equal(theirs["completion_ids"])
        assert_identical(run, grpo)


def test_other_layouts_and_mixed_numbers_of_images(layout_folder, tmp_path):
    options = {"train_dataset": scripted_dataset(12, (1, 2)), "max_steps": STEPS, "loss_type": "dapo"}
    grpo = train(ScriptedGRPO, layout_folder, tmp_path, **options)
    assert_identical(train(ScriptedSRPO, layout_folder, tmp_path, credit_strength=0.0, **options), grpo)
