"""`srpo eval --benchmarks`: hands a checkpoint to lmms-eval."""

import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from rich.console import Console
from trl import ModelConfig

from srpo.cli import UsageError
from srpo.commands.eval_options import Evaluation
from srpo.commands.model import resolve_model, settle_opened_block
from srpo.commands.output import run_directory
from srpo.evaluation.benchmarks import MODEL_NAMES, VLLM, lmms_command, write_checkpoint
from srpo.evaluation.checkpoint import default_dtype, find_checkpoint
from srpo.prompts import instruction
from srpo.roles import ResponseFormat
from srpo.run.directory import write_header


def run_benchmarks(job: Evaluation, console: Console) -> int:
    """Run lmms-eval on the tasks of --benchmarks; returns its exit status. A dry run prints its command line.

    Raises:
        UsageError: for a model that cannot be loaded or that lmms-eval has no class for, and where it is missing.
    """
    own = job.arguments
    if PartialState().num_processes > 1:
        raise UsageError("--benchmarks starts a process for each visible GPU; run srpo eval without accelerate launch")
    try:
        checkpoint = find_checkpoint(job.model.model_name_or_path or "tiny")
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    wanted = ModelConfig(model_name_or_path=checkpoint.model, model_revision=job.model.model_revision)
    _, model_config, processor = resolve_model(wanted)
    response_format = ResponseFormat.parse(own.response_format)
    settle_opened_block(processor, response_format)
    run = run_directory(own.output_dir, "benchmarks", resuming=None)
    command = _command(job, model_config, run)
    console.print(shlex.join(command), markup=False, soft_wrap=True)
    if own.dry_run:
        return 0
    if find_spec("lmms_eval") is None:
        raise UsageError("--benchmarks needs lmms-eval, which is not installed; pip install 'srpo[lmms]'")
    asked = instruction(response_format) if own.instruction == "system" else ""
    options: dict[str, Any] = {"dtype": job.model.dtype or default_dtype(), "revision": job.model.model_revision}
    write_header(run, job.settings(), seed=own.seed, arguments=["--benchmarks", str(own.benchmarks)], command="eval")
    write_checkpoint(checkpoint, processor, run / "checkpoint", asked, **options)
    return subprocess.run(command, check=False).returncode


def _command(job: Evaluation, model_config: Any, run: Path) -> list[str]:
    own = job.arguments
    name = own.benchmark_model or (VLLM if own.backend == VLLM else MODEL_NAMES.get(model_config.model_type))
    if name is None:
        raise UsageError(
            f"model type {model_config.model_type!r} has no class in lmms-eval that srpo knows; say --backend vllm, or "
            "name one of lmms-eval models with --benchmark_model"
        )
    engine = {"tensor_parallel_size": own.tensor_parallel_size, "gpu_memory_utilization": own.gpu_memory_utilization}
    try:
        return lmms_command(
            run / "checkpoint",
            name,
            [task.strip() for task in str(own.benchmarks).split(",") if task.strip()],
            run / "lmms_eval",
            ResponseFormat.parse(own.response_format),
            settings=engine if name == VLLM else None,
            max_completion_length=own.max_completion_length,
            temperature=own.temperature,
            batch_size=own.batch_size or 1,
            processes=1 if name == VLLM else max(1, torch.cuda.device_count()),
            further=shlex.split(own.benchmark_arguments or ""),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
