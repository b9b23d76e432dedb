"""Options of `srpo warmup`, and its help."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from trl import ModelConfig, SFTConfig

from srpo.cli import UsageError
from srpo.commands.arguments import DataArguments, names_model_or_data, parse_options
from srpo.commands.help import FROM_MODEL, described, own_options, section
from srpo.roles import ResponseFormat
from srpo.run.directory import non_default
from srpo.warmup.collection import SOURCES
from srpo.warmup.sampling import SAMPLING_PROMPTS
from srpo.warmup.training import FIXED, LEARNING_RATE, LORA_LEARNING_RATE, SCHEDULE, check_config

RECIPE = "warmup.yaml"
DEFAULTS = {
    **SCHEDULE,
    "learning_rate": None,  # decided by --use_peft
    "num_train_epochs": 1,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "logging_steps": 1,
    "save_strategy": "no",  # the model is saved at the end
    "remove_unused_columns": False,
    "disable_tqdm": True,
}
WITHOUT_ACCELERATOR = {"bf16": False, "gradient_checkpointing": False}
FROM_TRL = {
    "num_train_epochs": "Passes over the demonstrations.",
    "max_steps": "Optimizer steps; without it, num_train_epochs decides.",
    "per_device_train_batch_size": "Demonstrations of one forward and backward pass.",
    "gradient_accumulation_steps": "Passes for each optimizer step.",
    "seed": "Of sampling and data order.",
    "output_dir": "Run directory; by default a new one under runs/.",
}


@dataclass
class WarmupArguments(DataArguments):
    """What to demonstrate and how to look for it; model and optimization are in ModelConfig and SFTConfig."""

    rows: int | None = field(default=1000, metadata={"help": "Training rows to demonstrate, from the first."})
    source: str = field(
        default="auto",
        metadata={
            "help": "truth: columns perception, reasoning, answer; samples: the model's own replies; auto: both."
        },
    )
    samples_per_prompt: int = field(default=4, metadata={"help": "Most replies that are sampled for a row."})
    keep_per_prompt: int = field(default=1, metadata={"help": "Most sampled replies that are kept of a row."})
    sampling_prompt: str = field(
        default="explicit",
        metadata={"help": "explicit: sample with a worked example behind the question; plain: as in training."},
    )
    sample_batch_size: int = field(default=16, metadata={"help": "Replies that a process samples together."})
    max_completion_length: int = field(default=512, metadata={"help": "Most tokens of a sampled reply."})
    eval_rows: int = field(
        default=256, metadata={"help": "Held-out rows, answered before and after; 0 evaluates nothing."}
    )
    response_format: str = field(
        default="perception,think,answer", metadata={"help": "Tag names: perception,reasoning,answer."}
    )
    freeze_vision_tower: bool = field(default=False, metadata={"help": "Leave the vision tower out of training."})
    dry_run: bool = field(default=False, metadata={"help": "Print the plan and the first demonstration, stop."})

    def __post_init__(self) -> None:
        for name, allowed in (("source", SOURCES), ("sampling_prompt", SAMPLING_PROMPTS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} {getattr(self, name)!r} must be one of {', '.join(allowed)}")
        for name in ("samples_per_prompt", "keep_per_prompt", "sample_batch_size", "max_completion_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be 1 or more")
        if self.keep_per_prompt > self.samples_per_prompt:
            raise ValueError(
                f"keep_per_prompt {self.keep_per_prompt} must not exceed samples_per_prompt {self.samples_per_prompt}; "
                "raise samples_per_prompt"
            )
        if self.streaming:
            raise ValueError("streaming is for srpo train; a warmup reads its rows first, so leave it out")
        ResponseFormat.parse(self.response_format)


@dataclass
class Warmup:
    """A parsed command line."""

    arguments: WarmupArguments
    config: SFTConfig
    model: ModelConfig

    def settings(self) -> dict[str, Any]:
        """The options that `srpo warmup --config` needs to repeat this run, in plain values."""
        chosen = {name: getattr(self.config, name) for name in DEFAULTS}
        plain = {name: getattr(value, "value", value) for name, value in chosen.items()}
        return non_default(self.arguments, self.config, self.model) | plain


def parse(arguments: Sequence[str]) -> Warmup:
    """Read the options of `srpo warmup`; without --model, --dataset and --config, those of the built-in recipe.

    Raises:
        UsageError: as `parse_options`, and for options of SFTConfig that break a run on images.
    """
    recipe = None if names_model_or_data(arguments) else Path(str(files("srpo") / "recipes" / RECIPE))
    defaults: dict[str, Any] = FIXED | DEFAULTS | ({} if torch.accelerator.is_available() else WITHOUT_ACCELERATOR)
    kinds = (WarmupArguments, SFTConfig, ModelConfig)
    (warmup, config, model), _ = parse_options(arguments, kinds, "srpo warmup", defaults, recipe)
    if config.learning_rate is None:
        config.learning_rate = LORA_LEARNING_RATE if model.use_peft else LEARNING_RATE
    if config.resume_from_checkpoint:
        raise UsageError("a warmup cannot be resumed, because its samples would be others; start it again")
    try:
        check_config(config)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Warmup(warmup, config, model)


def show_help(console: Console) -> None:
    """Print the short help."""
    console.print("usage: srpo warmup [--config FILE.yaml] [--OPTION VALUE ...]", markup=False)
    console.print(
        "\nTeaches a model the response format on demonstrations, before srpo train: written from the true perception "
        "and reasoning where the data has them, else the model's own formatted and right replies. With neither "
        "--model nor --dataset nor --config, the built-in run on the tiny model.\n"
    )
    shared = {field.name for field in dataclasses.fields(DataArguments)}
    options = own_options(WarmupArguments)
    section(console, "Model", described(ModelConfig, FROM_MODEL))
    section(console, "Demonstrations", [option for option in options if option[0] not in shared - {"rows"}])
    section(console, "Data", [option for option in options if option[0] in shared - {"rows", "streaming"}])
    rate = ("learning_rate", f"{LEARNING_RATE:g}, with --use_peft {LORA_LEARNING_RATE:g}", "Step size.")
    section(console, "Training, the most used", [rate, *_training_options()])
    console.print("All options of TRL's SFTConfig and ModelConfig work; srpo warmup --help_all lists them.")


def _training_options() -> list[tuple[str, str, str]]:
    found = described(SFTConfig, FROM_TRL)
    return [(name, str(DEFAULTS.get(name, default)), text) for name, default, text in found]
