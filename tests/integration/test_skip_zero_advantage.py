"""Leaving rollouts with A = 0 out of the update: equal gradients, fewer rows, refused where it would not be exact."""

import pytest
import torch

from srpo import SRPOConfig
from srpo.skipping import RowsToRun
from tests.scripted import ScriptedGRPO, ScriptedSRPO, logged, lora, make_trainer, scripted_dataset, train

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

    def note(model, args, kwargs):
        if model.training and "labels" in kwargs:
            rows.append(len(kwargs["input_ids"]))

    trainer.model.register_forward_pre_hook(note, with_kwargs=True)
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


LOSS_TYPES = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"]


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_equal_updates_with_fewer_rows(qwen_folder, tmp_path, loss_type):
    data = scripted_dataset(6, (1, 2, 0), flat_every=2)
    credit = "uniform" if loss_type in ("luspo", "vespo") else "srpo"
    level = "sequence" if loss_type == "luspo" else "token"
    options = {"credit": credit, "loss_type": loss_type, "importance_sampling_level": level, "learning_rate": 1e-3}
    options |= {"train_dataset": data, **SETTINGS}
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


def micro_batch(**changed):
    return {
        "completion_mask": torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]),
        "advantages": torch.tensor([1.0, 0.0, -1.0, 0.0]),
        "pixel_values": torch.arange(5.0).view(5, 1),
        "num_images": [1, 2, 1, 1],
        **changed,
    }


@pytest.mark.parametrize(
    ("changed", "rows"),
    [
        ({}, [0, 2]),
        ({"advantages": torch.tensor([[0, 0, 0], [0, 0.5, 0], [0, 0, 0], [0, 0, 0]])}, [1]),
        ({"advantages": torch.zeros(4)}, [2]),  # the shortest
        ({"advantages": torch.zeros(4), "num_images": [1, 2, 0, 2]}, [1]),  # the shortest with an image
        ({"advantages": torch.tensor([0.0, 0, 1, 0]), "num_images": [2, 1, 0, 2]}, [1, 2]),
        ({"advantages": torch.ones(4)}, [0, 1, 2, 3]),
    ],
)
def test_rows_by_hand(changed, rows):
    assert RowsToRun.of(micro_batch(**changed)).rows == rows


def test_what_stands_in_for_the_rows_left_out():
    def function(model, input_ids, attention_mask, logits_to_keep, **options):
        assert input_ids.tolist() == [[9, 1, 2, 3], [7, 5, 0, 0]]
        assert options["pixel_values"].tolist() == [[0.0], [3.0]]
        assert options["num_images"] == [1, 1]
        assert options["mm_token_type_ids"].tolist() == [[0], [2]]
        return torch.full((2, 3), -2.0), torch.tensor([[1.0, 2.0, 3.0], [4.0, 9.0, 9.0]]), None

    old = torch.tensor([[-1.0] * 3, [-3.0] * 3, [-4.0] * 3, [-5.0] * 3])
    ids = torch.tensor([[9, 1, 2, 3], [8, 4, 4, 0], [7, 5, 0, 0], [6, 6, 6, 6]])
    for given, stand_in in ((None, [0.0] * 3), (old, [-3.0] * 3)):
        batch = micro_batch() | ({} if given is None else {"old_per_token_logps": given})
        attention = torch.cat([torch.ones(4, 1, dtype=torch.long), batch["completion_mask"]], 1)
        options = {"pixel_values": batch["pixel_values"], "num_images": batch["num_images"], "image_sizes": None}
        types = torch.arange(4).view(4, 1)
        log_probs, entropies, _ = RowsToRun.of(batch).run(
            function, None, ids, attention, 3, mm_token_type_ids=types, **options
        )
        assert log_probs[[0, 2]].eq(-2).all()
        assert log_probs[1].tolist() == stand_in
        assert entropies[2].tolist() == [4, 9, 9]
        assert entropies[3].tolist() == [2.5] * 3  # the mean of 1, 2, 3 and 4, the tokens that ran


def all_wrong(prompts, completions, **columns):
    return [0.0] * len(completions)


def all_well_formed(prompts, completions, **columns):
    return [1.0] * len(completions)


def test_what_rounding_leaves_of_zero_counts_as_zero(qwen_folder, tmp_path, scored):
    """TRL divides the rounding of a group mean by 1e-4: groups of 8 equal rewards of 0.1 get A = -7.45e-5."""
    options = {
        "reward_funcs": [all_wrong, all_well_formed],
        "reward_weights": [0.9, 0.1],
        "num_generations": 8,
        "max_steps": 1,
    }
    theirs = train(ScriptedGRPO, qwen_folder, tmp_path / "theirs", **options)
    assert theirs.batches[0]["advantages"].abs().max() > 1e-5
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, skip_zero_advantage=True, **options)
    rows = rows_of_forwards(trainer)
    trainer.train()
    assert rows == [1]
    assert trainer.batches[0]["advantages"].eq(0).all()
    assert not any(at.any() for at in scored[0].wanted.values())
    assert logged(trainer, "srpo/advantage/zero_fraction") == [1]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("beta", 0.04),
        ("entropy_coef", 0.01),
        ("use_adaptive_entropy", True),
        ("top_entropy_quantile", 0.2),
    ],
)
def test_refused_where_it_would_not_be_exact(tmp_path, option, value):
    with pytest.raises(ValueError, match=f"{option} .* cannot be combined with skip_zero_advantage"):
        SRPOConfig(str(tmp_path), bf16=False, credit="uniform", skip_zero_advantage=True, **{option: value})
