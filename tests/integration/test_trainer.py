"""What GRPOTrainer does keeps working with role credit."""

import inspect
import logging

import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForImageTextToText,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from trl import GRPOConfig, GRPOTrainer

from srpo.checkpoints import load_weights
from srpo.corruption import CORRUPTIONS, corrupt
from srpo.scoring import evaluation_mode, has_dropout
from srpo.tiny.tokenizer import build_tokenizer, chat_template
from srpo.trainer import SRPOTrainer
from tests.conftest import TEXTS
from tests.scripted import (
    SampledSRPO,
    ScriptedGRPO,
    ScriptedSRPO,
    logged,
    lora,
    make_trainer,
    reward,
    scripted_dataset,
    train,
)


@pytest.fixture(scope="module")
def rows():
    return scripted_dataset(12)


def length_reward(completions, **columns):
    """None for every third completion: a reward may not apply."""
    return [None if i % 3 == 2 else len(c[0]["content"]) / 100 for i, c in enumerate(completions)]


ROUNDING = 5e-6  # nats; a contrast of two equal contexts is 0 up to the widths of the passes that score them
SPLIT = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
GRPO_OPTIONS = {
    "kl": {"beta": 0.1},
    "kl with lora": {"beta": 0.1, "peft_config": lora()},
    "two iterations": {"num_iterations": 2},
    "accumulation": SPLIT,
    "steps per generation": {**SPLIT, "steps_per_generation": 4},
    "generation within a step": {**SPLIT, "steps_per_generation": 1},
    "padded to a multiple": {"pad_to_multiple_of": 16, "beta": 0.1},
    "bnpo": {"loss_type": "bnpo"},
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0, "num_iterations": 2},
    "sapo": {"loss_type": "sapo", "num_iterations": 2},
    "two rewards": {"reward_funcs": [reward, length_reward], "reward_weights": [1.0, 0.5]},
    "rewards normalized apart": {
        "reward_funcs": [reward, length_reward],
        "multi_objective_aggregation": "normalize_then_sum",
    },
    "truncated masked": {"mask_truncated_completions": True},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "lora and gradient checkpointing": {"gradient_checkpointing": True, "peft_config": lora(lora_dropout=0.2)},
    "bfloat16 weights": {"model_init_kwargs": {"dtype": "bfloat16"}, "learning_rate": 1e-1},
    "bfloat16": {"bf16": True, "num_iterations": 2},
    "entropy": {"top_entropy_quantile": 0.5, "entropy_coef": 0.01},
    "unscaled": {"scale_rewards": "none", "delta": 2.0},
    "reference sync": {"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 1},
    "clipping and decay": {"max_grad_norm": 0.1, "weight_decay": 0.1},
}


@pytest.mark.parametrize("options", GRPO_OPTIONS.values(), ids=GRPO_OPTIONS.keys())
def test_every_grpo_option(qwen_folder, tmp_path, rows, options):
    """With strength 0 it is GRPO to the last bit; with strength 1 the advantages are weighted, and it trains."""
    grpo = train(ScriptedGRPO, qwen_folder, tmp_path, train_dataset=rows, **options)
    zero = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, credit_strength=0.0, **options)
    assert torch.stack(zero.losses).equal(torch.stack(grpo.losses))
    for ours, theirs in zip(zero.gradients, grpo.gradients, strict=True):
        assert all(ours[name].equal(theirs[name]) for name in theirs)
    srpo_run = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, **options)
    first, plain = srpo_run.gradients[0], grpo.gradients[0]  # the first loss itself may agree: weights have mean 1
    assert any(not torch.allclose(first[name], plain[name], rtol=1e-3) for name in plain)
    for credit in srpo_run.credits:
        assert credit.weights.shape == credit.batch["completion_ids"].shape
        credited = (credit.roles != 0) & (credit.advantages != 0)[:, None]
        assert credit.weights[~credited].eq(1).all()
        assert (credit.weights[credited] != 1).any() == credited.any()
    assert any((credit.weights != 1).any() for credit in srpo_run.credits)
    for loss, gradients in zip(srpo_run.losses, srpo_run.gradients, strict=False):
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients.values())


