"""The supervised run: TRL's SFTTrainer on prompts as a policy meets them and replies as it should write them.

Prompt and reply are texts of their own, the prompt as the chat template renders it. A reply does not go through the
template: some templates rewrite one (they drop what stands before a closing think tag), and some leave out the token
that ends a turn.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import (
    AutoModelForImageTextToText,
    GenerationConfig,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
)
from transformers.integrations import is_deepspeed_zero3_enabled
from trl import ModelConfig, SFTConfig, SFTTrainer, get_peft_config, get_quantization_config

from srpo.generation import end_token_ids, prompt_text
from srpo.guard import NonFiniteGuard
from srpo.vision import freeze_vision_tower
from srpo.warmup.demonstrations import Demonstration

# What a full fine-tuning and a LoRA of Qwen2.5-VL take in LLaMA-Factory's examples (qwen2_5vl_full_sft.yaml,
# qwen2_5vl_lora_sft.yaml), and the shape of the schedule there.
LEARNING_RATE, LORA_LEARNING_RATE = 1e-5, 1e-4
SCHEDULE = {"lr_scheduler_type": "cosine", "warmup_steps": 0.1}  # of all steps
# Options that would cut image tokens, train on the prompt, or join rows that have images of their own.
FIXED = {
    "max_length": None,
    "packing": False,
    "padding_free": False,
    "assistant_only_loss": False,
    "completion_only_loss": None,
    "eos_token": None,
    "chat_template_path": None,
}


def check_config(config: SFTConfig) -> None:
    """Refuse options of SFTConfig that break a run on images, before anything is sampled.

    Raises:
        ValueError: naming the option.
    """
    for name, value in FIXED.items():
        if getattr(config, name) not in (value, None):
            raise ValueError(
                f"{name} {getattr(config, name)!r} is not for a warmup: its rows have images, and the loss covers the "
                f"reply alone; leave {name} out"
            )
    if config.n_gpu > 1:
        raise ValueError(
            f"{config.n_gpu} GPUs are visible to one process; start one process for each with accelerate launch "
            "--num_processes N -m srpo.cli warmup ..., or set CUDA_VISIBLE_DEVICES=0"
        )
    if is_deepspeed_zero3_enabled():
        raise ValueError(
            "DeepSpeed ZeRO-3 splits every model as it is loaded, and sampling needs a whole one; use FSDP, ZeRO-2 or "
            "--use_peft for the warmup"
        )


@dataclass(frozen=True)
class _Examples:
    """Transform of a Dataset with the columns `row`, `prompt`, `completion`: adds `images`, opened when used."""

    source: Dataset

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {
            "images": [self.source[row]["images"] for row in batch["row"]],
            "prompt": batch["prompt"],
            "completion": batch["completion"],
        }


def training_examples(
    dataset: Dataset, demonstrations: Sequence[Demonstration], processor: Any, end_of_turn: str
) -> Dataset:
    """Demonstrations as TRL's prompt-completion rows with images: prompt text, and the reply with its end of turn."""
    messages = dataset.select_columns(["prompt"])
    table = Dataset.from_dict(
        {
            "row": [shown.row for shown in demonstrations],
            "prompt": [prompt_text(processor, messages[shown.row]["prompt"]) for shown in demonstrations],
            "completion": [shown.reply + end_of_turn for shown in demonstrations],
        }
    )
    return table.with_transform(_Examples(dataset.select_columns(["images"])))


def end_of_turn(processor: Any, generation: Any) -> str:
    """The token that a reply must end with: what the chat template writes behind one, if generation stops there.

    A template that writes no such token (LLaVA-1.5) leaves the tokenizer's own.
    """
    tokenizer, mark = processor.tokenizer, "mark of a reply"
    turns = [("user", "?"), ("assistant", mark)]
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    _, marked, behind = processor.apply_chat_template(messages, tokenize=False).rpartition(mark)
    ends = end_token_ids(generation, tokenizer)
    found = [i for i in tokenizer(behind, add_special_tokens=False)["input_ids"] if marked and i in ends]
    return str(tokenizer.convert_ids_to_tokens(found[0] if found else tokenizer.eos_token_id))


