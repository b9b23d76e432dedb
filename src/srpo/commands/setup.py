"""Data, rewards and model of a job, each checked before anything expensive starts."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoConfig, AutoProcessor, ProcessorMixin

from srpo import tiny
from srpo.cli import UsageError
from srpo.commands.arguments import Job
from srpo.data import DataError, check_images, load, load_splits, parse_columns, world
from srpo.data.loading import hold_out
from srpo.prompts import STYLES
from srpo.rewards import completion_text, make_accuracy_reward, make_format_reward
from srpo.roles import ResponseFormat

DECODE_UP_TO = 2000  # rows; of a larger set only the headers of the images are read before training
FORMAT_WEIGHT = 0.1  # 0.9 accuracy + 0.1 format: EasyR1, VPPO

RewardFunction = Callable[..., Sequence[float | None]]


def resolve_model(job: Job) -> tuple[str, Any, Any]:
    """Name or folder of the model, its config and its processor (no weights are loaded).

    Raises:
        UsageError: when it cannot be loaded or is not a vision-language model.
    """
    name = job.model.model_name_or_path or tiny.NAME
    name = str(tiny.model_path()) if name == tiny.NAME else name
    options = {"revision": job.model.model_revision, "trust_remote_code": job.config.trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"model {name!r} is neither a model folder here nor a model id that could be loaded ({_short(error)}); "
            "check the spelling, or give the folder"
        ) from error
    try:
        processor = AutoProcessor.from_pretrained(name, **options, padding_side="left", truncation_side="left")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"model {name!r} ({config.model_type}) has no processor for images and text that could be loaded "
            f"({_short(error)}); SRPO needs a vision-language model, such as Qwen/Qwen2.5-VL-3B-Instruct"
        ) from error
    if not isinstance(processor, ProcessorMixin):
        raise UsageError(
            f"model {name!r} has a tokenizer but no image processor; SRPO needs a vision-language model, such as "
            "Qwen/Qwen2.5-VL-3B-Instruct"
        )
    if not processor.chat_template:
        raise UsageError(f"model {name!r} has no chat template; use its instruct version, or add chat_template.jinja")
    return name, config, processor


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def check_tags(processor: Any, response_format: ResponseFormat) -> None:
    """A formatted reply must survive the tokenizer: tags that are special tokens vanish when TRL decodes.

    Raises:
        UsageError: when it does not.
    """
    (open_p, close_p), (open_t, close_t), (open_a, close_a) = map(
        response_format.block, ("perception", "reasoning", "answer")
    )
    reply = f"{open_p} red 4 {close_p}{open_t} 4 + 2 = 6 {close_t}{open_a} 6 {close_a}"
    ids = processor.tokenizer(reply, add_special_tokens=False)["input_ids"]
    if not response_format.spans(processor.tokenizer.decode(ids, skip_special_tokens=True)):
        raise UsageError(
            f"the tags of response_format {str(response_format)!r} vanish when this tokenizer decodes a reply, because "
            "they are special tokens of it; choose other names, such as --response_format see,reason,solution"
        )


def load_data(job: Job, response_format: ResponseFormat) -> tuple[Dataset, Dataset | None]:
    """Training rows and held-out rows (None when --eval_rows 0), with every image checked.

    Raises:
        UsageError: for anything wrong with the data, in the words of the loader.
    """
    arguments = job.arguments
    if arguments.instruction not in STYLES:
        raise UsageError(f"instruction {arguments.instruction!r} must be one of {', '.join(STYLES)}")
    if arguments.eval_rows < 0:
        raise UsageError(f"eval_rows {arguments.eval_rows} must be 0 or more; 0 evaluates nothing")
    options: dict[str, Any] = {
        "response_format": response_format,
        "instruction": arguments.instruction,
        "image_root": arguments.image_root,
        "seed": job.config.data_seed or 0,
    }
    try:
        options["columns"] = parse_columns(arguments.columns)
        train, held_out = _load(job, options)
        for part in (train, held_out):
            if part is not None:
                check_images(part, decode=len(part) <= DECODE_UP_TO)
    except DataError as error:
        raise UsageError(str(error)) from error
    prompts = (job.config.generation_batch_size or 1) // (job.config.num_generations or 1)
    if len(train) < prompts:
        raise UsageError(
            f"{len(train)} training rows are fewer than the {prompts} prompts of one generation, so no step would be "
            "made; give more rows, or lower per_device_train_batch_size or gradient_accumulation_steps"
        )
    return train, held_out


def _load(job: Job, options: dict[str, Any]) -> tuple[Dataset, Dataset | None]:
    arguments = job.arguments
    name, rows, eval_rows = arguments.dataset_name, arguments.rows, arguments.eval_rows
    if arguments.dataset_train_split is None and arguments.dataset_test_split is None:
        if eval_rows:
            return load_splits(name, rows=rows, eval_rows=eval_rows, **options)
        return load(name, "train", rows=rows, **options), None
    train = load(name, arguments.dataset_train_split or "train", rows=rows, **options)
    if not eval_rows:
        return train, None
    if arguments.dataset_test_split is None:
        train, held_out = hold_out(train)
        return train, held_out.select(range(min(eval_rows, len(held_out))))
    return train, load(name, arguments.dataset_test_split, rows=eval_rows, **options)


def make_rewards(job: Job, response_format: ResponseFormat, dataset: Dataset) -> list[RewardFunction]:
    """Reward functions; their weights go into the config. The built-in world adds its perception grade with weight 0.

    Raises:
        UsageError: for a name that is neither known nor an import path, and for a wrong number of weights.
    """
    names = job.arguments.reward_funcs
    functions: list[RewardFunction] = []
    weights: list[float] = []
    for name in names:
        if name in ("accuracy", "accuracy_reward"):
            functions.append(make_accuracy_reward(response_format))
            weights.append(1.0 - FORMAT_WEIGHT if len(names) > 1 else 1.0)
        elif name in ("format", "format_reward"):
            functions.append(make_format_reward(response_format))
            weights.append(FORMAT_WEIGHT if len(names) > 1 else 1.0)
        else:
            functions.append(_imported(name))
            weights.append(1.0)
    given = job.config.reward_weights
    if given is not None and len(given) != len(names):
        raise UsageError(
            f"reward_weights has {len(given)} numbers for the {len(names)} reward functions {', '.join(names)}; "
            "give one for each"
        )
    job.config.reward_weights = list(given or weights)
    if "truth" in dataset.column_names:
        functions.append(_perception_grade(response_format))
        job.config.reward_weights.append(0.0)
    return functions


def _imported(path: str) -> RewardFunction:
    module, _, name = path.rpartition(".")
    sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"reward function {path!r} cannot be imported ({error}); give accuracy, format, or an import path such as "
            "my_rewards.brevity"
        ) from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(function):
        raise UsageError(f"reward function {path!r} is a {type(function).__name__} and must be callable")
    return function


def _perception_grade(response_format: ResponseFormat) -> RewardFunction:
    def perception(completions: Sequence[Any], truth: Sequence[str], **kwargs: Any) -> list[float | None]:
        """1.0 where the written perception holds exactly the facts that the answer rests on; a figure, not a reward."""
        grades: list[float | None] = []
        for completion, facts in zip(completions, truth, strict=True):
            text = completion_text(completion)
            spans = response_format.spans(text)
            seen = text[spans[0].start : spans[0].end] if spans else ""
            grades.append(world.score_perception(seen, facts)["needed_right"])
        return grades

    return perception


def resumable(output_dir: Path) -> bool:
    """Whether a folder holds a checkpoint."""
    return any(output_dir.glob("checkpoint-*"))
