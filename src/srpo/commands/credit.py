"""`srpo credit`: the alignment of token credits on a fixed policy, as tables, a figure and a sentence."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from srpo.cli import UsageError
from srpo.commands.credit_options import CreditJob, parse, show_help
from srpo.commands.credit_tables import show_result, write_tables
from srpo.commands.credit_view import BatchProgress, describe
from srpo.commands.lock import alone_in
from srpo.commands.model import check_tags, model_view, resolve_model, settle_opened_block
from srpo.commands.output import REFUSALS, quiet, refuse_many_processes, run_directory
from srpo.commands.reward_functions import make_rewards
from srpo.commands.rows import Rows, load_rows
from srpo.commands.train import make_trainer
from srpo.evaluation import identity
from srpo.evaluation.alignment.figure import draw
from srpo.evaluation.alignment.measure import Measurement, Plan, Record
from srpo.evaluation.alignment.result import Line, as_json, remarks, verdict
from srpo.evaluation.alignment.specs import settled
from srpo.evaluation.alignment.store import GradientStore
from srpo.evaluation.checkpoint import Checkpoint
from srpo.evaluation.replay import ReplayTrainer
from srpo.roles import ResponseFormat
from srpo.run.console import clock, show_plan
from srpo.run.directory import non_default, write_header, write_json
from srpo.run.terminal import Terminal

RESULT = "credit.json"
FREE = ("batches", "reference", "keep_gradients")  # may be others when a measurement goes on


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
    _refuse_repeats(job, rows)
    job.specs = settled(job.specs, rows.train)
    settings = non_default(job.arguments, job.config, job.model) | {"model_name_or_path": name}
    inputs = identity.of_inputs(Checkpoint(name), job.model.model_revision, rows.train)
    inputs["credits"] = [f"{spec.label} {spec.corruption}".strip() for spec in job.specs]
    rewards = make_rewards(job, response_format, rows.train)
    run = _run_folder(job, settings, inputs)
    show_plan(console, describe(job, name, model_config.model_type, rows, run))
    if job.arguments.dry_run:
        console.print("\nDry run: data, rewards, credits and options were checked; nothing written.")
        return 0
    with alone_in(run, "srpo credit"):
        started = time.perf_counter()
        try:
            trainer = make_trainer(ReplayTrainer, job, name, processor, rows, rewards, run)
            measurement = Measurement(trainer, job.specs, _plan(job), job.reference)
            write_header(run, settings, seed=job.config.seed, arguments=list(arguments), command="credit")
            write_json(run / identity.NAME, inputs)
            keep = job.arguments.keep_gradients
            with BatchProgress(console, job.arguments.batches, measurement, keep=keep) as progress:
                lines, records = measurement.run(run, progress, progress.go_on)
        except REFUSALS as error:
            raise UsageError(
                f"{' '.join(str(error).split()) or type(error).__name__} (SRPO_DEBUG=1 shows where)"
            ) from error
        result = _result(job, name, measurement, lines, records) | {"seconds": time.perf_counter() - started}
        _write(job, run, lines, result)
    show_result(console, lines, job.reference, result["verdict"], result["remarks"])
    console.print(
        f"\n{clock(result['seconds'])}; {run}/{RESULT}, credit.md, credit.csv, credit.png, credit.svg", soft_wrap=True
    )
    return 0


def _refuse_repeats(job: CreditJob, rows: Rows) -> None:
    prompts = job.arguments.prompts_per_batch
    if prompts > len(rows.train):
        raise UsageError(
            f"prompts_per_batch {prompts} must be at most the number of rows, {len(rows.train)}, or a batch holds a "
            "question twice; lower it, or give more --rows"
        )


def _plan(job: CreditJob) -> Plan:
    own = job.arguments
    rows = job.config.per_device_train_batch_size
    return Plan(own.batches, own.prompts_per_batch, rows, own.parameters, own.sketch, job.config.seed)


def _result(
    job: CreditJob, model: str, measurement: Measurement, lines: Sequence[Line], records: Sequence[Record]
) -> dict[str, Any]:
    repeats = len(records) * job.arguments.prompts_per_batch / len(measurement.dataset)
    return {
        "verdict": verdict(lines),
        "remarks": remarks(lines, len(records), repeats),
        "batches_used": lines[0].batches,
        "model": model,
        "dataset": job.arguments.dataset_name,
        "plan": asdict(_plan(job)),
        "num_generations": job.config.num_generations,
        "parameters": sum(p.numel() for p in measurement.parameters.values()),
        "exact": measurement.sketch.exact,
        "reference": job.reference,
        "credits": as_json(lines),
        "batches": records,
    }


def _write(job: CreditJob, run: Path, lines: Sequence[Line], result: dict[str, Any]) -> None:
    """The files of the result; only when they are there the gradients go."""
    write_json(run / RESULT, result)
    write_tables(run, lines, job.reference, result["remarks"])
    draw(lines, run / "credit", title=f"{job.arguments.dataset_name}, {lines[0].batches} batches")
    if not job.arguments.keep_gradients:
        (run / GradientStore.GRADIENTS).unlink()


def _run_folder(job: CreditJob, settings: dict[str, Any], inputs: dict[str, Any]) -> Path:
    """A new folder, or the one given where gradients of the same policy, data and options are.

    Raises:
        UsageError: for a folder that cannot be written, and for one that holds something else.
    """
    given = job.config.output_dir
    name = f"{Path(job.arguments.dataset_name).stem or 'data'}-credit"
    run = Path(str(given))
    goes_on = (run / "config.yaml").exists() and (
        (run / GradientStore.GRADIENTS).exists() or not (run / RESULT).exists()
    )
    if goes_on:
        _check_same(run, yaml.safe_load(yaml.safe_dump(settings)), inputs)
    elif (run / RESULT).exists():
        raise UsageError(
            f"output_dir {given} holds a finished measurement, and its gradients are gone, so that no batch can be "
            "added; choose another folder (--keep_gradients true keeps them)"
        )
    return run_directory(given, name, resuming=True if goes_on else None)


def _check_same(run: Path, settings: dict[str, Any], inputs: dict[str, Any]) -> None:
    kept = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    others = identity.differences(kept, settings, FREE)
    if others:
        raise UsageError(
            f"output_dir {run} holds a measurement with other options ({'; '.join(others)}); repeat its options "
            f"(--config {run / 'config.yaml'}), or choose another folder"
        )
    before = identity.read(run)
    others = [] if before is None else identity.differences(before, inputs)
    if others:
        raise UsageError(
            f"output_dir {run} holds a measurement of another policy or other data ({'; '.join(others)}); choose "
            "another folder"
        )
