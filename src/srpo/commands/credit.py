"""`srpo credit`: the alignment of token credits on a fixed policy, as a table, a figure and a sentence."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from srpo.cli import UsageError
from srpo.commands.credit_options import CreditJob, parse, show_help
from srpo.commands.credit_view import BatchProgress, describe, show_result, write_tables
from srpo.commands.model import check_tags, model_view, resolve_model, settle_opened_block
from srpo.commands.output import REFUSALS, quiet, refuse_many_processes, run_directory
from srpo.commands.reward_functions import make_rewards
from srpo.commands.rows import load_rows
from srpo.commands.train import make_trainer
from srpo.evaluation.alignment.figure import draw
from srpo.evaluation.alignment.measure import Measurement, Plan, Record
from srpo.evaluation.alignment.result import Line, as_json, remarks, verdict
from srpo.evaluation.replay import ReplayTrainer
from srpo.roles import ResponseFormat
from srpo.run.console import clock, show_plan
from srpo.run.directory import non_default, write_header, write_json
from srpo.run.terminal import Terminal

RESULT = "credit.json"


def main(arguments: Sequence[str]) -> int:
    """Run `srpo credit`; returns the exit status."""
    quiet()
    console = Terminal()
    if {"-h", "--help"} & set(arguments):
        show_help(console)
        return 0
    refuse_many_processes("srpo credit")
    job = parse(arguments)
    response_format = ResponseFormat.parse(job.config.response_format)
    name, model_config, processor = resolve_model(job.model, trust_remote_code=job.config.trust_remote_code)
    check_tags(processor, response_format)
    settle_opened_block(processor, response_format)
    view = model_view(job.model.model_name_or_path or "tiny", model_config, processor, job.config)
    rows = load_rows(job.arguments, 0, response_format, job.config.data_seed or 0, view)
    settings = non_default(job.arguments, job.config, job.model) | {"model_name_or_path": name}
    rewards = make_rewards(job, response_format, rows.train)
    run = _run_folder(job, settings)
    show_plan(console, describe(job, name, model_config.model_type, rows, run))
    if job.arguments.dry_run:
        console.print("\nDry run: data, rewards, credits and options were checked; nothing written.")
        return 0
    started = time.perf_counter()
    try:
        trainer = make_trainer(ReplayTrainer, job, name, processor, rows, rewards, run)
        measurement = Measurement(trainer, job.specs, _plan(job))
        write_header(run, settings, seed=job.config.seed, arguments=list(arguments), command="credit")
        with BatchProgress(console, job.arguments.batches, measurement) as progress:
            lines, records = measurement.run(run, progress, progress.go_on)
    except REFUSALS as error:
        raise UsageError(
            f"{' '.join(str(error).split()) or type(error).__name__} (SRPO_DEBUG=1 shows where)"
        ) from error
    result = _result(job, name, measurement, lines, records) | {"seconds": time.perf_counter() - started}
    write_json(run / RESULT, result)
    write_tables(run, lines, result["remarks"])
    draw(lines, run / "credit", title=f"{job.arguments.dataset_name}, {lines[0].batches} batches")
    show_result(console, lines, result["verdict"], result["remarks"])
    console.print(
        f"\n{clock(result['seconds'])}; {run}/{RESULT}, credit.md, credit.csv, credit.png, credit.svg", soft_wrap=True
    )
    return 0


def _plan(job: CreditJob) -> Plan:
    own = job.arguments
    rows = job.config.per_device_train_batch_size
    return Plan(own.batches, own.prompts_per_batch, rows, own.parameters, own.sketch, job.config.seed)


def _result(
    job: CreditJob, model: str, measurement: Measurement, lines: Sequence[Line], records: Sequence[Record]
) -> dict[str, Any]:
    return {
        "verdict": verdict(lines),
        "remarks": remarks(lines, len(records)),
        "batches_used": lines[0].batches,
        "model": model,
        "dataset": job.arguments.dataset_name,
        "plan": asdict(_plan(job)),
        "num_generations": job.config.num_generations,
        "parameters": sum(p.numel() for p in measurement.parameters.values()),
        "exact": measurement.sketch.exact,
        "credits": as_json(lines),
        "batches": records,
    }


def _run_folder(job: CreditJob, settings: dict[str, Any]) -> Path:
    """A new folder, or the one given where an earlier call with the same options was interrupted."""
    given = job.config.output_dir
    name = f"{Path(job.arguments.dataset_name).stem or 'data'}-credit"
    config = Path(str(given)) / "config.yaml"
    unfinished = config.exists() and not (config.parent / RESULT).exists()
    if unfinished and yaml.safe_load(config.read_text(encoding="utf-8")) != yaml.safe_load(yaml.safe_dump(settings)):
        raise UsageError(
            f"output_dir {given} holds an unfinished measurement with other options; repeat its options "
            f"(--config {config}), or choose another folder"
        )
    return run_directory(given, name, resuming=True if unfinished else None)
