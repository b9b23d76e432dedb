"""`srpo data check`: read a data set once, say what is in it, and name every row that training would refuse."""

import dataclasses
import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from trl import ModelConfig

from srpo.cli import UsageError
from srpo.commands.arguments import DEFAULTS, DataArguments, JobArguments, parse_options
from srpo.commands.data_report import show_report
from srpo.commands.help import described, own_options, section
from srpo.commands.model import model_view, resolve_model, settle_opened_block
from srpo.commands.output import quiet
from srpo.commands.rows import load_options
from srpo.config import SRPOConfig
from srpo.data import DataError
from srpo.data.check import check
from srpo.data.lengths import ModelView
from srpo.data.loading import WORLD, Loaded, open_rows, splits_of
from srpo.data.mixture import is_mixture
from srpo.data.presets import PRESETS, find_preset
from srpo.data.sources import canonical_split, left_out
from srpo.roles import ResponseFormat
from srpo.run.terminal import Terminal

USAGE = "usage: srpo data check DATASET [--model NAME] [--json FILE] [--config FILE.yaml] [--OPTION VALUE ...]"
EXAMPLE = "srpo data check rows.jsonl --model Qwen/Qwen2.5-VL-3B-Instruct --json report.json"
FROM_MODEL = {"model_name_or_path": "Also --model: count tokens as this model does, and find rows that it cannot read."}
FROM_CONFIG = {"max_completion_length": "Tokens that a reply may have; with the prompt they must fit the model."}


@dataclass
class CheckArguments(JobArguments):
    """The options of `srpo train`, so that its YAML files can be given, and those of the check."""

    json: str | None = field(
        default=None, metadata={"help": "Write the whole report, every bad row named, to this file."}
    )
    decode: bool = field(
        default=True, metadata={"help": "Decode every image; false reads headers only and misses broken pixels."}
    )
    shown: int = field(default=3, metadata={"help": "Rows to print of each kind of find."})


def main(arguments: Sequence[str]) -> int:
    """Run `srpo data`; returns the exit status: 0 no row is refused, 1 some are."""
    quiet()
    console = Terminal()
    if not arguments or {"-h", "--help"} & set(arguments):
        show_help(console)
        return 0 if arguments else 2
    if arguments[0] != "check":
        raise UsageError(f"unknown command 'data {arguments[0]}'; the one there is, is srpo data check DATASET")
    chosen, config, model = _parse(arguments[1:])
    response_format = ResponseFormat.parse(config.response_format)
    if chosen.json is not None:
        _check_writable(Path(chosen.json))
    view = _view(model, config, response_format)
    splits, train = _open(chosen, load_options(chosen, response_format, config.data_seed or 0))
    try:
        with _progress({split: len(loaded.dataset) for split, loaded in splits.items()}) as progress:
            report = check(
                chosen.dataset_name, splits, train=train, model=view, decode=chosen.decode, progress=progress
            )
    except TemplateError as error:
        raise UsageError(
            f"the chat template of {model.model_name_or_path} refuses the prompt ({error}); try --instruction user"
        ) from error
    report.remarks += _left_out(chosen.dataset_name, chosen.preset)
    show_report(console, report, shown=chosen.shown)
    if chosen.json is not None:
        _write(Path(chosen.json), report.to_json())
        console.print(f"The whole report is in {chosen.json}", markup=False, soft_wrap=True)
    return 0 if report.clean else 1


def _parse(arguments: Sequence[str]) -> tuple[CheckArguments, SRPOConfig, ModelConfig]:
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--dataset_name", *arguments]
    defaults = DEFAULTS | {"dataset_name": "", "bf16": False, "use_cpu": True}
    kinds = (CheckArguments, SRPOConfig, ModelConfig)
    (chosen, config, model), _ = parse_options(arguments, kinds, "srpo data check", defaults)
    if not chosen.dataset_name:
        raise UsageError("no data set is named; write srpo data check DATASET")
    if chosen.shown < 0:
        raise UsageError(f"shown {chosen.shown} must be 0 or more")
    return chosen, config, model