class Endless(ScriptedSRPO):
    """Structured replies, of which every second one goes on after the answer until it is cut off."""

    kinds = ("right", "endless")


@pytest.mark.parametrize("masked", [False, True])
def test_truncated_rollouts_that_are_masked_stay_neutral(qwen_folder, tmp_path, rows, masked):
    options = {"train_dataset": rows, "max_steps": 1, "mask_truncated_completions": masked}
    (credit,) = train(Endless, qwen_folder, tmp_path, **options).credits
    structured = (credit.roles != 0).any(1)
    assert structured.sum() == (4 if masked else 8)
    assert structured.equal(credit.batch["completion_mask"].any(1))


def test_old_log_probabilities_serve_as_the_original_arm(qwen_folder, tmp_path, rows, scored):
    fresh = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, max_steps=1)
    reused = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, max_steps=1, num_iterations=2)
    assert [set(call.contexts) for call in scored] == [{"original", "corrupted", "cut"}, {"corrupted", "cut"}]
    torch.testing.assert_close(reused.credits[0].gaps, fresh.credits[0].gaps, atol=1e-5, rtol=0)


def test_dropout_is_off_in_the_contrasts_only(qwen_folder, tmp_path, rows, scored):
    """TRL's own log-probabilities of a policy with dropout are random, so all three arms are scored anew."""

    def gaps(dropout, **config):
        peft_config = lora(lora_dropout=dropout, init_lora_weights=False)
        trainer = make_trainer(
            ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, peft_config=peft_config, **config
        )
        modes = {}

        def before_training_step(credit):
            gaps.append(credit.gaps)
            modes.update({name: module.training for name, module in trainer.model.named_modules()})

        gaps = []
        trainer.observers.append(before_training_step)
        trainer.train()
        assert has_dropout(trainer.model) == (dropout > 0)
        assert all(modes.values())
        return gaps[0]

    without = gaps(0.0, max_steps=1)
    del scored[:]
    with_dropout = gaps(0.5, max_steps=1, num_iterations=2)
    assert [set(call.contexts) for call in scored] == [{"original", "corrupted", "cut"}]
    torch.testing.assert_close(with_dropout, without, atol=1e-5, rtol=0)


def test_gradient_checkpointing_is_left_as_it_was(qwen_folder, tmp_path, rows):
    plain = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, max_steps=1).credits[0]
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, gradient_checkpointing=True)
    seen = []

    def before_training_step(credit):
        modules = [module for module in trainer.model.modules() if hasattr(module, "gradient_checkpointing")]
        seen.append((credit, [module.gradient_checkpointing and module.training for module in modules]))

    trainer.observers.append(before_training_step)
    trainer.train()
    credit, flags = seen[0]
    assert flags
    assert all(flags)
    assert credit.gaps.equal(plain.gaps)


def test_every_module_gets_its_own_mode_back():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Sequential(torch.nn.Dropout()))
    model[1].eval()
    with pytest.raises(KeyError), evaluation_mode(model):  # noqa: PT012
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == [True, True, False, False]


def test_evaluation_scores_no_contrast(qwen_folder, tmp_path, rows, scored):
    trainer = train(
        ScriptedSRPO,
        qwen_folder,
        tmp_path,
        train_dataset=rows,
        eval_dataset=rows.select(range(4)),
        eval_strategy="steps",
        eval_steps=1,
        per_device_eval_batch_size=8,
    )
    assert len(trainer.credits) == 2
    assert len(scored) == 2
    evaluations = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(evaluations) == 2
    for entry in evaluations:
        assert 0 < entry["eval_srpo/structured/fraction"] < 1
        assert entry["eval_srpo/role/perception_share"] > 0
        assert not [name for name in entry if "gap" in name or "weight" in name]


