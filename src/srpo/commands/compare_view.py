"""What `srpo compare` shows: the plan, the chosen learning rates, the main figures, what failed."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from srpo.config import SRPOConfig
from srpo.evaluation.comparison.places import Times
from srpo.evaluation.comparison.runner import Failure
from srpo.evaluation.comparison.study import Study
from srpo.evaluation.comparison.summary import Summary
from srpo.evaluation.comparison.tables import cell, p_cell
from srpo.evaluation.comparison.tuning import Choice
from srpo.run.console import clock, show_plan

SHOWN = ("accuracy", "grounded_accuracy", "lucky_rate", "perception/needed")
BUDGET = (
    *("max_steps", "num_train_epochs", "num_generations", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "steps_per_generation"),
)


def show_plan_of(
    console: Console,
    study: Study,
    choices: Mapping[str, Choice],
    places: Sequence[Mapping[str, str]],
    times: Times,
) -> None:
    """Print what will be run."""
    tuning, reported = study.tuning_runs(), len(study.methods) * len(study.seeds)
    grid = ", ".join(f"{rate:g}" for rate in study.rates)
    seeds = ", ".join(map(str, study.tune_seeds))
    chosen = {"learning rates": f"chosen for each of {len(study.tuned())} methods from {grid} on seeds {seeds}"}
    runs = [*tuning, *study.report_runs(choices)]
    to_do = [study.chain(run) for run in (study.start_run(), *runs)]
    finished = sum(run.finished for run in runs)
    left = times.left(to_do, len(places))
    notes = study.plan_notes()
    show_plan(
        console,
        {
            "data": str(study.evaluate["dataset_name"]),
            "model": str(study.train.get("model_name_or_path", "tiny")),
            "methods": "\n".join(_method(name, study.methods[name], study.baseline) for name in study.methods),
            "seeds": ", ".join(map(str, study.seeds)),
            **(chosen if tuning else {}),
            "budget": f"{_budget(study.train)}; the same prompts in the same order for every method of a seed",
            "evaluation": f"{study.evaluate['rows']} questions, {study.evaluate['samples']} replies each, with audit",
            **({"notes": "\n".join(notes)} if notes else {}),
            "runs": f"{f'{len(tuning)} to choose learning rates, ' if tuning else ''}{reported} reported; "
            f"{finished} finished already",
            "at a time": f"{len(places)}, each with {_place(places)}",
            "expected time": "known after the first run" if left is None else clock(left),
            "folder": str(study.root),
        },
    )


def show_choices(console: Console, study: Study, choices: Mapping[str, Choice]) -> None:
    """Print the held-out accuracy of each learning rate, and which was chosen."""
    table = Table(title="Held-out accuracy on the tuning seeds; * is the rate chosen", title_justify="left")
    table.add_column("")
    for rate in study.rates:
        table.add_column(f"{rate:g}", justify="right")
    for method, choice in choices.items():
        marks = {rate: "*" if rate == choice.rate else "" for rate in study.rates}
        cells = [f"{choice.means[rate]:.3f}{marks[rate]}" if rate in choice.means else "-" for rate in study.rates]
        table.add_row(method, *cells)
    console.print(table)


def show_failures(console: Console, failures: Sequence[Failure]) -> None:
    """Print the last lines of each step that failed."""
    for failure in failures:
        console.print(f"\n{failure.chain}: {failure.step} failed with status {failure.status}; {failure.log} ends:")
        for line in failure.last_lines:
            console.print(f"  {line}", markup=False, soft_wrap=True)


def show_result(console: Console, summary: Summary, root: Path) -> None:
    """Print the main figures, the test of the primary one, and where the rest is."""
    console.print()
    metrics = [summary.metric(name) for name in SHOWN if summary.values.get(name)]
    table = Table(title="Mean over seeds and 95 % interval", title_justify="left")
    table.add_column("")
    for metric in metrics:
        table.add_column(metric.label, justify="right")
    for method in summary.methods:
        intervals = [(metric, summary.intervals[metric.name].get(method)) for metric in metrics]
        table.add_row(method, *(cell(metric, interval).replace(" [", "\n[") for metric, interval in intervals))
    if metrics:
        console.print(table)
        _show_tests(console, summary)
    for missing in summary.missing:
        console.print(f"missing: {missing}", markup=False, soft_wrap=True)
    for note in summary.notes:
        console.print(f"- {note}", markup=False, soft_wrap=True)
    console.print(f"\ntable   {root}/results.md, .csv, .json", soft_wrap=True)
    if metrics:
        console.print(f"figure  {root}/figure.png, .svg", soft_wrap=True)
    if summary.missing:
        console.print("\nThe same command again runs what is missing.")


def _show_tests(console: Console, summary: Summary) -> None:
    metric, paired = summary.metric(summary.primary), summary.differences.get(summary.primary, {})
    if not paired:
        return
    title = f"{metric.label}: difference to {summary.baseline}, paired by seed"
    table = Table(title=title, title_justify="left")
    for heading in ("", "difference", "p, paired t", "p, Holm", "p, sign flips"):
        table.add_column(heading, justify="right" if heading else "left")
    for method, of in paired.items():
        p_values = (of.p_t, summary.holm.get(method), of.p_sign_flip)
        table.add_row(method, cell(metric, of.difference, signed=True), *map(p_cell, p_values))
    console.print(table, markup=False)


def _budget(train: Mapping[str, Any]) -> str:
    """What decides how many rollouts there are, defaults among it; of steps and epochs the one that holds."""
    defaults = {field.name: field.default for field in dataclasses.fields(SRPOConfig)}
    values = {name: train.get(name, defaults[name]) for name in BUDGET}
    values.pop("num_train_epochs" if int(values["max_steps"]) > 0 else "max_steps")
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _method(name: str, options: Mapping[str, object], baseline: str) -> str:
    listed = ", ".join(f"{option} {value}" for option, value in options.items())
    return f"{name}: {listed}{' (baseline)' if name == baseline else ''}"


def _place(places: Sequence[Mapping[str, str]]) -> str:
    gpus = "; ".join(place["CUDA_VISIBLE_DEVICES"] for place in places if "CUDA_VISIBLE_DEVICES" in place)
    return f"{places[0]['OMP_NUM_THREADS']} threads" + (f", GPUs {gpus}" if gpus else "")
