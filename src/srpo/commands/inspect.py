"""`srpo inspect`: replies to one question, every token tinted by the weight that training would give it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import AutoProcessor
from trl import ModelConfig

from srpo.cli import UsageError
from srpo.commands.inspect_options import PROGRAM, InspectJob, parse, show_help
from srpo.commands.inspect_row import question_data
from srpo.commands.inspect_view import describe, show
from srpo.commands.model import check_tags, model_view, resolve_model, settle_opened_block
from srpo.commands.output import REFUSALS, quiet, refuse_many_processes, run_directory
from srpo.commands.prompt_view import show_prompts
from srpo.commands.reward_functions import make_rewards
from srpo.commands.rewards import text_or_file
from srpo.credits import settled_corruption
from srpo.evaluation.checkpoint import Checkpoint, default_dtype, find_checkpoint, load_model
from srpo.evaluation.inspection import Inspection, Reply, by_role, inspect_replies, readable, records
from srpo.evaluation.replay import ReplayTrainer, no_reward
from srpo.pixels import has_other_images
from srpo.report import write_report
from srpo.roles import ResponseFormat
from srpo.run.console import show_plan
from srpo.run.directory import write_header, write_json
from srpo.run.rollouts import write_rollouts
from srpo.run.terminal import Terminal

RESULT = "inspection.json"
PAGE = "report.html"


def main(arguments: Sequence[str]) -> int:
    """Run `srpo inspect`; returns the exit status."""
    quiet()
    console = Terminal()
    if {"-h", "--help"} & set(arguments):
        show_help(console)
        return 0
    refuse_many_processes(PROGRAM)
    job = parse(arguments)
    checkpoint, model_config, processor = _find_model(job)
    response_format = ResponseFormat.parse(job.config.response_format)
    check_tags(processor, response_format)
    template = settle_opened_block(processor, response_format)
    given = job.model.model_name_or_path or "tiny"
    data, row = question_data(job.arguments, response_format, model_view(given, model_config, processor, job.config))
    job.config.corruption = settled_corruption(job.config, lambda: has_other_images(data))
    rewards = make_rewards(job, response_format, data) if job.arguments.answer is not None else [no_reward]
    replies = [text_or_file(reply) for reply in job.arguments.replies] or None
    run = run_directory(job.config.output_dir, "inspect", resuming=None)
    plan = describe(job, given, model_config.model_type, row, run)
    show_plan(console, plan | ({"template": template} if template else {}))
    if job.arguments.dry_run:
        show_prompts(console, processor, [row])
        console.print("\nDry run: question, images, rewards and options were checked; no weights loaded.")
        return 0
    try:
        with console.status("loading, sampling, scoring"):
            trainer = _trainer(job, checkpoint, processor, data, rewards, run)
            inspection = inspect_replies(trainer, row, rewarded=job.arguments.answer is not None, replies=replies)
        found = readable(inspection, processor.tokenizer)
        show(console, job, inspection, found)
        _write(job, run, given, inspection, found, processor.tokenizer, list(arguments))
    except REFUSALS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{reason} (SRPO_DEBUG=1 shows where)") from error
    console.print(f"\npage       {run}/{PAGE}\nreplies    {run}/rollouts/, {run}/{RESULT}", soft_wrap=True)
    return 0


def _find_model(job: InspectJob) -> tuple[Checkpoint, Any, Any]:
    """Where the weights are, the model's config and its processor."""
    try:
        checkpoint = find_checkpoint(job.model.model_name_or_path or "tiny")
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    wanted = ModelConfig(model_name_or_path=checkpoint.model, model_revision=job.model.model_revision)
    _, model_config, processor = resolve_model(wanted)
    if checkpoint.processor != checkpoint.model:
        processor = AutoProcessor.from_pretrained(checkpoint.processor, padding_side="left", truncation_side="left")
    return checkpoint, model_config, processor


def _trainer(
    job: InspectJob, checkpoint: Checkpoint, processor: Any, data: Any, rewards: list[Any], run: Path
) -> ReplayTrainer:
    job.config.output_dir = str(run)
    job.config.use_cpu = job.config.use_cpu or not torch.accelerator.is_available()
    attention = {"attn_implementation": job.model.attn_implementation} if job.model.attn_implementation else {}
    model = load_model(
        checkpoint,
        PartialState(cpu=job.config.use_cpu).device,
        dtype=job.model.dtype or default_dtype(),
        revision=job.model.model_revision,
        **attention,
    )
    return ReplayTrainer(model, rewards, job.config, train_dataset=data, processing_class=processor)


def _write(
    job: InspectJob,
    run: Path,
    model: str,
    inspection: Inspection,
    replies: Sequence[Reply],
    tokenizer: Any,
    arguments: list[str],
) -> None:
    """Write the folder, in the form of a run directory, and its page."""
    write_header(run, job.settings(), seed=job.config.seed, arguments=arguments, command="inspect")
    write_rollouts(run / "rollouts" / "step_000000.parquet", records(inspection, tokenizer))
    kept = ("text", "ids", "rewards", "advantage", "scored", "structured", "ended")
    record = {
        "model": model,
        "question": job.arguments.question,
        "images": job.arguments.image,
        "answer": job.arguments.answer,
        "credit": job.config.credit,
        "weights_assume": inspection.assumed,
        "by_role": {role: asdict(figures) for role, figures in by_role(replies).items()},
        "replies": [{name: getattr(reply, name) for name in kept} for reply in replies],
    }
    write_json(run / RESULT, record)
    write_report([run], run / PAGE)
