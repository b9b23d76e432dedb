"""Options of `srpo train`: a YAML file plus flags, parsed as `trl grpo` parses them."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from trl import ModelConfig, TrlParser

from srpo.cli import UsageError
from srpo.config import SRPOConfig

ALIASES = {"model": "model_name_or_path", "dataset": "dataset_name"}
DEFAULT_RECIPE = "demo.yaml"
NEAR = 0.75  # of difflib: a letter or two are wrong; two words that only share some letters stay below
# Where a command line differs from TRL's defaults for a script.
DEFAULTS = {
    "logging_steps": 1,
    "num_generations_eval": 1,
    "remove_unused_columns": False,
    "disable_tqdm": True,
}


@dataclass
class DataArguments:
    """Which rows, and what their prompts say: shared by all commands that read data."""

    dataset_name: str = field(
        default="shapes",
        metadata={"help": "Also --dataset: shapes (built in), a file, a folder or a hub id (org/set[:config])."},
    )
    dataset_train_split: str | None = field(default=None, metadata={"help": "Split to train on; found by default."})
    dataset_test_split: str | None = field(
        default=None, metadata={"help": "Split to evaluate on; by default validation, test or 10 %% of train."}
    )
    preset: str | None = field(default=None, metadata={"help": "Read the data as a known set, such as mathvista."})
    columns: str | None = field(
        default=None, metadata={"help": "Names of the data set's columns, such as question=problem,answer=gt."}
    )
    image_root: str | None = field(default=None, metadata={"help": "Folder that image paths are relative to."})
    instruction: str = field(
        default="system", metadata={"help": "Where the prompt asks for the response format: system, user or none."}
    )
    task: str | None = field(
        default=None, metadata={"help": "How answers are compared: math, math:5%%, choice, text, range or box."}
    )
    hint: str = field(
        default="auto",
        metadata={"help": "A sentence behind each question; auto: by task or preset; none."},
    )
    max_pixels: int | None = field(
        default=None, metadata={"help": "Shrink larger images to this many pixels; the processor may shrink further."}
    )
    answer_base: int | None = field(default=None, metadata={"help": "Where positions as answers start: 0 or 1."})
    rows: int | None = field(default=None, metadata={"help": "Training rows to use; all by default."})
    streaming: bool = field(
        default=False, metadata={"help": "Read rows while training instead of before; needs max_steps."}
    )
    on_bad_rows: str = field(
        default="refuse",
        metadata={"help": "refuse a set with bad rows, or skip and list them."},
    )


@dataclass
class JobArguments(DataArguments):
    """What to train on and what to keep; model and method are in TRL's ModelConfig and in SRPOConfig."""

    eval_rows: int = field(
        default=256, metadata={"help": "Held-out rows, answered before and after training; 0 evaluates nothing."}
    )
    reward_funcs: list[str] = field(
        default_factory=lambda: ["accuracy", "format"],
        metadata={"help": "accuracy, format, or import paths of functions with TRL's reward signature."},
    )
    rollouts_every: int = field(default=10, metadata={"help": "Steps between saved rollouts; 0 saves none."})
    rollouts_saved: int = field(default=32, metadata={"help": "Rollouts to save each time."})
    rollouts_logged: int = field(
        default=8, metadata={"help": "Rollouts to send to the trackers of --report_to each time; 0 sends none."}
    )
    show_prompt: int = field(default=0, metadata={"help": "Print the first N prompts as the model sees them."})
    gpu_memory: float | None = field(
        default=None, metadata={"help": "GiB of each GPU, for the estimate of a dry run; asked of the GPU by default."}
    )
    gpus: int | None = field(
        default=None, metadata={"help": "GPUs that the estimate is made for; by default those of this run."}
    )
    sharding: str | None = field(
        default=None,
        metadata={"help": "For the estimate: none, ddp, zero2, zero3 or fsdp2; by default as accelerate was told."},
    )
    dry_run: bool = field(default=False, metadata={"help": "Resolve and check everything, print the plan, stop."})


@dataclass
class Job:
    """A parsed command line."""

    arguments: JobArguments
    config: SRPOConfig
    model: ModelConfig
    given: dict[str, Any]


