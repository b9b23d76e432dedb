"""`srpo train --help`: the options that matter first; `--help_all` lists the hundreds of TRL and transformers."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from trl import GRPOConfig, ModelConfig

from srpo.commands.arguments import JobArguments
from srpo.config import SRPOConfig

FROM_TRL = {
    "learning_rate": "Step size of the optimizer.",
    "max_steps": "Optimizer steps; without it, num_train_epochs decides.",
    "num_generations": "Rollouts for each prompt (G).",
    "per_device_train_batch_size": "Rollouts of one forward and backward pass.",
    "gradient_accumulation_steps": "Passes for each optimizer step.",
    "max_completion_length": "Tokens that a reply may have.",
    "temperature": "Sampling temperature; the contrasts use it too.",
    "beta": "KL penalty against the initial policy; 0 keeps no reference model.",
    "loss_type": "dapo, grpo, dr_grpo, bnpo, cispo or sapo.",
    "use_vllm": "Sample with vLLM.",
    "seed": "Of sampling, data order and corruption.",
    "output_dir": "Run directory; by default a new one under runs/.",
    "report_to": "Log live to trackio, tensorboard or wandb, with a table of rollouts.",
    "resume_from_checkpoint": "true to continue the run in output_dir.",
}
FROM_MODEL = {
    "model_name_or_path": "Also --model: folder or hub id; the built-in tiny model by default.",
    "use_peft": "Train a LoRA adapter; lora_r, lora_alpha, ... configure it.",
    "dtype": "Of the weights, such as bfloat16; float32 by default.",
}


def show_help(console: Console) -> None:
    """Print the short help."""
    console.print("usage: srpo train [--config FILE.yaml] [--OPTION VALUE ...]", markup=False)
    console.print(
        "\nEvery option can stand in the YAML file, without the dashes; flags win over it. With neither --model nor"
    )
    console.print("--dataset nor --config, the built-in run: the tiny model on the built-in visual world.\n")
    own = {field.name for field in dataclasses.fields(GRPOConfig)}
    credit = [field for field in dataclasses.fields(SRPOConfig) if field.name not in own]
    section(console, "Model", described(ModelConfig, FROM_MODEL))
    section(console, "Data and run", own_options(JobArguments))
    section(console, "Credit", [(f.name, _default(f), _help(f)) for f in credit])
    section(console, "Training, the most used", described(GRPOConfig, FROM_TRL))
    console.print("All options of TRL's GRPOConfig and ModelConfig work; srpo train --help_all lists them.")


def own_options(owner: Any) -> list[tuple[str, str, str]]:
    """Name, default and help of every field of a dataclass of this package."""
    return [(field.name, _default(field), _help(field)) for field in dataclasses.fields(owner)]


def described(owner: Any, texts: dict[str, str]) -> list[tuple[str, str, str]]:
    """Name, default and text of some fields of a dataclass."""
    fields = {field.name: field for field in dataclasses.fields(owner)}
    return [(name, _default(fields[name]), text) for name, text in texts.items()]


def section(console: Console, title: str, rows: Iterable[tuple[str, str, str]]) -> None:
    """Print options (name, default, text) under a title."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, default, text in rows:
        table.add_row(f"  --{name}", f"{text} [{default}]" if default else text)
    console.print(f"{title}", style="bold")
    console.print(table, markup=False)
    console.print()


def _help(field: Any) -> str:
    return str(field.metadata.get("help", "")).replace("%%", "%")


def _default(field: Any) -> str:
    value = field.default_factory() if callable(field.default_factory) else field.default
    if value is None or value is dataclasses.MISSING or value == "":
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