def test_metrics_by_hand(qwen_folder, tmp_path, rows):
    clipped = {"credit_weight_max": 1.05, "corruption": "patch_mask"}
    trainer = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, max_steps=2, **clipped)
    for step, credit in enumerate(trainer.credits):
        tokens = credit.batch["completion_mask"].sum().item()
        credited = credit.roles * (credit.advantages != 0)[:, None]
        seen, derived = credited == 1, credited == 2
        expected = {
            "srpo/structured/fraction": (credit.roles != 0).any(1).float().mean(),
            "srpo/role/perception_share": (credit.roles == 1).sum() / tokens,
            "srpo/role/reasoning_share": (credit.roles == 2).sum() / tokens,
            "srpo/advantage/zero_fraction": (credit.advantages == 0).float().mean(),
            "srpo/gap/perception_mean": credit.gaps[seen].mean(),
            "srpo/gap/reasoning_mean": credit.gaps[derived].mean(),
            "srpo/weight/perception_mean": credit.weights[seen].mean(),
            "srpo/weight/reasoning_mean": credit.weights[derived].mean(),
        }
        for name, value in expected.items():
            assert logged(trainer, name)[step] == pytest.approx(float(value), abs=1e-6), name
        assert logged(trainer, "srpo/weight/clipped_fraction")[step] > 0
        assert logged(trainer, "srpo/time/contrast_seconds")[step] > 0
        assert credit.step == step


@pytest.mark.parametrize("role", ["perception", "reasoning"])
def test_credit_of_one_role_leaves_the_other_at_one(qwen_folder, tmp_path, rows, role):
    trainer = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, max_steps=1, credit=role)
    (credit,) = trainer.credits
    own = credit.roles == {"perception": 1, "reasoning": 2}[role]
    assert credit.weights[~own].eq(1).all()
    assert (credit.weights[own] != 1).any()
    structured = own.any(1)
    mean = (credit.weights * own).sum(1)[structured] / own.sum(1)[structured]
    torch.testing.assert_close(mean, torch.ones_like(mean))
    assert credit.gaps[(credit.roles != 0) & ~own].abs().max() > 0


def test_baseline_per_role(qwen_folder, tmp_path, rows):
    options = {"train_dataset": rows, "max_steps": 1, "credit_sign_aware": False, "reasoning_gap": "token"}
    shared, per_role = (
        train(ScriptedSRPO, qwen_folder, tmp_path, credit_baseline=baseline, **options).credits[0]
        for baseline in ("shared", "per_role")
    )
    assert per_role.gaps.equal(shared.gaps)
    row = int((per_role.roles != 0).any(1).nonzero()[0])
    gaps, roles = per_role.gaps[row].double(), per_role.roles[row]
    centred = sum(torch.where(roles == r, gaps - gaps[roles == r].mean(), 0.0) for r in (1, 2))
    w = centred.exp()
    expected = torch.where(roles > 0, w / w[roles > 0].mean(), 1.0).float()
    torch.testing.assert_close(per_role.weights[row], expected)
    assert not torch.allclose(shared.weights[row], expected, atol=1e-4)


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_every_corruption(qwen_folder, tmp_path, rows, scored, kind):
    trainer = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, max_steps=1, corruption=kind)
    (call,) = scored
    assert not call.pixels("corrupted").equal(call.pixels("original"))
    assert trainer.credits[0].gaps[trainer.credits[0].roles == 1].abs().max() > 0


def test_the_corruption_ratio_is_that_of_the_configuration(qwen_folder, tmp_path, rows, scored):
    for config in ({"corruption": "blank"}, {"corruption_ratio": 1.0}, {"corruption_ratio": 0.9}):
        train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, max_steps=1, **config)
    blank, all_masked, most_masked = (call.pixels("corrupted") for call in scored)
    assert all_masked.equal(blank)
    assert 0.8 < most_masked.eq(blank).all(1).float().mean() < 0.95


