"""Options of `srpo compare`: its own, and those of `srpo train` that all methods share."""

import dataclasses
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from srpo.cli import UsageError
from srpo.commands import eval_options
from srpo.commands.arguments import (
    ALIASES,
    DEFAULT_RECIPE,
    parse,
    parse_options,
    read_recipe,
)
from srpo.commands.compare_evaluation import check_questions, evaluation_options, same_questions
from srpo.commands.help import own_options, section
from srpo.data import DataError
from srpo.evaluation.comparison.methods import METHODS, ComparisonError, check_baseline, read_methods
from srpo.evaluation.comparison.plan import Run
from srpo.evaluation.comparison.results import METRICS
from srpo.evaluation.comparison.study import Study
from srpo.evaluation.comparison.summary import PRIMARY

NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
USAGE = "usage: srpo compare [--config FILE.yaml] [--methods NAMES] [--seeds NUMBERS] [--OPTION VALUE ...]"
NOT_COMPARED = ("config", "seed", "output_dir", "resume_from_checkpoint", "dry_run")


@dataclass
class CompareArguments:
    """What to compare, and how many runs at a time."""

    methods: str = field(
        default="grpo,srpo,srpo-perception,srpo-reasoning,vppo,papo",
        metadata={"help": "Names with commas between, or a YAML file of name: {option: value} entries."},
    )
    baseline: str = field(default="grpo", metadata={"help": "The method that the others are compared with."})
    seeds: str = field(default="0,1,2,3,4", metadata={"help": "Seeds that are reported, with commas between."})
    primary: str = field(
        default=PRIMARY,
        metadata={
            "help": "Figure whose p-values are adjusted for the number of methods; instead of the default accuracy "
            "where no perception is known."
        },
    )
    learning_rates: str | None = field(
        default=None, metadata={"help": "A grid such as 2e-5,5e-5,1e-4: each method's rate is chosen from it first."}
    )
    tune_seeds: str = field(
        default="100,101", metadata={"help": "Seeds of the runs that choose the rates; never among those reported."}
    )
    drop_failed_rates: bool = field(
        default=False,
        metadata={"help": "Leave a rate at which a run fails out of the choice for good, instead of waiting for it."},
    )
    eval_samples: int = field(default=4, metadata={"help": "Replies to each question in the evaluation of a run."})
    eval_split: str | None = field(
        default=None, metadata={"help": "Split of that evaluation; by default test, validation or 10 %% of train."}
    )
    eval_batch_size: int | None = field(default=None, metadata={"help": "Replies that are drawn together there."})
    eval_backend: str = field(default="transformers", metadata={"help": "What draws there: transformers or vllm."})
    jobs: int = field(default=1, metadata={"help": "Runs at a time; CPU threads and GPUs are divided among them."})
    gpus_per_run: int = field(default=1, metadata={"help": "GPUs of one run; above 1 accelerate launches it."})
    accelerate: str | None = field(
        default=None, metadata={"help": "A configuration file of accelerate for these runs, such as zero2.yaml."}
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the comparison; by default runs/compare-DATASET."}
    )
    dry_run: bool = field(default=False, metadata={"help": "Check all options, print the plan, stop."})


def parse_comparison(arguments: Sequence[str]) -> tuple[CompareArguments, Study]:
    """Read the command line of `srpo compare`.

    Raises:
        UsageError: for anything that cannot be compared, before anything is run.
    """
    flags = _flags(arguments)
    own_names = {field.name for field in dataclasses.fields(CompareArguments)}
    own = [part for name, values in flags if name in own_names for part in (f"--{name}", *values)]
    given = {name: _value(values) for name, values in flags if name not in own_names}
    (chosen,), _ = parse_options(own, (CompareArguments,), "srpo compare")
    try:
        study = _study(chosen, _train_options(given))
    except (ComparisonError, DataError) as error:
        raise UsageError(str(error)) from error
    _check_every_method(study)
    return chosen, study


def show_help(console: Console) -> None:
    """Print the help."""
    console.print(USAGE, markup=False)
    console.print(
        "\nTrains every method with every seed on the same rollout budget and the same prompts in the same order,"
        "\nevaluates and audits every model, and writes one table and one figure. Any option of srpo train may be"
        "\ngiven, in the YAML file or as a flag, and holds for all methods. Without --config, --model and --dataset:"
        "\nthe built-in run. The same command again takes up what was interrupted.\n",
        soft_wrap=True,
    )
    section(console, "Comparison", own_options(CompareArguments))
    console.print(f"Methods: {', '.join(METHODS)}; others in a YAML file, see docs/compare.md.", soft_wrap=True)


