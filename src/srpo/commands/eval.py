"""`srpo eval`: k replies to every question, their scores with intervals; a run directory that can be gone on with."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from datasets import Dataset
from rich.console import Console
from transformers import AutoProcessor, GenerationConfig
from trl import ModelConfig, get_quantization_config

from srpo.cli import UsageError
from srpo.commands import eval_dependency
from srpo.commands.eval_benchmarks import run_benchmarks
from srpo.commands.eval_options import OF_AUDIT, Evaluation, parse, show_help
from srpo.commands.eval_view import Bars, show_result
from srpo.commands.model import check_tags, resolve_model, settle_opened_block
from srpo.commands.output import REFUSALS, RUNS, on_main_process, quiet
from srpo.commands.prompt_view import show_prompts
from srpo.commands.rows import Rows, load_questions
from srpo.data.lengths import ModelView, PromptMeter
from srpo.evaluation import identity
from srpo.evaluation.audit import image_corruption
from srpo.evaluation.audit.rows import count_images
from srpo.evaluation.checkpoint import Checkpoint, default_dtype, find_checkpoint, load_model, whole_folder
from srpo.evaluation.run import Options, Result, evaluate
from srpo.evaluation.sampling import Sampler, TransformersSampler
from srpo.evaluation.store import AS_IS, ReplyStore, ScoredReply
from srpo.evaluation.vllm_sampler import VllmSampler, start_engine
from srpo.prompts import opened_block
from srpo.roles import ResponseFormat
from srpo.run.console import show_plan
from srpo.run.directory import write_header, write_json
from srpo.run.terminal import Terminal

RESULT = "evaluation.json"


@dataclass
class Session:
    """An evaluation, ready to begin."""

    job: Evaluation
    given: str
    checkpoint: Checkpoint
    processor: Any
    model_config: Any
    response_format: ResponseFormat
    questions: Dataset
    split: str
    rows: Rows
    run: Path
    console: Console

    @cached_property
    def model(self) -> Any:
        """The model in memory; loaded when first asked for."""
        options = self.weights
        quantization = get_quantization_config(self.job.model)
        if quantization:
            options["quantization_config"] = quantization
        return load_model(self.checkpoint, PartialState().device, **options)

    @property
    def weights(self) -> dict[str, Any]:
        """Options of `from_pretrained`, but for quantization."""
        model = self.job.model
        attention = {"attn_implementation": model.attn_implementation} if model.attn_implementation else {}
        return {"dtype": model.dtype, "revision": model.model_revision, **attention}


def main(arguments: Sequence[str]) -> int:
    """Run `srpo eval`; returns the exit status."""
    quiet()
    if {"-h", "--help"} & set(arguments):
        show_help(Terminal())
        return 0
    job = parse(arguments)
    # Without a GPU, processes find one another only when accelerate is told that they are on CPUs.
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU", not torch.accelerator.is_available()))
    console = Terminal(quiet=not state.is_main_process)
    if job.arguments.benchmarks:
        return run_benchmarks(job, console)
    if job.arguments.backend == "vllm" and state.num_processes > 1:
        raise UsageError(
            f"{state.num_processes} processes would each start a vLLM; start one, with --tensor_parallel_size "
            f"{state.num_processes}, or leave --backend vllm out"
        )
    session = _prepare(job, list(arguments), console)
    show_plan(console, _plan(session))
    if job.arguments.dry_run:
        show_prompts(console, session.processor, [session.questions[0]])
        console.print("\nDry run: data, prompts and options were checked; no weights loaded, nothing written.")
        return 0
    try:
        _evaluate(session)
    except KeyboardInterrupt:
        console.print(f"\nInterrupted. Go on with: srpo eval --resume {session.run}", soft_wrap=True)
        return 130
    except UsageError:
        raise
    except REFUSALS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{reason} (SRPO_DEBUG=1 shows where)") from error
    return 0


def _prepare(job: Evaluation, arguments: list[str], console: Console) -> Session:
    given, own = job.model.model_name_or_path or "tiny", job.arguments
    try:
        checkpoint = find_checkpoint(given)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    job.model.dtype = job.model.dtype or default_dtype()
    wanted = ModelConfig(model_name_or_path=checkpoint.model, model_revision=job.model.model_revision)
    _, model_config, processor = resolve_model(wanted)
    if checkpoint.processor != checkpoint.model:
        processor = AutoProcessor.from_pretrained(checkpoint.processor, padding_side="left", truncation_side="left")
    response_format = ResponseFormat.parse(own.response_format)
    check_tags(processor, response_format)
    settle_opened_block(processor, response_format)
    context = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    limits = [context, own.max_model_length if own.backend == "vllm" else None]
    view = ModelView(given, PromptMeter(processor), min(filter(None, limits), default=None), own.max_completion_length)
    questions, split, rows = load_questions(own, own.split, response_format, own.data_seed, view)
    decides = {
        **job.deciding(),
        "dtype": job.model.dtype,
        **identity.of_inputs(checkpoint, job.model.model_revision, questions),
    }
    decides.pop("model_name_or_path", None)  # the weights say it, wherever they lie
    run = on_main_process(lambda: _run_directory(job, given, decides, arguments))
    return Session(
        job, given, checkpoint, processor, model_config, response_format, questions, split, rows, run, console
    )


def _run_directory(job: Evaluation, given: str, decides: dict[str, Any], arguments: list[str]) -> Path:
    """The folder of the run, with its identity and options; one that is there already must have the same identity.

    What decides the audit's replies alone counts where such replies are there, and is kept for them.

    Raises:
        UsageError: for a folder that holds something else.
    """
    own = job.arguments
    named = f"eval-{Path(own.dataset_name).stem or 'data'}-{identity.short_name(decides)}"
    run = Path(own.output_dir or RUNS / named)
    kept, settings = identity.read(run), job.settings() | {"model_name_or_path": given}
    of_audit = (
        job.deciding_audit() if own.audit else {name: value for name, value in (kept or {}).items() if name in OF_AUDIT}
    )
    decides = decides | of_audit
    if kept is not None:
        others = identity.differences(kept, decides, () if ReplyStore(run).holds("corrupted") else OF_AUDIT)
        if others:
            raise UsageError(
                f"output_dir {run} holds an evaluation with other settings ({'; '.join(others)}); name another folder "
                "with --output_dir"
            )
    elif run.exists() and (not run.is_dir() or any(run.glob("*.yaml"))):
        raise UsageError(f"output_dir {run} holds something else than an evaluation; name another folder")
    if not own.dry_run:
        try:
            run.mkdir(parents=True, exist_ok=True)
            write_json(run / identity.NAME, decides)
            if not (run / "config.yaml").exists() or own.audit:
                write_header(run, settings, seed=own.seed, arguments=arguments, command="eval")
        except OSError as error:
            raise UsageError(f"output_dir {run} cannot be written ({error}); name another folder") from error
    return run


def _evaluate(session: Session) -> None:
    own, run = session.job.arguments, session.run
    if PartialState().is_main_process and session.rows.skipped:
        write_json(run / "bad_rows.json", [asdict(find) for find in session.rows.skipped])
    options = Options(
        samples=own.samples,
        batch_size=own.batch_size or 1,
        seed=own.seed,
        response_format=session.response_format,
        audit=own.audit,
        corrupted=image_corruption(session.model_config, session.processor, own.corruption, own.corruption_ratio),
        opened=opened_block(session.processor),
    )
    with ExitStack() as stack:
        store = ReplyStore(run)
        make = _sampler(session, stack)
        result = evaluate(make, session.questions, options, store, Bars(session.console))
    if PartialState().is_main_process:
        earlier = _earlier_profile(session)
        record = _record(session, result) | ({"dependency": earlier} if earlier else {})
        write_json(run / RESULT, record)
        show_result(session.console, result, own.samples)
        if own.audit and own.dependency_rows:
            profile = earlier or _profile(session, store.read(AS_IS))
            if profile:
                write_json(run / RESULT, record | {"dependency": profile})
                eval_dependency.show(session.console, profile)
        session.console.print(f"\nfigures    {run}/{RESULT}\nreplies    {run}/replies.parquet", soft_wrap=True)


def _earlier_profile(session: Session) -> dict[str, Any] | None:
    """The dependency profile that evaluation.json holds, if it is of as many replies as are asked for now."""
    own, path = session.job.arguments, session.run / RESULT
    found = json.loads(path.read_text(encoding="utf-8")).get("dependency") if own.audit and path.exists() else None
    return found if found and found["rows"] == own.dependency_rows else None


def _profile(session: Session, replies: Sequence[ScoredReply]) -> dict[str, Any] | None:
    own, model, console = session.job.arguments, session.job.model, session.console
    scored = eval_dependency.scored_replies(own, session.questions["prompt"], replies)
    reason = eval_dependency.reason_against(
        own,
        quantized=model.load_in_4bit or model.load_in_8bit,
        processes=PartialState().num_processes,
        questions=len(scored),
    )
    if reason:
        console.print(f"\ndependency profile left out: {reason}", soft_wrap=True)
        return None
    console.print()
    return eval_dependency.measure(own, session.model, session.processor, session.questions, scored, console)


def _record(session: Session, result: Result) -> dict[str, Any]:
    own = session.job.arguments
    return {
        "model": session.given,
        "dataset": own.dataset_name,
        "split": session.split,
        "questions": result.questions,
        "samples": own.samples,
        "seed": own.seed,
        **{name: value for name, value in asdict(result).items() if name not in ("questions", "seconds")},
        "seconds": result.seconds,
    }


def _sampler(session: Session, stack: ExitStack) -> Callable[[], Sampler]:
    """A function that loads the model and gives its sampler; what it opens is closed with the stack."""
    own, model = session.job.arguments, session.job.model
    drawing: dict[str, Any] = {
        "max_completion_length": own.max_completion_length,
        "temperature": own.temperature,
        "top_p": own.top_p,
    }

    def with_transformers() -> Sampler:
        return TransformersSampler(session.model, session.processor, **drawing)

    def with_vllm() -> Sampler:
        folder = stack.enter_context(whole_folder(session.checkpoint, session.processor, **session.weights))
        engine = start_engine(
            folder,
            images=max(count_images(prompt) for prompt in session.questions["prompt"]),
            dtype=str(model.dtype),
            revision=model.model_revision if folder == session.given else None,
            tensor_parallel_size=own.tensor_parallel_size,
            memory=own.gpu_memory_utilization,
            max_length=own.max_model_length,
            seed=own.seed,
        )
        try:
            generation = GenerationConfig.from_pretrained(folder)
        except OSError:
            generation = GenerationConfig.from_model_config(session.model_config)
        return VllmSampler(engine, session.processor, session.model_config, generation, **drawing)

    return with_vllm if own.backend == "vllm" else with_transformers


def _plan(session: Session) -> dict[str, str]:
    own, count = session.job.arguments, len(session.questions)
    drawing = "greedy" if own.temperature == 0 else f"temperature {own.temperature:g}, top_p {own.top_p:g}"
    skipped = {"skipped": f"{session.rows.counted()}; bad_rows.json lists them"} if session.rows.skipped else {}
    return {
        "model": f"{session.given} ({session.model_config.model_type}, {session.job.model.dtype})",
        "data": f"{own.dataset_name}, {session.split}: {count} questions",
        **skipped,
        "replies": f"{own.samples} a question, {drawing}, at most {own.max_completion_length} tokens",
        "audit": "yes" if own.audit else "no (--audit)",
        "backend": f"{own.backend}, {own.batch_size} replies together, {PartialState().num_processes} processes",
        "run": str(session.run),
    }