def test_other_image_is_an_image_of_another_row(qwen_folder, tmp_path, scored):
    data = scripted_dataset(6)
    trainer = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=data, max_steps=1, corruption="other_image")
    sections = trainer.batches[0]["image_grid_thw"].prod(-1).tolist()
    corrupted = scored[0].pixels("corrupted").split(sections)
    processor = trainer.processing_class.image_processor
    for row, pixels in zip(trainer.credits[0].rows, corrupted, strict=True):
        (own,) = row["images"]
        others = [other["images"][0] for other in data if other["images"][0].tobytes() != own.tobytes()]
        made = [processor([corrupt(own, "other_image", seed=0, other=o)], return_tensors="pt") for o in others]
        assert any(pixels.equal(inputs["pixel_values"]) for inputs in made)


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_resuming_gives_the_run_that_was_not_interrupted(layout_folder, tmp_path, rows, adapter):
    """Two iterations, so that the losses depend on the weights and not on the rollouts alone."""
    options = {"train_dataset": rows, "max_steps": 4, "num_iterations": 2, "peft_config": lora() if adapter else None}
    saving = {"save_strategy": "steps", "save_steps": 2}
    whole = train(ScriptedSRPO, layout_folder, tmp_path, **options, **saving)
    resumed = make_trainer(ScriptedSRPO, layout_folder, tmp_path, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert len(whole.losses) == 4
    assert torch.stack(resumed.losses).equal(torch.stack(whole.losses[2:]))
    assert logged(resumed, "grad_norm") == logged(whole, "grad_norm")
    for (name, ours), theirs in zip(resumed.model.named_parameters(), whole.model.parameters(), strict=True):
        assert ours.equal(theirs), name
    card = (tmp_path / "README.md").read_text()
    assert "https://huggingface.co/papers/2605.07274" in card
    assert "srpo" in card


def test_the_best_model_is_loaded_at_the_end(layout_folder, tmp_path, rows):
    trainer = train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=rows, save_strategy="steps", save_steps=1)
    last = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.state.best_model_checkpoint = str(tmp_path / "checkpoint-1")
    trainer._load_best_model()
    best = AutoModelForImageTextToText.from_pretrained(tmp_path / "checkpoint-1", dtype=torch.float32).state_dict()
    assert all(value.equal(best[name]) for name, value in trainer.model.state_dict().items())
    assert not all(value.equal(last[name]) for name, value in best.items())


def test_an_incomplete_checkpoint_is_refused(qwen_folder, tmp_path):
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path)
    trainer.save_model(str(tmp_path / "part"))
    weights = load_file(tmp_path / "part" / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "part" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"part has no weights for .*norm.weight and 0 others, but must have all"):
        load_weights(trainer.model, tmp_path / "part")


def test_the_saved_model_loads(layout_folder, tmp_path):
    trainer = train(ScriptedSRPO, layout_folder, tmp_path, max_steps=1)
    trainer.save_model(str(tmp_path / "final"))
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "final", dtype=torch.float32)
    trained, before = (
        trainer.model.state_dict(),
        AutoModelForImageTextToText.from_pretrained(layout_folder).state_dict(),
    )
    assert loaded.state_dict().keys() == trained.keys()
    assert all(value.equal(trained[name]) for name, value in loaded.state_dict().items())
    assert not all(value.equal(trained[name]) for name, value in before.items())
    assert (tmp_path / "final" / "chat_template.jinja").exists()


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_a_frozen_vision_tower_stays_as_it_was(layout_folder, tmp_path, adapter):
    peft_config = lora() if adapter else None
    trainer = make_trainer(ScriptedSRPO, layout_folder, tmp_path, freeze_vision_tower=True, peft_config=peft_config)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    changed = {name for name, value in trainer.model.state_dict().items() if not value.equal(before[name])}
    vision = {name for name in before if "visual" in name or "vision_tower" in name or "vision_model" in name}
    assert len(vision) > 10
    assert changed
    assert not changed & vision


TEXT_MESSAGES = List({"role": Value("string"), "content": Value("string")})
PART = {"type": Value("string"), "text": Value("string"), "image": Image()}


def test_images_inside_the_message_content(layout_folder, tmp_path):
    """The same rows with images in the messages in place of a column: the same credit."""
    data = scripted_dataset(4, (1, 2))
    column = train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=data, max_steps=1).credits[0]

    def inline(row):
        content = [{"type": "image", "image": image} for image in row["images"]]
        content.append({"type": "text", "text": row["prompt"][0]["content"]})
        return {"prompt": [{"role": "user", "content": content}], "flat": row["flat"]}

    features = {"prompt": List({"role": Value("string"), "content": List(PART)}), "flat": Value("bool")}
    inlined = Dataset.from_list([inline(row) for row in data], features=Features(features))
    parts = train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=inlined, max_steps=1).credits[0]
    assert parts.gaps.equal(column.gaps)
    assert parts.weights.equal(column.weights)
    assert (parts.gaps[parts.roles == 1] != 0).any()


