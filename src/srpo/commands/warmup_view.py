"""What `srpo warmup` shows: the plan, the first demonstration, where demonstrations came from, the end."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from srpo import tiny
from srpo.commands.arguments import DataArguments
from srpo.commands.rows import Rows
from srpo.commands.warmup_options import Warmup, WarmupArguments
from srpo.generation import prompt_text
from srpo.roles import ResponseFormat
from srpo.run.console import Columns, clock, show_summary
from srpo.run.directory import non_default
from srpo.warmup.collection import Assignment, Collection
from srpo.warmup.rejection import FATES
from srpo.warmup.sampling import with_example
from srpo.warmup.training import end_of_turn, generation_defaults

LEGEND = """Training. Figures of the last step: loss in nats a token of the replies, share of these tokens that the
model ranks first, entropy in nats a token.
"""
COLUMNS: Columns = {
    "loss": ("loss", "{:.3f}"),
    "token accuracy": ("mean_token_accuracy", "{:.0%}"),
    "entropy": ("entropy", "{:.2f}"),
}


@dataclass
class Session:
    """What the parts of a run share."""

    job: Warmup
    name: str
    processor: Any
    model_config: Any
    response_format: ResponseFormat
    rows: Rows
    run: Path
    console: Console


def describe(session: Session, assignment: Assignment, collected: Collection) -> dict[str, str]:
    """Name -> one line of the plan."""
    job, config = session.job, session.job.config
    arguments = job.arguments
    known = f"{len(collected.demonstrations)} written from the truth"
    asked = (
        f"{len(assignment.to_sample)} rows sampled ({arguments.sampling_prompt} prompt), up to "
        f"{arguments.samples_per_prompt} replies of {arguments.max_completion_length} tokens each, "
        f"{arguments.keep_per_prompt} kept"
    )
    passes = config.per_device_train_batch_size * config.gradient_accumulation_steps * config.world_size
    length = f"{config.max_steps} steps" if config.max_steps > 0 else f"{config.num_train_epochs:g} epochs"
    model = "tiny" if session.name == str(tiny.model_path()) else session.name
    rows = session.rows
    skipped = {"skipped": f"{rows.counted()}; a run lists them in bad_rows.json"} if rows.skipped else {}
    return {
        "model": f"{model} ({session.model_config.model_type}){', LoRA' if job.model.use_peft else ''}",
        "data": f"{arguments.dataset_name}: {len(rows.train)} rows, {len(rows.held_out or ())} held out",
        **skipped,
        "format": "".join(map("".join, map(session.response_format.block, ("perception", "reasoning", "answer")))),
        "demonstrations": "; ".join([known] * bool(assignment.replies) + [asked] * bool(assignment.to_sample)),
        "optimizer": f"{length}, {passes} demonstrations a step, learning rate {config.learning_rate:g}, "
        f"seed {config.seed}",
        "device": f"{config.device} x {config.world_size}",
        "run": str(session.run),
    }


def show_first(session: Session, collected: Collection) -> None:
    """The first demonstration as the model will read it; where it is yet to be sampled, the prompt that asks for it."""
    console, processor = session.console, session.processor
    first = collected.demonstrations[0] if collected.demonstrations else None
    messages = session.rows.train.select_columns(["prompt"])[first.row if first else 0]["prompt"]
    if first is None and session.job.arguments.sampling_prompt == "explicit":
        messages = with_example(messages, session.response_format)
    console.print("\nFirst demonstration" if first else "\nFirst sampling prompt", style="bold")
    console.print(prompt_text(processor, messages), markup=False, soft_wrap=True, end="")
    if first is not None:
        ending = end_of_turn(processor, generation_defaults(session.name, session.job.model, session.model_config))
        console.print(first.reply + ending, markup=False, soft_wrap=True)


def show_demonstrations(console: Console, figures: dict[str, Any]) -> None:
    """Print where the demonstrations came from, and what became of the rest."""
    table = Table(title="Demonstrations", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("written from the truth", str(figures["from_truth"]))
    table.add_row("sampled from the model", str(figures["from_samples"]))
    table.add_row("rows without one", f"{figures['rows_without']} of {figures['rows']}")
    for reason, count in figures["truth_refused"].items():
        table.add_row(f"truth refused: {reason}", str(count))
    for fate in FATES:
        if figures["sampled_fates"].get(fate):
            table.add_row(f"sampled replies: {fate}", str(figures["sampled_fates"][fate]))
    console.print(table)
    console.print()


def nothing_usable(collected: Collection) -> str:
    """The sentence that ends a run without any demonstration."""
    if not collected.fates:
        reasons = ", ".join(f"{count} {reason}" for reason, count in collected.refused.items())
        return (
            f"no reply written from the truth can be used ({reasons}); correct the columns perception, reasoning and "
            "answer, or say --source samples"
        )
    fates = ", ".join(f"{collected.fates[fate]} {fate}" for fate in FATES if collected.fates[fate])
    return (
        f"none of {collected.fates.total()} sampled replies can be used ({fates}); raise --samples_per_prompt or "
        "--max_completion_length, try --sampling_prompt explicit or easier rows, or give the data the columns "
        "perception and reasoning"
    )


def show_end(session: Session, before: dict[str, float], after: dict[str, float], steps: int, seconds: float) -> None:
    """Print the figures before and after, and what to do next."""
    console, run = session.console, session.run
    if after:
        console.print()
        show_summary(console, before, after)
    console.print(f"\n{steps} steps; everything took {clock(seconds)}.")
    console.print(
        f"""
Next
  model           {run}/model
  demonstrations  {run}/demonstrations.jsonl
  train           srpo train --model {run}/model {_data_options(session.job.arguments)}""",
        soft_wrap=True,
        markup=False,
    )


def _data_options(arguments: WarmupArguments) -> str:
    """The options by which `srpo train` sees the same prompts."""
    shared = {field.name for field in dataclasses.fields(DataArguments)} | {"response_format"}
    chosen = {name: value for name, value in non_default(arguments).items() if name in shared - {"rows"}}
    return " ".join(
        f"--{name} {value}"
        for name, value in ({"dataset": arguments.dataset_name} | chosen).items()
        if name != "dataset_name"
    )


@contextmanager
def reply_bar(console: Console, title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over replies that are drawn; one line where there is no terminal."""
    if not console.is_terminal:
        console.print(title)
        yield lambda count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)
