"""`srpo warmup`: demonstrations, a supervised run on them, held-out figures before and after; a run directory."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import PartialState

from srpo.cli import UsageError
from srpo.commands.model import check_tags, resolve_model, settle_opened_block
from srpo.commands.output import REFUSALS, quiet, run_directory
from srpo.commands.rows import load_rows
from srpo.commands.warmup_options import Warmup, parse, show_help
from srpo.commands.warmup_view import (
    COLUMNS,
    LEGEND,
    Session,
    describe,
    nothing_usable,
    reply_bar,
    show_demonstrations,
    show_end,
    show_first,
)
from srpo.roles import ResponseFormat
from srpo.run.console import ProgressCallback, show_plan
from srpo.run.directory import MetricsFile, write_header, write_json
from srpo.run.terminal import Terminal
from srpo.warmup.collection import Collection, assign, from_truth, joined, jsonl_rows
from srpo.warmup.demonstrations import SpecialTokens
from srpo.warmup.rejection import sample_demonstrations
from srpo.warmup.sampling import Reply, Sampler
from srpo.warmup.training import (
    end_of_turn,
    free_memory,
    generation_defaults,
    make_trainer,
    save,
    training_examples,
    whole_model,
)


def main(arguments: Sequence[str]) -> int:
    """Run `srpo warmup`; returns the exit status."""
    quiet()
    if {"-h", "--help"} & set(arguments):
        show_help(Terminal())
        return 0
    job = parse(arguments)
    session = _prepare(job)
    assignment = assign(session.rows.train, job.arguments.source, session.response_format)
    if not assignment.replies and not assignment.to_sample:
        raise UsageError(
            f"{job.arguments.dataset_name} has no row with perception and reasoning, and --source truth writes its "
            "demonstrations from these; name the columns with --columns perception=...,reasoning=..., or say --source "
            "samples"
        )
    special = SpecialTokens(session.model_config, session.processor)
    collected = from_truth(session.rows.train, assignment.replies, session.response_format, special)
    if not collected.demonstrations and not assignment.to_sample:
        raise UsageError(nothing_usable(collected))
    show_plan(session.console, describe(session, assignment, collected))
    if job.arguments.dry_run:
        show_first(session, collected)
        session.console.print("\nDry run: data, prompts and options were checked; no weights loaded, nothing written.")
        return 0
    try:
        _run(session, collected, assignment.to_sample, list(arguments))
    except UsageError:
        raise
    except REFUSALS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{reason} (SRPO_DEBUG=1 shows where)") from error
    return 0


def _prepare(job: Warmup) -> Session:
    state = PartialState()
    console = Terminal(quiet=not state.is_main_process)
    response_format = ResponseFormat.parse(job.arguments.response_format)
    name, model_config, processor = resolve_model(job.model, trust_remote_code=job.config.trust_remote_code)
    check_tags(processor, response_format)
    settle_opened_block(processor, response_format)
    rows = load_rows(job.arguments, job.arguments.eval_rows, response_format, job.config.data_seed or 0)
    dataset = Path(job.arguments.dataset_name).stem or "data"
    run = run_directory(job.config.output_dir, f"{dataset}-warmup", resuming=None)
    return Session(job, name, processor, model_config, response_format, rows, run, console)


def _run(session: Session, collected: Collection, to_sample: list[int], arguments: list[str]) -> None:
    """Answer the held-out questions, sample, train, save, answer again.

    Each part loads the model and gives its memory back, so that one copy is in memory at a time, however training
    splits it over devices.
    """
    started, job, run = time.perf_counter(), session.job, session.run
    main_process = PartialState().is_main_process
    settings = job.settings() | {"model_name_or_path": session.name}
    before, sampled = _before(session, to_sample)
    free_memory()
    collected = joined(collected, sampled)
    if not collected.demonstrations:
        raise UsageError(nothing_usable(collected))
    figures = collected.figures(len(session.rows.train))
    show_demonstrations(session.console, figures)
    if main_process:
        write_header(run, settings, seed=job.config.seed, arguments=arguments, command="warmup")
        if session.rows.skipped:
            write_json(run / "bad_rows.json", [asdict(find) for find in session.rows.skipped])
        _write_lines(run / "demonstrations.jsonl", jsonl_rows(session.rows.train, collected.demonstrations))
    steps = _train(session, collected)
    free_memory()
    after = _after(session)
    if main_process:
        seconds = time.perf_counter() - started
        summary = {"before": before, "after": after, "demonstrations": figures, "steps": steps, "seconds": seconds}
        write_json(run / "summary.json", summary)
        show_end(session, before, after, steps, seconds)


def _before(session: Session, to_sample: list[int]) -> tuple[dict[str, float], Collection]:
    """Held-out figures of the untrained model, and demonstrations among its own replies to the rows `to_sample`."""
    if session.rows.held_out is None and not to_sample:
        return {}, Collection()
    model = whole_model(session.name, session.job.model, session.job.config)
    return _answer(session, model, "before"), _sample(session, model, to_sample)


def _after(session: Session) -> dict[str, float]:
    """Held-out figures of the model as it was saved."""
    if session.rows.held_out is None:
        return {}
    model = whole_model(str(session.run / "model"), session.job.model, session.job.config, written=True)
    return _answer(session, model, "after")


def _answer(session: Session, model: Any, moment: str) -> dict[str, float]:
    """Held-out figures with one sampled reply a question, {} without held-out rows; the same draws at every call."""
    if session.rows.held_out is None:
        return {}
    count = len(session.rows.held_out)
    with reply_bar(session.console, f"Held out, {moment}: {count} questions", count) as drawn:
        replies = _sampler(session, model, drawn)(session.rows.held_out, range(count), "held out")
    return {
        "structured": sum(reply.verdict.structured for reply in replies) / count,
        "accuracy": sum(reply.verdict.right for reply in replies) / count,
        "finished": sum(reply.ended for reply in replies) / count,
    }


def _sample(session: Session, model: Any, rows: Sequence[int]) -> Collection:
    """Demonstrations among the model's own replies to the rows."""
    arguments = session.job.arguments

    def draw(short: Sequence[int], number: int) -> list[Reply]:
        title = f"Sampling, round {number + 1} of {arguments.samples_per_prompt}: {len(short)} questions"
        explicit = arguments.sampling_prompt == "explicit"
        with reply_bar(session.console, title, len(short)) as drawn:
            return _sampler(session, model, drawn)(session.rows.train, short, f"samples {number}", explicit=explicit)

    demonstrations, fates = sample_demonstrations(
        rows,
        draw,
        SpecialTokens(session.model_config, session.processor).inside,
        samples_per_prompt=arguments.samples_per_prompt,
        keep_per_prompt=arguments.keep_per_prompt,
    )
    return Collection(demonstrations, fates=fates)


def _sampler(session: Session, model: Any, drawn: Callable[[int], None]) -> Sampler:
    arguments = session.job.arguments
    return Sampler(
        model,
        session.processor,
        session.response_format,
        max_completion_length=arguments.max_completion_length,
        batch_size=arguments.sample_batch_size,
        seed=session.job.config.seed,
        progress=drawn,
    )


def _train(session: Session, collected: Collection) -> int:
    """Train on the demonstrations and save run/model; returns the number of optimizer steps."""
    job, processor = session.job, session.processor
    job.config.output_dir = str(session.run)
    ending = end_of_turn(processor, generation_defaults(session.name, job.model, session.model_config))
    examples = training_examples(session.rows.train, collected.demonstrations, processor, ending)
    trainer = make_trainer(
        session.name,
        job.model,
        job.config,
        processor,
        examples,
        freeze_vision=job.arguments.freeze_vision_tower,
        callbacks=[MetricsFile(session.run), ProgressCallback(session.console, COLUMNS, LEGEND)],
    )
    trainer.train()
    save(trainer, session.name, job.model, session.run)
    return int(trainer.state.global_step)


def _write_lines(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
