"""Public benchmarks, by lmms-eval: a checkpoint that asks for its response format, and the command that it is given to.

Written by reading lmms-eval 0.7.3, not executed with it so far. Its classes for most models take no system prompt, or
send one of their own. The instruction that a policy was trained under is therefore put into the chat template, which
all of them use.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download

from srpo.evaluation.checkpoint import Checkpoint, load_model
from srpo.roles import ResponseFormat

# Type in the model's config -> name of lmms-eval's class.
MODEL_NAMES = {
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_5_vl",
    "qwen3_vl": "qwen3_vl",
    "qwen3_5": "qwen3_5",
    "llava": "llava_hf",
    "internvl": "internvl_hf",
    "gemma3": "gemma3",
}
VLLM = "vllm"


def lmms_command(
    folder: Path,
    model: str,
    tasks: Sequence[str],
    output: Path,
    response_format: ResponseFormat,
    *,
    settings: Mapping[str, Any] | None = None,
    max_completion_length: int = 512,
    temperature: float = 0.0,
    batch_size: int = 1,
    processes: int = 1,
    further: Sequence[str] = (),
) -> list[str]:
    """The command line that evaluates a model on tasks of lmms-eval.

    Tasks set their own limit on the length of a reply, some of a few tokens, and a reply in blocks would be cut before
    its answer: --gen_kwargs raises it. --reasoning_tags leave of a reply what stands in its answer block.

    Args:
        folder: of a whole model.
        model: name of lmms-eval's class.
        tasks: names of lmms-eval's tasks and groups.
        output: folder for its results.
        response_format: the tags.
        settings: further arguments of its class.
        max_completion_length: most tokens of a reply.
        temperature: 0 is greedy.
        batch_size: replies that are drawn together.
        processes: GPUs that share the questions.
        further: arguments for lmms-eval that follow these and win over them.

    Raises:
        ValueError: without a task, and for a folder with a comma, which lmms-eval reads as the next argument.
    """
    if not tasks:
        raise ValueError("benchmarks names no task; give names such as mmmu_val,mathvista_testmini")
    if "," in str(folder):
        raise ValueError(f"folder {folder} has a comma, which lmms-eval reads as the next argument; rename it")
    launch = ["-m", "accelerate.commands.launch", "--num_processes", str(processes)] if processes > 1 else []
    named = "model" if model == VLLM else "pretrained"
    arguments = {
        "model": model,
        "model_args": _pairs({named: folder, **(settings or {})}),
        "tasks": ",".join(tasks),
        "gen_kwargs": _pairs({"max_new_tokens": max_completion_length, "temperature": f"{temperature:g}"}),
        "reasoning_tags": json.dumps(_removed(response_format)),
        "batch_size": batch_size,
        "output_path": output,
    }
    listed = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
    return [sys.executable, *launch, "-m", "lmms_eval", *listed, "--log_samples", *further]


def write_checkpoint(checkpoint: Checkpoint, processor: Any, folder: Path, instruction: str, **options: Any) -> None:
    """Write a folder with the model, a LoRA adapter merged, and a chat template that asks for the response format.

    Weights that are whole already are linked, not copied.

    Args:
        checkpoint: the model.
        processor: its processor; its chat template is changed.
        folder: to write.
        instruction: the system message; "" leaves the template as it is.
        options: of `from_pretrained`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if instruction:
        processor.chat_template = with_system_message(processor.chat_template, instruction)
        processor.tokenizer.chat_template = processor.chat_template
    processor.save_pretrained(folder)
    if checkpoint.adapter is not None:
        load_model(checkpoint, torch.device("cpu"), **options).save_pretrained(folder)
        return
    source = Path(checkpoint.model)
    source = source if source.is_dir() else Path(snapshot_download(checkpoint.model, revision=options.get("revision")))
    for path in source.iterdir():
        if path.is_file() and not (folder / path.name).exists():
            (folder / path.name).symlink_to(path.resolve())


def with_system_message(template: str, text: str) -> str:
    """A chat template that renders every conversation as if its system message, if it has one, were `text`."""
    message = json.dumps([{"role": "system", "content": [{"type": "text", "text": text}]}], ensure_ascii=False)
    begins = "messages and messages[0]['role'] == 'system'"
    return f"{{%- set messages = {message} + (messages[1:] if {begins} else messages) -%}}{template}"


def _pairs(values: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in values.items())


def _removed(response_format: ResponseFormat) -> list[list[str]]:
    """What lmms-eval takes out of a reply, from each first text through its second: two blocks, and the answer's tags.

    A pair of equal texts takes out the text itself.
    """
    blocks = [list(response_format.block(name)) for name in ("perception", "reasoning")]
    return [*blocks, *([tag, tag] for tag in response_format.block("answer"))]