def _view(model: ModelConfig, config: SRPOConfig, response_format: ResponseFormat) -> ModelView | None:
    """The model's side of the check; None where no model is given."""
    if model.model_name_or_path is None:
        return None
    _, model_config, processor = resolve_model(model, trust_remote_code=config.trust_remote_code)
    settle_opened_block(processor, response_format)
    return model_view(model.model_name_or_path, model_config, processor, config)


def _open(arguments: DataArguments, options: dict[str, Any]) -> tuple[dict[str, Loaded], str | None]:
    """The rows that training and evaluation would read, by split, and which split is to be kept out of the others."""
    name = arguments.dataset_name
    try:
        train, held_out = _splits(name, arguments.preset)
        train = arguments.dataset_train_split or train
        held_out = arguments.dataset_test_split or held_out
        splits = {} if train is None else {train: open_rows(name, train, rows=arguments.rows, **options)}
        if held_out not in (None, train):
            splits[held_out] = open_rows(name, held_out, **options)
    except DataError as error:
        raise UsageError(str(error)) from error
    return splits, train if len(splits) > 1 else None


def _splits(name: str, preset: str | None) -> tuple[str | None, str | None]:
    """The splits of a data set for training and for evaluation, None where it has none; one of them is there."""
    splits = splits_of(name, preset)
    kinds = {canonical_split(split): split for split in reversed(splits)}
    held_out = kinds.get("validation") or kinds.get("test")
    return kinds.get("train") or (None if held_out else splits[0]), held_out


def _left_out(name: str, preset: str | None) -> list[str]:
    """Sentences about the files of a folder that are not read."""
    if name.split("/")[0] == WORLD or is_mixture(name):
        return []
    return left_out(name, find_preset(preset) if preset else PRESETS.get(name))


@contextmanager
def _progress(rows: dict[str, int]) -> Any:
    """Yield a function (split, rows) that moves a bar on stderr; one that does nothing where there is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        tasks = {split: bar.add_task(f"reading {split}", total=total) for split, total in rows.items()}

        def advance(split: str, count: int) -> None:
            bar.advance(tasks[split], count)

        yield advance


def _check_writable(path: Path) -> None:
    """UsageError where the report cannot be written, before anything is read; leaves no file behind."""
    is_new = not path.exists()
    try:
        path.open("a").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise _not_writable(path, error) from error


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"json {path} cannot be written ({error.strerror}); name another file")


def show_help(console: Console) -> None:
    """Print the help of `srpo data` and `srpo data check`."""
    console.print(USAGE, markup=False, soft_wrap=True)
    console.print(
        "\nReads every row and every image of a data set once and reports rows, images, sizes, lengths and answers, and"
        "\neach row that training would refuse or change, with the reason and the remedy. DATASET is what --dataset of"
        "\nsrpo train takes: a file, a folder, a hub id, or shapes. Training and evaluation rows are checked together."
        "\nThe kinds of bad rows are listed in docs/data.md.\n",
        soft_wrap=True,
    )
    own = {field.name for field in dataclasses.fields(JobArguments)}
    data = {field.name for field in dataclasses.fields(DataArguments)} - {"dataset_name", "on_bad_rows", "streaming"}
    options = own_options(CheckArguments)
    section(console, "Check", [option for option in options if option[0] not in own])
    section(console, "Data, as for srpo train", [option for option in options if option[0] in data])
    section(console, "Model", [*described(ModelConfig, FROM_MODEL), *described(SRPOConfig, FROM_CONFIG)])
    console.print(
        "Every other option of srpo train is taken too, so that its YAML files can be given with --config.",
        soft_wrap=True,
    )
    console.print(
        "Exit status: 0 when no row is refused, 1 when some are, 2 for a mistake in the call.", soft_wrap=True
    )
    console.print(f"\n  {EXAMPLE}", markup=False, soft_wrap=True)
