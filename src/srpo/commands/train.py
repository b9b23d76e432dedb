"""`srpo train`: data, rewards, model and trainer from options; before and after; a run directory."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from accelerate import PartialState
from rich.console import Console
from transformers import PrinterCallback
from transformers import ProgressCallback as TqdmCallback
from trl import get_peft_config, get_quantization_config

from srpo.cli import UsageError
from srpo.commands.arguments import DEFAULTS, Job, parse
from srpo.commands.help import show_help
from srpo.commands.model import check_tags, model_view, resolve_model, settle_opened_block
from srpo.commands.output import REFUSALS, quiet, run_directory
from srpo.commands.plan import describe
from srpo.commands.prompt_view import show_prompts
from srpo.commands.reward_functions import RewardFunction, make_rewards
from srpo.commands.rows import Rows, load_data
from srpo.commands.trackers import check_trackers, close_trackers, open_trackers, tables_of
from srpo.roles import ResponseFormat
from srpo.run.console import ProgressCallback, clock, show_plan, show_summary
from srpo.run.directory import MetricsFile, non_default, write_header, write_json
from srpo.run.live import RolloutTable
from srpo.run.log import logged_total
from srpo.run.rollouts import RolloutFile
from srpo.run.terminal import Terminal
from srpo.trainer import SRPOTrainer

Trainer = TypeVar("Trainer", bound=SRPOTrainer)
HELD_OUT = {
    "accuracy": "eval_rewards/accuracy_reward/mean",
    "perception right": "eval_rewards/perception/mean",
    "structured": "eval_srpo/structured/fraction",
    "reward": "eval_reward",
}


def main(arguments: Sequence[str]) -> int:
    """Run `srpo train`; returns the exit status."""
    quiet()
    if {"-h", "--help"} & set(arguments):
        show_help(Terminal())
        return 0
    job = parse(arguments)
    check_trackers(list(job.config.report_to or ()), job.config.log_completions)
    state = PartialState()
    console = Terminal(quiet=not state.is_main_process)
    response_format = ResponseFormat.parse(job.config.response_format)
    name, model_config, processor = resolve_model(job.model, trust_remote_code=job.config.trust_remote_code)
    check_tags(processor, response_format)
    template = settle_opened_block(processor, response_format)
    view = model_view(job.model.model_name_or_path or "tiny", model_config, processor, job.config)
    rows = load_data(job, response_format, view)
    settings = {**non_default(job.arguments, job.config, job.model), **{k: getattr(job.config, k) for k in DEFAULTS}}
    rewards = make_rewards(job, response_format, rows.train)
    run = run_directory(
        job.config.output_dir,
        f"{Path(job.arguments.dataset_name).stem or 'data'}-{job.config.credit}",
        resuming=bool(job.config.resume_from_checkpoint),
    )
    checkpoint = _checkpoint(job, run)
    plan = describe(job, name, model_config, processor, rows, run)
    show_plan(console, plan | ({"template": template} if template else {}))
    if job.arguments.show_prompt > 0:
        show_prompts(console, processor, list(islice(rows.train, job.arguments.show_prompt)))
    if job.arguments.dry_run:
        console.print("\nDry run: data, prompts, rewards and options were checked; no weights loaded, nothing written.")
        return 0
    try:
        try:
            trainer = make_trainer(SRPOTrainer, job, name, processor, rows, rewards, run)
        except RuntimeError as error:  # an integration that is not installed, weights that do not fit the config
            raise ValueError(str(error)) from error
        open_trackers(trainer, run)
        if trainer.is_world_process_zero():
            write_header(run, {**settings, "model_name_or_path": name}, seed=job.config.seed, arguments=list(arguments))
            if rows.skipped:
                write_json(run / "bad_rows.json", [asdict(find) for find in rows.skipped])
            _observe(job, trainer, processor, run)
        _train(trainer, checkpoint, run, console)
        if trainer.is_world_process_zero():
            _show_next_steps(console, job, run)
    except REFUSALS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{reason} (SRPO_DEBUG=1 shows where)") from error
    return 0


def _train(trainer: SRPOTrainer, checkpoint: bool | str | None, run: Path, console: Console) -> None:
    started = time.perf_counter()
    before = {} if checkpoint else _evaluate(trainer, "before", console)
    trainer.add_callback(ProgressCallback(console))
    trainer.train(resume_from_checkpoint=checkpoint)
    after = _evaluate(trainer, "after", console)
    close_trackers(trainer)
    trainer.save_model(str(run / "model"))
    if not trainer.is_world_process_zero():
        return
    seconds = time.perf_counter() - started
    steps = [entry for entry in trainer.state.log_history if "step_time" in entry]
    config = trainer.args
    micro_steps = config.num_iterations * (config.steps_per_generation or 1)
    generation = Fraction(micro_steps, config.gradient_accumulation_steps)
    contrasts = logged_total(steps, "srpo/time/contrast_seconds", generation)
    in_steps = logged_total(steps, "step_time")
    summary = {"before": before, "after": after, "seconds": seconds, "contrast_seconds": contrasts}
    questions = len(trainer.eval_dataset) if after else 0  # type: ignore[arg-type]
    write_json(run / "summary.json", {**summary, "questions": questions, "steps": trainer.state.global_step})
    if after:
        console.print()
        show_summary(console, before, after)
    share = f", {contrasts / in_steps:.0%} of step time on contrasts" if contrasts and in_steps else ""
    console.print(f"\n{trainer.state.global_step} steps in {clock(seconds)}{share}.")


def _show_next_steps(console: Console, job: Job, run: Path) -> None:
    baseline = (
        ""
        if job.config.credit == "uniform"
        else (f"\n  compare    srpo train --config {run}/config.yaml --credit uniform    (GRPO, one option apart)")
    )
    console.print(
        f"""
