"""Leaving rollouts with A = 0 out of the update: equal gradients, fewer rows, refused where it would not be exact."""

import pytest
import torch

from srpo import SRPOConfig
from srpo.skipping import EXACT_LOSS_TYPES, drop_zero_advantage
from tests.scripted import ScriptedGRPO, ScriptedSRPO, lora, make_trainer, scripted_dataset, train

SETTINGS = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "max_grad_norm": 0,
    "logging_steps": 1,
}


def rows_of_forwards(trainer):
    """Rows of each training forward pass from now on."""
    rows = []
    inner = trainer._get_per_token_logps_and_entropies

    def spy(model, input_ids, *args, **kwargs):
        if model.training:
            rows.append(input_ids.size(0))
        return inner(model, input_ids, *args, **kwargs)

    trainer._get_per_token_logps_and_entropies = spy
    return rows


def assert_same_updates(left, right):
    """Losses of every micro-batch and gradients of every step are equal but for rounding."""
    torch.testing.assert_close(left.losses, right.losses, atol=1e-6, rtol=1e-4)
    for ours, theirs in zip(left.gradients, right.gradients, strict=True):
        assert ours.keys() == theirs.keys()
        largest = max(gradient.abs().max().item() for gradient in theirs.values())
        assert largest > 0
        for name, gradient in ours.items():
            torch.testing.assert_close(gradient, theirs[name], atol=1e-5 * largest, rtol=1e-3, msg=name)


@pytest.mark.parametrize("loss_type", EXACT_LOSS_TYPES)
def test_equal_updates_with_fewer_rows(qwen_folder, tmp_path, loss_type):
    data = scripted_dataset(6, (1, 2, 0), flat_every=2)
    options = {"train_dataset": data, "loss_type": loss_type, "learning_rate": 1e-3, **SETTINGS}
    whole = train(ScriptedSRPO, qwen_folder, tmp_path / "whole", **options)
    skipped = train(ScriptedSRPO, qwen_folder, tmp_path / "skipped", skip_zero_advantage=True, **options)
    assert_same_updates(skipped, whole)
    zero = sum(int((credit.advantages == 0).sum()) for credit in whole.credits)
    assert zero >= 8


def test_equal_updates_in_every_layout(layout_folder, tmp_path):
    data = scripted_dataset(6, (1, 2), flat_every=2)
    whole = train(ScriptedSRPO, layout_folder, tmp_path / "whole", train_dataset=data, **SETTINGS)
    skipped = train(
        ScriptedSRPO, layout_folder, tmp_path / "skipped", train_dataset=data, skip_zero_advantage=True, **SETTINGS
    )
    assert_same_updates(skipped, whole)


@pytest.mark.parametrize("credit", ["uniform", "perception"])
def test_equal_to_trl_with_lora(qwen_folder, tmp_path, credit):
    options = {"peft_config": lora(), "num_iterations": 2, "steps_per_generation": 4, **SETTINGS}
    ours = train(ScriptedSRPO, qwen_folder, tmp_path / "ours", credit=credit, skip_zero_advantage=True, **options)
    if credit == "uniform":
        theirs = train(ScriptedGRPO, qwen_folder, tmp_path / "theirs", **options)
    else:
        theirs = train(ScriptedSRPO, qwen_folder, tmp_path / "theirs", credit=credit, **options)
    assert_same_updates(ours, theirs)


def test_the_rows_are_really_left_out(qwen_folder, tmp_path):
    data = scripted_dataset(2, flat_every=2)  # the second group of every step is flat
    seen = {}
    for skip in (False, True):
        trainer = make_trainer(
            ScriptedSRPO, qwen_folder, tmp_path / str(skip), train_dataset=data, max_steps=1, skip_zero_advantage=skip
        )
        seen[skip] = rows_of_forwards(trainer)
        trainer.train()
    assert seen == {False: [8], True: [4]}


def test_one_row_is_kept_where_all_have_no_advantage(qwen_folder, tmp_path):
    data = scripted_dataset(2, flat_every=1)
    trainer = make_trainer(
        ScriptedSRPO, qwen_folder, tmp_path, train_dataset=data, max_steps=1, skip_zero_advantage=True
    )
    before = {name: parameter.clone() for name, parameter in trainer.model.named_parameters()}
    rows = rows_of_forwards(trainer)
    trainer.train()
    assert rows == [1]
    assert all(parameter.equal(before[name]) for name, parameter in trainer.model.named_parameters())


def micro_batch():
    return {
        "prompt_ids": torch.arange(4).view(4, 1),
        "completion_mask": torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]),
        "advantages": torch.tensor([1.0, 0.0, -1.0, 0.0]),
        "pixel_values": torch.arange(5.0).view(5, 1),
        "num_images": [1, 2, 1, 1],
        "num_items_in_batch": torch.tensor(9.0),
    }


@pytest.mark.parametrize(
    ("loss_type", "factor"),
    [("grpo", 2 / 4), ("dr_grpo", 2 / 4), ("sapo", 2 / 4), ("bnpo", 4 / 9), ("dapo", 1.0), ("cispo", 1.0)],
)
def test_rows_and_factor_by_hand(loss_type, factor):
    kept, found = drop_zero_advantage(micro_batch(), loss_type)
    assert float(found) == pytest.approx(factor)
    assert kept["prompt_ids"].tolist() == [[0], [2]]
    assert kept["pixel_values"].tolist() == [[0.0], [3.0]]
    assert kept["num_images"] == [1, 1]
    assert kept["num_items_in_batch"] == 9


def test_token_advantages_decide_by_row():
    batch = micro_batch()
    batch["advantages"] = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert drop_zero_advantage(batch, "grpo")[0]["prompt_ids"].tolist() == [[1]]


def test_a_row_with_an_image_stays_for_the_gradient_of_the_vision_tower():
    batch = micro_batch() | {"advantages": torch.tensor([0.0, 0.0, 0.0, 1.0]), "num_images": [1, 2, 2, 0]}
    kept, factor = drop_zero_advantage(batch, "grpo")
    assert kept["prompt_ids"].tolist() == [[2], [3]]  # the shortest row with images, and the one with an advantage
    assert kept["pixel_values"].tolist() == [[3.0], [4.0]]
    assert factor == 2 / 4


def test_every_rank_keeps_as_many_rows_as_the_one_that_needs_most():
    kept, factor = drop_zero_advantage(micro_batch(), "grpo", agree=lambda counts: [max(count, 3) for count in counts])
    assert kept["prompt_ids"].tolist() == [[0], [1], [2]]  # row 1 is shorter than row 3
    assert factor == 3 / 4


def test_nothing_changes_where_every_row_has_an_advantage():
    batch = micro_batch() | {"advantages": torch.ones(4)}
    assert drop_zero_advantage(batch, "grpo") == (batch, 1.0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("beta", 0.04),
        ("entropy_coef", 0.01),
        ("use_adaptive_entropy", True),
        ("top_entropy_quantile", 0.2),
        ("loss_type", "vespo"),
        ("loss_type", "luspo"),
    ],
)
def test_refused_where_it_would_not_be_exact(tmp_path, option, value):
    with pytest.raises(ValueError, match=f"{option} .* cannot be combined with skip_zero_advantage"):
        SRPOConfig(str(tmp_path), bf16=False, credit="uniform", skip_zero_advantage=True, **{option: value})