def _flags(arguments: Sequence[str]) -> list[tuple[str, list[str]]]:
    """(name, values) of each flag, written --name value or --name=value."""
    flags: list[tuple[str, list[str]]] = []
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument.removeprefix("--").partition("=")
            flags.append((ALIASES.get(name, name), [value] if equals else []))
        elif flags:
            flags[-1][1].append(argument)
        else:
            raise UsageError(f"{argument!r} is not an option; options start with --, see srpo compare --help")
    return flags


def _train_options(given: dict[str, Any]) -> dict[str, Any]:
    """The options of `srpo train` that all methods share: those of the YAML file and the flags, flags first."""
    for name in ("seed", "resume_from_checkpoint"):
        if name in given:
            raise UsageError(
                f"{name} is not an option of srpo compare; --seeds names the seeds, and the same command resumes"
            )
    recipe = None if {"model_name_or_path", "dataset_name"} & set(given) else DEFAULT_RECIPE
    recipe = given.get("config", recipe)
    options = {"log_policy_kl": True} | (read_recipe(str(recipe)) if recipe else {}) | given
    return {name: value for name, value in options.items() if name not in NOT_COMPARED}


def _study(chosen: CompareArguments, train: dict[str, Any]) -> Study:
    methods = read_methods(chosen.methods)
    check_baseline(methods, chosen.baseline)
    known = [metric.name for metric in METRICS]
    if chosen.primary not in known:
        raise ComparisonError(f"primary {chosen.primary!r} must be one of {', '.join(known)}")
    seeds, tune_seeds = _numbers("seeds", chosen.seeds, int), _numbers("tune_seeds", chosen.tune_seeds, int)
    rates = _numbers("learning_rates", chosen.learning_rates, float) if chosen.learning_rates else []
    both = sorted(set(seeds) & set(tune_seeds))
    if rates and both:
        raise ComparisonError(
            f"seed {both[0]} is among seeds and tune_seeds, but a seed that chose a learning rate must not be "
            "reported; take others"
        )
    if any(rate <= 0 for rate in rates):
        raise ComparisonError(f"learning_rates {chosen.learning_rates} must all be positive")
    dataset = str(train.get("dataset_name", "shapes"))
    root = Path(chosen.output_dir or f"runs/compare-{Path(dataset).stem or 'data'}")
    evaluate = evaluation_options(
        train,
        dataset,
        samples=chosen.eval_samples,
        split=chosen.eval_split,
        batch_size=chosen.eval_batch_size,
        backend=chosen.eval_backend,
    )
    return Study(
        root=root,
        methods=methods,
        seeds=seeds,
        baseline=chosen.baseline,
        primary=chosen.primary,
        train=train,
        evaluate=evaluate,
        rates=sorted(rates),
        tune_seeds=tune_seeds,
        launcher=_launcher(chosen),
        same_questions=bool(rates) and same_questions(train, evaluate),
    )


def _launcher(chosen: CompareArguments) -> tuple[str, ...]:
    if chosen.gpus_per_run == 1 and chosen.accelerate is None:
        return ()
    if chosen.accelerate is not None and not Path(chosen.accelerate).exists():
        raise ComparisonError(f"accelerate {chosen.accelerate} is not there; name a configuration file of accelerate")
    config = ("--config_file", chosen.accelerate) if chosen.accelerate else ()
    processes = ("--num_processes", str(chosen.gpus_per_run), "--main_process_port", "0")
    return ("accelerate.commands.launch", *config, *processes)


def _check_every_method(study: Study) -> None:
    """UsageError for options that `srpo train` or `srpo eval` would refuse, now instead of after hours."""
    runs: dict[str, Run] = {run.method: run for run in [*study.tuning_runs(), *study.report_runs({})]}
    for method, run in runs.items():
        _check(f"method {method}", run.train, parse)
    _check("the evaluation", study.evaluate, lambda arguments: check_questions(eval_options.parse(arguments).arguments))


def _check(what: str, options: dict[str, Any], read: Callable[[Sequence[str]], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "options.yaml"
        path.write_text(yaml.safe_dump(options), encoding="utf-8")
        try:
            read(["--config", str(path)])
        except UsageError as error:
            raise UsageError(f"{what}: {str(error).replace(f'{path}: ', '')}") from error


def _numbers(name: str, given: str, kind: type) -> list[Any]:
    try:
        numbers = [kind(part) for part in given.split(",")]
    except ValueError as error:
        raise ComparisonError(f"{name} {given!r} must be numbers with commas between, such as 0,1,2") from error
    if len(set(numbers)) < len(numbers):
        raise ComparisonError(f"{name} {given} repeats a number; name each once")
    return numbers


def _value(values: Sequence[str]) -> Any:
    """What a flag gives: true alone, a list for several values; numbers are read as the parser of `srpo train` does."""
    read = [_scalar(value) for value in values]
    return True if not read else read[0] if len(read) == 1 else read


def _scalar(text: str) -> Any:
    if NUMBER.fullmatch(text):  # YAML 1.1 takes 1e-5 for text
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