Next
  model      {run}/model    (load it with AutoModelForImageTextToText.from_pretrained)
  look       srpo report {run}    (curves, and every token with its role, gap and weight)
  figures    {run}/metrics.jsonl{baseline}
  your data  srpo train --model Qwen/Qwen2.5-VL-3B-Instruct --dataset FOLDER --dry_run""",
        soft_wrap=True,
    )


def _evaluate(trainer: SRPOTrainer, moment: str, console: Console) -> dict[str, float]:
    """Held-out figures with one sampled reply a question; {} without held-out rows."""
    if trainer.eval_dataset is None:
        return {}
    figures = trainer.evaluate()
    questions = len(trainer.eval_dataset)  # type: ignore[arg-type]
    named = {name: figures[key] for name, key in HELD_OUT.items() if figures.get(key) is not None}
    listed = ", ".join(f"{name} {value:.3f}" for name, value in named.items())
    console.print(f"\nHeld out, {moment} training ({questions} questions): {listed}\n")
    return named


def make_trainer(
    kind: type[Trainer],
    job: Job,
    name: str,
    processor: Any,
    rows: Rows,
    rewards: list[RewardFunction],
    run: Path,
) -> Trainer:
    """A trainer of this class, from the options of a command line."""
    config = job.config
    config.output_dir = str(run)
    chosen = {
        "revision": job.model.model_revision,
        "attn_implementation": job.model.attn_implementation,
        "dtype": job.model.dtype,
    }
    given: Any = config.model_init_kwargs or {}
    # PEFT has no default of its own for most of these models.
    if job.model.use_peft and not (job.model.lora_target_modules or job.model.lora_target_parameters):
        job.model.lora_target_modules = "all-linear"  # type: ignore[assignment]
    config.model_init_kwargs = {k: v for k, v in chosen.items() if v is not None} | given
    trainer = kind(
        name,
        rewards,
        config,
        train_dataset=rows.train,
        eval_dataset=rows.held_out,
        processing_class=processor,
        quantization_config=get_quantization_config(job.model),
        peft_config=get_peft_config(job.model),
    )
    trainer.remove_callback(TqdmCallback)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _observe(job: Job, trainer: SRPOTrainer, processor: Any, run: Path) -> None:
    """Write metrics and sampled rollouts while the run goes on, and send some rollouts to the trackers."""
    trainer.add_callback(MetricsFile(run))
    every, saved, logged = (getattr(job.arguments, f"rollouts_{name}") for name in ("every", "saved", "logged"))
    if every > 0 and saved > 0:
        trainer.observers.append(RolloutFile(run, processor.tokenizer, every=every, count=saved))
    tables = tables_of(trainer)
    if every > 0 and logged > 0 and tables:
        group, saved = trainer.num_generations, saved or logged
        table = RolloutTable(tables, processor.tokenizer, every=every, count=logged, group=group, saved=saved)
        trainer.observers.append(table)


def _checkpoint(job: Job, run: Path) -> bool | str | None:
    """What to resume from: nothing, the last checkpoint of the run, or a folder."""
    wanted = job.config.resume_from_checkpoint
    if wanted is None or str(wanted).lower() == "false":
        return None
    if str(wanted).lower() != "true":
        if not (Path(wanted) / "trainer_state.json").exists():
            raise UsageError(f"resume_from_checkpoint {wanted} is not a checkpoint folder; name one, or say true")
        return str(wanted)
    if not any(run.glob("checkpoint-*")):
        raise UsageError(
            f"output_dir {run} holds no checkpoint to resume from; name the run's folder with --output_dir, or leave "
            "--resume_from_checkpoint out"
        )
    return True