@pytest.mark.parametrize(
    "column",
    [{"images": []}, {"images": None}, {"image": None}, {}],
    ids=["empty lists", "no lists", "no image", "no column"],
)
def test_batches_of_text(layout_folder, tmp_path, column):
    """Perception then has no image to depend on: its gaps are rounding, those of reasoning are not."""
    rows = [{"prompt": row["prompt"], **column} for row in scripted_dataset(2, (0,))]
    kinds = {"images": List(Image()), "image": Image()}
    features = Features({"prompt": TEXT_MESSAGES, **{name: kinds[name] for name in column}})
    data = Dataset.from_list(rows, features=features)
    trainer = train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=data, max_steps=1)
    (credit,) = trainer.credits
    assert credit.gaps[credit.roles == 1].abs().max() < ROUNDING
    assert credit.gaps[credit.roles == 2].abs().max() > 100 * ROUNDING
    assert (credit.weights[credit.roles != 0] != 1).any()


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_text_batches_between_image_batches(layout_folder, tmp_path, adapter):
    """Policy and reference both score batches of text, and micro-batches of text within a batch."""
    data = scripted_dataset(4, (0, 1), flat_every=9)
    options = {"train_dataset": data, "beta": 0.1, "peft_config": lora() if adapter else None}
    trainer = train(ScriptedSRPO, layout_folder, tmp_path, per_device_train_batch_size=4, max_steps=4, **options)
    with_image = [bool(credit.gaps[credit.roles == 1].abs().max() > ROUNDING) for credit in trainer.credits]
    assert with_image == [False, True, False, True]
    assert all(loss.isfinite() for loss in trainer.losses)
    trainer = train(ScriptedSRPO, layout_folder, tmp_path, **options, **SPLIT)
    credit = trainer.credits[0]
    assert credit.gaps[:4][credit.roles[:4] == 1].abs().max() < ROUNDING
    assert credit.gaps[4:][credit.roles[4:] == 1].abs().max() > 100 * ROUNDING
    assert all(loss.isfinite() for loss in trainer.losses)


def test_several_prompts_share_neither_step_nor_corruption(qwen_folder, tmp_path, rows, scored):
    """Prompts with the same image but different questions get different corruptions."""
    image = rows[0]["images"][0]
    questions = [[{"role": "user", "content": question}] for question in ("How many?", "Which one?")]
    features = Features({"prompt": TEXT_MESSAGES, "images": List(Image())})
    data = Dataset.from_dict({"prompt": questions, "images": [[image], [image]]}, features=features)
    train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=data, max_steps=1)
    copies = scored[0].pixels("corrupted").reshape(2, 4, -1)
    assert not copies[0, 0].equal(copies[1, 0])


@pytest.mark.parametrize(
    ("cls", "credit", "warns"),
    [(SampledSRPO, "srpo", True), (SampledSRPO, "uniform", True), (ScriptedSRPO, "srpo", False)],
    ids=["random", "random and uniform", "structured"],
)
def test_a_policy_that_ignores_the_format_is_reported_once(qwen_folder, tmp_path, rows, caplog, cls, credit, warns):
    options = {"train_dataset": rows, "max_completion_length": 6, "credit": credit}
    with caplog.at_level(logging.WARNING, logger="srpo.trainer"):
        train(cls, qwen_folder, tmp_path, max_steps=2, **options)
        assert not caplog.records
        train(cls, qwen_folder, tmp_path, max_steps=5, **options)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == int(warns)
    assert all("0.0%" in message and "perception,think,answer" in message for message in messages)


def test_positional_arguments_are_those_of_grpo(qwen_folder, tmp_path, rows):
    made = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows)
    trainer = SRPOTrainer(qwen_folder, reward, made.args, rows, rows.select(range(2)))
    assert len(trainer.train_dataset) == len(rows)
    assert len(trainer.eval_dataset) == 2


