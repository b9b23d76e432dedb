"""The private parts of TRL that SRPOTrainer stands on. A failure here means: read TRL's new code first."""

import ast
import inspect
import textwrap
from importlib.metadata import version

import pytest
import torch
from transformers import Trainer
from trl import GRPOTrainer
from trl.data_utils import prepare_multimodal_messages
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

from srpo.contrast import TOKEN_TYPE_INPUTS, VISION_INPUTS
from tests.scripted import ScriptedGRPO, ScriptedSRPO, make_trainer, scripted_dataset

ADAPT = "TRL or transformers changed {}, on which src/srpo/trainer.py relies: adapt the trainer, then this test"
SIGNATURES = {
    GRPOTrainer.__init__: ["self", "model", "reward_funcs", "args", "train_dataset", "eval_dataset"],
    GRPOTrainer._generate_and_score_completions: ["self", "inputs"],
    GRPOTrainer._generate: ["self", "prompts"],
    GRPOTrainer._tokenize_prompts: ["self", "prompts"],
    GRPOTrainer._generate_single_turn: ["self", "prompt_ids", "images", "multimodal_fields", "num_generations"],
    GRPOTrainer._compute_loss: ["self", "model", "inputs"],
    Trainer._load_from_checkpoint: ["self", "resume_from_checkpoint", "model"],
    Trainer._load_best_model: ["self"],
}
LOG_PROB_INPUTS = {
    "self",
    "model",
    "input_ids",
    "attention_mask",
    "logits_to_keep",
    "batch_size",
    "compute_entropy",
    "compute_aux_loss",
    "num_images",
    "num_tiles",
    *VISION_INPUTS,
    *TOKEN_TYPE_INPUTS,
}
BATCH_KEYS = {
    "prompt_ids",
    "prompt_mask",
    "completion_ids",
    "completion_mask",
    "advantages",
    "num_items_in_batch",
    "old_per_token_logps",
    "importance_sampling_ratio",
    "sampling_per_token_logps",
    "ref_per_token_logps",
    "num_images",
    "num_tiles",
    "tool_mask",
    *VISION_INPUTS,
    *TOKEN_TYPE_INPUTS,
}


@pytest.fixture(scope="module")
def trainer(qwen_folder, tmp_path_factory):
    """TRL's own trainer on scripted rollouts."""
    return make_trainer(ScriptedGRPO, qwen_folder, tmp_path_factory.mktemp("trl"), train_dataset=scripted_dataset(4))


@pytest.fixture(scope="module")
def batch(trainer):
    trainer.model.train()
    rows = list(trainer.train_dataset)
    return trainer._generate_and_score_completions([rows[0]] * 4 + [rows[1]] * 4)


def body(function):
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def test_the_tested_minor_version():
    assert version("trl").startswith("1.16."), ADAPT.format("its minor version")


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__qualname__)
def test_signatures(function):
    names = list(inspect.signature(function).parameters)
    assert names[: len(SIGNATURES[function])] == SIGNATURES[function], ADAPT.format(function.__qualname__)


def test_log_probabilities_take_these_inputs_and_no_others():
    names = set(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert names == LOG_PROB_INPUTS, ADAPT.format(f"the model inputs {sorted(names ^ LOG_PROB_INPUTS)}")


def test_a_batch_has_these_keys_and_no_others():
    """A key that TRL adds has to be carried into the contexts, or checked to be none of their business."""
    assignments = [
        node.targets[0].slice.value
        for node in ast.walk(body(GRPOTrainer._generate_and_score_completions))
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Subscript)
        and isinstance(node.targets[0].value, ast.Name)
        and node.targets[0].value.id == "output"
    ]
    literal = next(
        [key.value for key in node.value.keys]
        for node in ast.walk(body(GRPOTrainer._generate_and_score_completions))
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Dict)
        and getattr(node.targets[0], "id", None) == "output"
    )
    keys = {*assignments, *literal}
    assert keys == BATCH_KEYS, ADAPT.format(f"the batch keys {sorted(keys ^ BATCH_KEYS)}")


