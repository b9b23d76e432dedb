"""The plan of a training run in a few lines, before anything expensive starts."""

from pathlib import Path
from typing import Any

import torch
from datasets import IterableDataset

from srpo import tiny
from srpo.commands.arguments import Job
from srpo.commands.memory import memory_lines
from srpo.commands.prompt_view import prompt_ids
from srpo.commands.rows import Rows
from srpo.credits import settled_corruption
from srpo.pixels import has_other_images


def describe(
    job: Job,
    model: str,
    model_config: Any,
    processor: Any,
    rows: Rows,
    run: Path,
) -> dict[str, str]:
    """Name -> one line, for everything that a reader would want to check before the run starts."""
    config = job.config
    device = f"{config.device} x {config.world_size}, {torch.get_num_threads()} threads"
    count = None if isinstance(rows.train, IterableDataset) else len(rows.train)
    amount = "rows read while training" if count is None else f"{count} rows to train on"
    skipped = {"skipped": f"{rows.counted()}; a run lists them in bad_rows.json"} if rows.skipped else {}
    return {
        "model": f"{'tiny' if model == str(tiny.model_path()) else model} ({model_config.model_type})",
        "data": f"{job.arguments.dataset_name}: {amount}, {len(rows.held_out or ())} held out",
        **skipped,
        "first prompt": _prompt(processor, next(iter(rows.train))),
        "credit": _credit(config, rows.train),
        "rewards": _rewards(job),
        "rollouts": _rollouts(config),
        "optimizer": _optimizer(config, count),
        "device": device,
        **_memory(job, model_config, processor, rows.train),
        "run": str(run),
    }


def _prompt(processor: Any, row: dict[str, Any]) -> str:
    images = "1 image" if len(row["images"]) == 1 else f"{len(row['images'])} images"
    return f"{row['question'][:80]!r}, {len(prompt_ids(processor, row))} tokens with {images}"


def _memory(job: Job, model_config: Any, processor: Any, rows: Any) -> dict[str, str]:
    """The estimate, in a dry run: it runs the processor on some rows, which the run itself does soon enough."""
    return {"memory": "\n".join(memory_lines(job, model_config, processor, rows))} if job.arguments.dry_run else {}


def _credit(config: Any, rows: Any) -> str:
    corrupted = f"image corrupted by {settled_corruption(config, lambda: has_other_images(rows))}"
    strength = f"strength {config.credit_strength:g}"
    share = f"{config.vppo_top_fraction:.0%}"
    lines = {
        "uniform": "uniform (GRPO)",
        "vppo": f"vppo, the {share} of tokens that depend most on the image, {strength}; {corrupted}",
        "rlsd": f"rlsd, weights within {config.rlsd_clip:g} of 1, by the reference answer in the prompt, {strength}",
        "pgpo": f"pgpo, gate {config.pgpo_threshold:g}, gain {config.pgpo_gain:g}, against the text alone, {strength}",
        "papo": f"papo, gamma {config.papo_gamma:g}, entropies {config.papo_entropy_coef:g}, {strength}; {corrupted}",
    }
    if config.credit in lines:
        return lines[config.credit]
    clip = f"[{config.credit_weight_min:g}, {config.credit_weight_max:g}]"
    sign = ", sign-aware" if config.credit_sign_aware else ""
    block = "reasoning gaps by block, " if config.reasoning_gap == "block" else ""
    return (
        f"{config.credit}{sign}, {config.credit_baseline} baseline, {block}"
        f"temperature {config.credit_temperature:g}, weights in {clip}, {strength}; {corrupted}"
    )


def _rewards(job: Job) -> str:
    pairs = zip(job.config.reward_weights or [], job.arguments.reward_funcs, strict=False)
    return " + ".join(f"{weight:g} {name}" for weight, name in pairs)


def _rollouts(config: Any) -> str:
    prompts = config.generation_batch_size // config.num_generations
    return (
        f"{config.generation_batch_size} a generation ({config.num_generations} for each of {prompts} prompts), "
        f"up to {config.max_completion_length} tokens, temperature {config.temperature:g}"
    )


def _optimizer(config: Any, rows: int | None) -> str:
    generations = int((rows or 0) * config.num_train_epochs) // (config.generation_batch_size // config.num_generations)
    steps = config.max_steps if config.max_steps > 0 else int(generations * _updates(config))
    several = f" ({_updates(config):g} a generation)" if _updates(config) > 1 else ""
    return (
        f"{steps} steps{several}, learning rate {config.learning_rate:g}, loss {config.loss_type}, "
        f"beta {config.beta:g}, seed {config.seed}"
    )


def _updates(config: Any) -> float:
    """Optimizer steps on the rollouts of one generation."""
    return config.num_iterations * config.steps_per_generation / config.gradient_accumulation_steps