def no_tool():
    """Do nothing."""


class NoEnvironment:
    def reset(self, **kwargs):
        return None


@pytest.mark.filterwarnings("ignore:You are using 'environment_factory'")
@pytest.mark.parametrize(("name", "value"), [("tools", [no_tool]), ("environment_factory", NoEnvironment)])
def test_tools_and_environments_are_refused_with_token_credit(qwen_folder, tmp_path, rows, name, value):
    made = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows)
    refusal = f'{name} writes text of its own .* leave {name} out, or set credit="uniform"'
    with pytest.raises(ValueError, match=refusal):
        SRPOTrainer(qwen_folder, reward, made.args, train_dataset=rows, **{name: value})
    place = list(inspect.signature(GRPOTrainer).parameters).index(name)
    with pytest.raises(ValueError, match=refusal):
        SRPOTrainer(qwen_folder, reward, made.args, rows, *[None] * (place - 4), value)
    made.args.credit = "uniform"
    with pytest.raises(ValueError, match="chat template does not support tool calling"):  # TRL's own, later check
        SRPOTrainer(qwen_folder, reward, made.args, train_dataset=rows, **{name: value})


def test_the_configuration_must_be_ours(qwen_folder, tmp_path, rows):
    theirs = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[])
    with pytest.raises(TypeError, match="args is a GRPOConfig and must be an SRPOConfig; replace GRPOConfig by SRPO"):
        SRPOTrainer(qwen_folder, reward, theirs, train_dataset=rows)


@pytest.mark.parametrize("kind", ["many images", "one image", "stream"])
def test_auto_takes_another_image_where_there_is_one(qwen_folder, tmp_path, rows, kind):
    data = {
        "many images": rows,
        "one image": rows.select([0] * len(rows)),
        "stream": rows.to_iterable_dataset(),
    }[kind]
    seen = []
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=data, max_steps=1, corruption="auto")
    trainer.observers.append(seen.append)
    trainer.train()
    assert seen[0].corruption == ("other_image" if kind == "many images" else "patch_mask 0.6")


def test_other_image_needs_a_data_set_that_is_no_stream(qwen_folder, tmp_path, rows):
    options = {"train_dataset": rows.to_iterable_dataset(), "corruption": "other_image", "max_steps": 1}
    with pytest.raises(
        ValueError, match='"other_image" draws images from the whole data set .*; load it whole or choose'
    ):
        make_trainer(ScriptedSRPO, qwen_folder, tmp_path, **options)
    train(ScriptedSRPO, qwen_folder, tmp_path, credit="uniform", **options)


def test_a_stream_of_rows(qwen_folder, tmp_path, rows):
    options = {"max_steps": 1, "corruption": "patch_mask"}
    stream = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows.to_iterable_dataset(), **options)
    whole = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, **options)
    assert stream.credits[0].weights.equal(whole.credits[0].weights)


def test_images_of_every_prompt_are_logged_with_it(qwen_folder, tmp_path):
    data = scripted_dataset(2, (0, 1))
    options = {"train_dataset": data, "log_completions": True, "num_completions_to_print": 0, "max_steps": 1}
    trainer = train(ScriptedSRPO, qwen_folder, tmp_path, **options)
    assert [len(images) for images in trainer._logs["images"]] == [0] * 4 + [1] * 4
    assert len(trainer._logs["prompt"]) == 8


def test_a_language_model_without_vision(tmp_path):
    """Nothing to see: the contrast of perception is 0, that of reasoning works."""
    tokenizer = build_tokenizer(TEXTS)
    tokenizer.chat_template = chat_template("")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id, **sizes)
    Qwen2ForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    data = scripted_dataset(2, (0,)).remove_columns("images")
    trainer = train(ScriptedSRPO, str(tmp_path / "model"), tmp_path / "run", train_dataset=data, max_steps=1)
    (credit,) = trainer.credits
    assert credit.gaps[credit.roles == 1].abs().max() < ROUNDING
    assert credit.gaps[credit.roles == 2].abs().max() > 100 * ROUNDING