def test_generate_returns_eight_values_that_end_in_the_images(trainer):
    rows = list(trainer.train_dataset)[:4]
    generated = trainer._generate([prepare_multimodal_messages(row["prompt"], row["images"]) for row in rows])
    assert len(generated) == 8, ADAPT.format("what GRPOTrainer._generate returns")
    assert [len(images) for images in generated[-2]] == [1, 1, 1, 1], ADAPT.format(
        "the images of GRPOTrainer._generate"
    )
    assert generated[-1] == [], ADAPT.format("the tool images of GRPOTrainer._generate")


def test_advantages_come_as_one_per_rollout(batch):
    assert batch["advantages"].shape == (8,), ADAPT.format("the shape of the advantages")
    assert batch["completion_ids"].shape == batch["completion_mask"].shape
    assert batch["num_images"] == [1] * 8


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo"])
def test_the_loss_takes_one_advantage_per_token(trainer, batch, loss_type, monkeypatch):
    monkeypatch.setattr(trainer, "loss_type", loss_type)
    monkeypatch.setattr(trainer, "epsilon_high", 5.0 if loss_type == "cispo" else 0.2)
    trainer.current_gradient_accumulation_steps = 1

    def loss_of(advantages):
        return trainer._compute_loss(trainer.model, {**batch, "advantages": advantages})

    shape = batch["completion_ids"].shape
    per_rollout = loss_of(batch["advantages"])
    assert loss_of(batch["advantages"][:, None].expand(shape)).equal(per_rollout), ADAPT.format(f"the {loss_type} loss")
    first_tokens = torch.arange(shape[1]).lt(3).float()  # (T,)
    assert not torch.allclose(loss_of(batch["advantages"][:, None] * first_tokens), per_rollout, atol=1e-4)


def test_token_advantages_are_shuffled_and_split_with_their_rows():
    ids = torch.arange(8)
    rows = {"completion_ids": ids[:, None].expand(8, 3), "advantages": ids[:, None] * torch.ones(8, 3)}
    for part in split_tensor_dict(shuffle_sequence_dict(rows), 4):
        assert part["advantages"].shape == (2, 3), ADAPT.format("split_tensor_dict")
        assert part["advantages"].equal(part["completion_ids"].float()), ADAPT.format("shuffle_sequence_dict")


def test_attributes_of_the_trainer(trainer):
    for name in (
        "_is_vlm",
        "_tokenizer",
        "_metrics",
        "_logs",
        "accelerator",
        "args",
        "chat_template_kwargs",
        "generation_config",
        "generation_kwargs",
        "is_deepspeed_enabled",
        "is_fsdp_enabled",
        "log_completions",
        "log_multimodal",
        "num_generations",
        "processing_class",
        "ref_model",
        "use_vllm",
    ):
        assert hasattr(trainer, name), ADAPT.format(f"GRPOTrainer.{name}")
    assert {"rewards", "images"} <= trainer._logs.keys(), ADAPT.format("GRPOTrainer._logs")
    assert trainer.generation_config.suppress_tokens, ADAPT.format("the ban of the image token in generation")
    assert trainer.generation_kwargs["suppress_tokens"] == trainer.generation_config.suppress_tokens


def test_metrics_that_are_nan_stay_out_of_the_log(trainer):
    trainer._metrics["train"].update({"half": [float("nan"), 2.0], "none": [float("nan")]})
    logs = {}
    trainer.log(logs)
    assert (logs["half"], logs["none"]) == (2.0, None), ADAPT.format("GRPOTrainer.log")


def test_vllm_reads_its_generation_kwargs_at_each_call():
    assert "generation_kwargs" in inspect.signature(VLLMGeneration.__init__).parameters
    generate = inspect.getsource(VLLMGeneration.generate)
    assert "generation_kwargs.update(self.generation_kwargs)" in generate, ADAPT.format("VLLMGeneration.generate")


def test_vllm_gets_the_ban_as_a_logit_bias(qwen_folder, tmp_path):
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path)
    trainer.use_vllm = True
    trainer.vllm_generation = type("Generation", (), {"generation_kwargs": {"logit_bias": {5: 1.0}, "seed": 0}})()
    trainer._ban([3, 4])
    assert trainer.vllm_generation.generation_kwargs == {"logit_bias": {3: -100.0, 4: -100.0, 5: 1.0}, "seed": 0}
