"""Options of `srpo credit`, and its help."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import torch
from rich.console import Console
from trl import GRPOConfig, ModelConfig

from srpo.cli import UsageError
from srpo.commands.arguments import (
    DEFAULT_RECIPE,
    DEFAULTS,
    DataArguments,
    Job,
    JobArguments,
    names_model_or_data,
    parse_options,
)
from srpo.commands.help import FROM_MODEL, described, own_options, section
from srpo.config import SRPOConfig
from srpo.credit_settings import CreditSettings
from srpo.evaluation.alignment.gradients import parameter_pattern
from srpo.evaluation.alignment.specs import DEFAULT_CREDITS, Spec, parse_specs
from srpo.evaluation.alignment.statistics import MIN_BATCHES

FROM_TRL = {
    "num_generations": "Rollouts for each prompt (G).",
    "per_device_train_batch_size": "Rollouts of one forward and backward pass.",
    "max_completion_length": "Tokens that a reply may have.",
    "temperature": "Sampling temperature.",
    "loss_type": "Whose normalisation of tokens: dapo, grpo, dr_grpo, bnpo, cispo or sapo.",
    "use_vllm": "Sample with vLLM.",
    "seed": "Of rows, sampling, corruption and sketches.",
    "output_dir": "Run directory; by default a new one under runs/. One with gradients in it goes on.",
}
NOT_USED = (
    "eval_rows",
    "rollouts_every",
    "rollouts_saved",
    "show_prompt",
    "gpu_memory",
    "gpus",
    "sharding",
    "streaming",
)


@dataclass
class CreditArguments(JobArguments):
    """What to compare and how much to measure; all options of `srpo train` stand beside it, and mean the same."""

    credits: list[str] = field(
        default_factory=lambda: list(DEFAULT_CREDITS),
        metadata={
            "help": "Credits, each with its settings, such as srpo:temperature=2,weight_max=5; a/b lists values."
        },
    )
    batches: int = field(default=40, metadata={"help": "Independent batches of rollouts."})
    prompts_per_batch: int = field(default=24, metadata={"help": "Prompts of a batch, num_generations rollouts each."})
    reference: str | None = field(
        default=None,
        metadata={"help": "Credit, as in --credits, to compare with besides uniform; by default the first srpo."},
    )
    parameters: str | None = field(
        default=None, metadata={"help": "Regular expression: gradients of these parameters only, such as layers.0."}
    )
    sketch: int = field(
        default=1 << 21, metadata={"help": "Numbers to keep of a gradient; a larger gradient is sketched to as many."}
    )
    keep_gradients: bool = field(
        default=False, metadata={"help": "Keep them at the end, so that more --batches can be added."}
    )

    def __post_init__(self) -> None:
        if self.batches < MIN_BATCHES:
            raise ValueError(
                f"batches {self.batches} must be {MIN_BATCHES} or more, because each is compared with the others"
            )
        for name in ("prompts_per_batch", "sketch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be 1 or more")
        parameter_pattern(self.parameters)
        if self.streaming:
            raise ValueError("streaming is for srpo train; srpo credit draws its prompts at random, so leave it out")


@dataclass
class CreditJob(Job):
    """A parsed command line; `reference` is a label, or None for no second reference."""

    arguments: CreditArguments
    specs: list[Spec] = field(default_factory=list)
    reference: str | None = None


def parse(arguments: Sequence[str]) -> CreditJob:
    """Read the options of `srpo credit`; without --model, --dataset and --config, those of the built-in recipe.

    The first argument may be the model: `srpo credit MODEL --dataset D`.

    Raises:
        UsageError: as `parse_options`, for credits that do not exist, and for a reference that is not measured.
    """
    arguments = list(arguments)
    if arguments and not arguments[0].startswith("-"):
        arguments[:1] = ["--model", arguments[0]]
    recipe = None if names_model_or_data(arguments) else Path(str(files("srpo") / "recipes" / DEFAULT_RECIPE))
    defaults = DEFAULTS | ({} if torch.accelerator.is_available() else {"bf16": False})
    kinds = (CreditArguments, SRPOConfig, ModelConfig)
    (own, config, model), given = parse_options(arguments, kinds, "srpo credit", defaults, recipe)
    config.credit = "srpo"  # which credits are measured is in --credits
    try:
        specs = parse_specs(own.credits, config)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return CreditJob(own, config, model, given, specs, _reference(own.reference, specs))


def _reference(given: str | None, specs: Sequence[Spec]) -> str | None:
    if given is None:
        return next((spec.label for spec in specs if spec.name == "srpo"), None)
    labels = [spec.label for spec in specs]
    if given not in labels:
        raise UsageError(f"reference {given!r} must be a credit that is measured; choose one of {', '.join(labels)}")
    return None if given == labels[0] else given


def show_help(console: Console) -> None:
    """Print the short help."""
    console.print("usage: srpo credit [MODEL] [--config FILE.yaml] [--OPTION VALUE ...]", markup=False)
    console.print(
        "\nHow well the gradient of each token credit points along the true policy gradient, on your model and data, "
        "before you pay for a training run. Takes the options and recipes of srpo train. With neither a model nor "
        "--dataset nor --config, the tiny model on the built-in visual world.\n"
    )
    shared = {field.name for field in dataclasses.fields(JobArguments)}
    data = {field.name for field in dataclasses.fields(DataArguments)} | {"reward_funcs"}
    credit = {field.name for field in dataclasses.fields(CreditSettings)} | {"scoring"}
    options = own_options(CreditArguments)
    section(console, "Model", described(ModelConfig, FROM_MODEL))
    section(console, "Measurement", [option for option in options if option[0] not in shared])
    section(console, "Data", [option for option in options if option[0] in data and option[0] not in NOT_USED])
    section(console, "Settings of credits", [option for option in own_options(SRPOConfig) if option[0] in credit])
    section(console, "Rollouts and gradients", described(GRPOConfig, FROM_TRL))
    console.print(
        "All options of srpo train are accepted, so that its recipes work; srpo credit --help_all lists them."
    )