class _Parser(TrlParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def parse(arguments: Sequence[str]) -> Job:
    """Read the options of `srpo train`; without --model, --dataset and --config, those of the built-in recipe.

    Raises:
        UsageError: as `parse_options`.
    """
    recipe = None if names_model_or_data(arguments) else Path(str(files("srpo") / "recipes" / DEFAULT_RECIPE))
    defaults = DEFAULTS | ({} if torch.accelerator.is_available() else {"bf16": False})
    (job, config, model), given = parse_options(
        arguments, (JobArguments, SRPOConfig, ModelConfig), "srpo train", defaults, recipe
    )
    return Job(job, config, model, given)


def parse_options(
    arguments: Sequence[str],
    kinds: tuple[Any, ...],
    program: str,
    defaults: Mapping[str, Any] | None = None,
    recipe: Path | None = None,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read `--config FILE.yaml` and flags, flags first, into one instance of each dataclass in `kinds`.

    Args:
        arguments: the command line behind the command's name.
        kinds: dataclasses whose fields are the options.
        program: how messages call the command, such as "srpo train".
        defaults: where the command's defaults differ from those of the dataclasses.
        recipe: the YAML file that is read where no --config is given.

    Returns:
        The instances, and the options that the YAML file gave.

    Raises:
        UsageError: for an unknown option, a file that cannot be read, or a value that a dataclass refuses.
    """
    arguments = [_unalias(argument) for argument in arguments]
    path, arguments = _take_config(arguments)
    parser = _Parser(kinds, prog=program, allow_abbrev=False)
    source = _recipe(path) if path else recipe
    given = _read_yaml(source) if source else {}
    if "--help_all" in arguments:
        parser.print_help()
        raise SystemExit(0)
    unknown = parser.set_defaults_with_config(**{**(defaults or {}), **given})
    if unknown:
        raise UsageError(f"{source}: {_did_you_mean(unknown[0], parser)}")
    try:
        *parsed, rest = parser.parse_args_into_dataclasses(args=arguments, return_remaining_strings=True)
    except UsageError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    if rest:
        raise UsageError(_did_you_mean(rest[0], parser))
    _check_numbers(given, source, *parsed)
    return tuple(parsed), given


def read_recipe(path: str) -> dict[str, Any]:
    """The options of a YAML file, or of the packaged recipe of that name, under their full names.

    Raises:
        UsageError: for a file that cannot be read or that holds no options.
    """
    return _read_yaml(_recipe(path))


def _recipe(path: str) -> Path:
    """The file of that name, or the recipe of that name that comes with the package."""
    packaged = Path(str(files("srpo") / "recipes" / Path(path).name))
    return packaged if not Path(path).exists() and packaged.exists() else Path(path)


def names_model_or_data(arguments: Sequence[str]) -> bool:
    """Does a command line choose a model or a data set, so that the built-in run is not meant?"""
    names = {_unalias(argument).split("=")[0] for argument in arguments}
    return bool(names & {"--model_name_or_path", "--dataset_name"})


def _unalias(argument: str) -> str:
    name, equals, value = argument.partition("=")
    for alias, full in ALIASES.items():
        if name == f"--{alias}":
            return f"--{full}{equals}{value}"
    return argument


def _take_config(arguments: list[str]) -> tuple[str | None, list[str]]:
    for i, argument in enumerate(arguments):
        if argument == "--config":
            if i + 1 == len(arguments):
                raise UsageError("--config needs the path of a YAML file after it")
            return arguments[i + 1], arguments[:i] + arguments[i + 2 :]
        if argument.startswith("--config="):
            return argument.removeprefix("--config="), arguments[:i] + arguments[i + 1 :]
    return None, arguments


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"config {path} cannot be read ({error}); check the path") from error
    except yaml.YAMLError as error:
        raise UsageError(f"config {path} is not YAML ({' '.join(str(error).split())}); correct it there") from error
    if not isinstance(content, dict):
        raise UsageError(f"config {path} holds a {type(content).__name__} and must hold option: value lines")
    return {ALIASES.get(str(name), str(name)): value for name, value in content.items()}


def _check_numbers(given: dict[str, Any], path: Path | None, *parts: Any) -> None:
    """A YAML file may hold a list or a mapping where a number belongs, which the parser lets through."""
    kinds = {field.name: field.default for part in parts for field in dataclasses.fields(part)}
    for name, value in given.items():
        if isinstance(value, (dict, list)) and isinstance(kinds.get(name), (int, float)):
            raise UsageError(f"{path}: {name} is {value!r} and must be one value, such as {kinds[name]}")


def _did_you_mean(option: str, parser: TrlParser) -> str:
    known = [string for action in parser._actions for string in action.option_strings] + ["--model", "--dataset"]
    names = [string.removeprefix("--") for string in known if string.startswith("--")]
    close = difflib.get_close_matches(option.removeprefix("--"), names, n=1, cutoff=NEAR)
    hint = f"did you mean --{close[0]}?" if close else f"see {parser.prog} --help"
    return f"unknown option {option!r}; {hint}"