def make_trainer(
    name: str,
    model: ModelConfig,
    config: SFTConfig,
    processor: Any,
    examples: Dataset,
    *,
    freeze_vision: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> SFTTrainer:
    """An SFTTrainer whose loss covers replies and their end-of-turn tokens, without screen output of its own.

    Raises:
        ValueError: for weights that do not fit the model's config, and a package that is missing.
    """
    config.model_init_kwargs = _weights(model) | dict(config.model_init_kwargs or {})  # type: ignore[arg-type]
    # PEFT has no default of its own for most of these models.
    if model.use_peft and not (model.lora_target_modules or model.lora_target_parameters):
        model.lora_target_modules = "all-linear"  # type: ignore[assignment]
    with _refusing_runtime_errors():
        trainer = SFTTrainer(
            name,
            config,
            train_dataset=examples,
            processing_class=processor,
            quantization_config=get_quantization_config(model),
            peft_config=get_peft_config(model),
            callbacks=[NonFiniteGuard(), *callbacks],
        )
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    if freeze_vision:
        freeze_vision_tower(trainer.model)  # type: ignore[arg-type]
    return trainer


def save(trainer: SFTTrainer, name: str, model: ModelConfig, run: Path) -> None:
    """Write run/model, a whole model that any command takes; a LoRA adapter is kept in run/adapter and merged.

    The merge is into weights of full precision, also where training had them quantized.
    """
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    if not model.use_peft:
        trainer.save_model(str(run / "model"))
        return
    trainer.save_model(str(run / "adapter"))
    if trainer.is_world_process_zero():
        base = AutoModelForImageTextToText.from_pretrained(name, **_weights(model))
        merged = PeftModel.from_pretrained(base, str(run / "adapter")).merge_and_unload()
        merged.save_pretrained(run / "model")
        trainer.processing_class.save_pretrained(run / "model")  # type: ignore[union-attr]
    trainer.accelerator.wait_for_everyone()


def whole_model(name: str, model: ModelConfig, config: SFTConfig, *, written: bool = False) -> Any:
    """The whole model in evaluation mode on this process's device, for sampling; in bfloat16 where training uses it.

    Args:
        name: hub id or folder.
        model: how to load it.
        config: of the run; decides device and precision.
        written: `name` is a folder that this run wrote, with neither a revision nor quantized weights.

    Raises:
        ValueError: for weights that do not fit the model's config, and a package that is missing.
    """
    weights = _weights(model)
    quantization = None if written else get_quantization_config(model)
    if written:
        weights.pop("revision", None)
    if config.bf16 and config.device.type != "cpu":
        weights["dtype"] = "bfloat16"
    if quantization is not None:
        weights["quantization_config"] = quantization
    if config.device.type == "cuda":  # straight to the GPU: the processes of a machine share its memory
        weights["device_map"] = {"": config.device}
    with _refusing_runtime_errors():
        found: Any = AutoModelForImageTextToText.from_pretrained(name, **weights)
    return (found if config.device.type == "cuda" else found.to(config.device)).eval()


def generation_defaults(name: str, model: ModelConfig, model_config: Any) -> GenerationConfig:
    """The generation config that the model brings, or what its config says where it brings none."""
    try:
        return GenerationConfig.from_pretrained(name, revision=model.model_revision)
    except OSError:
        return GenerationConfig.from_model_config(model_config)


def free_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.memory.empty_cache()


def _weights(model: ModelConfig) -> dict[str, Any]:
    """What `from_pretrained` is told of the weights."""
    chosen = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    return {name: value for name, value in chosen.items() if value is not None}


@contextmanager
def _refusing_runtime_errors() -> Iterator[None]:
    """While a model is loaded, a RuntimeError is the user's: weights of another model, a package not installed."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(str(error)) from error
