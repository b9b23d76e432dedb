"""The rows of a command: training and held-out rows from DataArguments, every row and image checked."""

from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset

from srpo.cli import UsageError
from srpo.commands.arguments import DataArguments, Job
from srpo.data import DataError, load, load_splits, parse_columns
from srpo.data.check import check
from srpo.data.inspection import find_bad_images
from srpo.data.lengths import ModelView
from srpo.data.loading import WORLD, Loaded, hold_out
from srpo.data.loading import load_questions as find_questions
from srpo.data.problems import REFUSED, BadRow, kind_counts, summary
from srpo.prompts import STYLES
from srpo.roles import ResponseFormat

CHECK_UP_TO = 2000  # rows; of a larger set only the headers of the images are read before training


@dataclass
class Rows:
    """What a command trains on (a stream with --streaming), what it evaluates on, and the rows that were left out."""

    train: Any
    held_out: Dataset | None
    skipped: list[BadRow] = field(default_factory=list)

    def counted(self) -> str:
        """How many rows were left out, by kind; "" for none."""
        if not self.skipped:
            return ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in kind_counts(self.skipped).items())
        return f"{len({find.row for find in self.skipped})} bad rows left out ({kinds})"


def load_options(arguments: DataArguments, response_format: ResponseFormat, seed: int = 0) -> dict[str, Any]:
    """The keyword arguments of `srpo.data.load` that a command line chooses, but for what becomes of bad rows.

    Raises:
        UsageError: for a column mapping, a place of the instruction, a number of pixels or an answer base that is none.
    """
    if arguments.instruction not in STYLES:
        raise UsageError(f"instruction {arguments.instruction!r} must be one of {', '.join(STYLES)}")
    if arguments.max_pixels is not None and arguments.max_pixels < 1:
        raise UsageError(f"max_pixels {arguments.max_pixels} must be positive; leave it out to keep images as they are")
    if arguments.answer_base not in (None, 0, 1):
        raise UsageError(f"answer_base {arguments.answer_base} must be 0 or 1; leave it out to go by the answers")
    try:
        columns = parse_columns(arguments.columns)
    except DataError as error:
        raise UsageError(str(error)) from error
    return {
        "response_format": response_format,
        "instruction": arguments.instruction,
        "task": arguments.task,
        "hint": "" if arguments.hint == "none" else arguments.hint,
        "image_root": arguments.image_root,
        "max_pixels": arguments.max_pixels,
        "answer_base": arguments.answer_base,
        "preset": arguments.preset,
        "columns": columns,
        "seed": seed,
    }


def load_data(job: Job, response_format: ResponseFormat, view: ModelView | None = None) -> Rows:
    """The rows of a training run, checked as `load_rows` does.

    Raises:
        UsageError: for anything wrong with the data, in the words of the loader, and for too few rows.
    """
    if job.arguments.streaming and job.config.max_steps <= 0:
        raise UsageError("streaming needs max_steps, because a stream does not say how long it is; give --max_steps N")
    loaded = load_rows(job.arguments, job.arguments.eval_rows, response_format, job.config.data_seed or 0, view)
    prompts = (job.config.generation_batch_size or 1) // (job.config.num_generations or 1)
    if not job.arguments.streaming and len(loaded.train) < prompts:
        raise UsageError(
            f"{len(loaded.train)} training rows are fewer than the {prompts} prompts of one generation, so no step "
            "would be made; give more rows, or lower per_device_train_batch_size or gradient_accumulation_steps"
        )
    return loaded


def load_rows(
    arguments: DataArguments,
    eval_rows: int,
    response_format: ResponseFormat,
    seed: int = 0,
    view: ModelView | None = None,
) -> Rows:
    """Rows to train on and `eval_rows` held-out rows (None for 0).

    Up to CHECK_UP_TO rows are checked as `srpo data check` does it, with what the model cannot read where `view` is
    given. Of a larger set the headers of the images are read; of a stream nothing, until its rows are met.

    Raises:
        UsageError: for anything wrong with the data, in the words of the loader.
    """
    if eval_rows < 0:
        raise UsageError(f"eval_rows {eval_rows} must be 0 or more; 0 evaluates nothing")
    rows = Rows(None, None)
    options = _options(arguments, rows, response_format, seed) | {"streaming": arguments.streaming}
    try:
        rows.train, rows.held_out = _load(arguments, eval_rows, options)
        _leave_bad_rows_out(rows, arguments, view)
    except DataError as error:
        raise UsageError(str(error)) from error
    return rows


def load_questions(
    arguments: DataArguments,
    split: str | None,
    response_format: ResponseFormat,
    seed: int = 0,
    view: ModelView | None = None,
) -> tuple[Dataset, str, Rows]:
    """The rows to evaluate on, the name of their split, and in `Rows.skipped` those left out; checked as `load_rows`.

    Without a split the one that `srpo.data.loading.load_questions` finds.

    Raises:
        UsageError: for anything wrong with the data, in the words of the loader.
    """
    rows = Rows(None, None)
    options = _options(arguments, rows, response_format, seed)
    name = arguments.dataset_name
    try:
        if split is None:
            rows.held_out, split = find_questions(name, rows=arguments.rows, **options)
        else:
            rows.held_out = load(name, split, rows=arguments.rows, **options)
        _leave_bad_rows_out(rows, arguments, view)
    except DataError as error:
        raise UsageError(str(error)) from error
    return rows.held_out, split, rows


def _options(arguments: DataArguments, rows: Rows, response_format: ResponseFormat, seed: int) -> dict[str, Any]:
    """The keyword arguments of `srpo.data.load`; rows that are left out go to `rows.skipped`."""
    if arguments.on_bad_rows not in ("refuse", "skip"):
        raise UsageError(f"on_bad_rows {arguments.on_bad_rows!r} must be refuse or skip")
    found = rows.skipped.extend if arguments.on_bad_rows == "skip" else "refuse"
    return load_options(arguments, response_format, seed) | {"on_bad_rows": found}


def _load(arguments: DataArguments, eval_rows: int, options: dict[str, Any]) -> tuple[Any, Dataset | None]:
    name, rows = arguments.dataset_name, arguments.rows
    if arguments.dataset_train_split is None and arguments.dataset_test_split is None:
        if eval_rows:
            return load_splits(name, rows=rows, eval_rows=eval_rows, **options)
        return load(name, "train", rows=rows, **options), None
    train = load(name, arguments.dataset_train_split or "train", rows=rows, **options)
    if not eval_rows or (arguments.dataset_test_split is None and arguments.streaming):
        return train, None
    if arguments.dataset_test_split is None:
        train, held_out = hold_out(train)
        return train, held_out.select(range(min(eval_rows, len(held_out))))
    return train, load(name, arguments.dataset_test_split, rows=eval_rows, **options | {"streaming": False})


def _leave_bad_rows_out(rows: Rows, arguments: DataArguments, view: ModelView | None) -> None:
    """Check rows that are there already; those that cannot be used go to `skipped`, or DataError lists them."""
    parts = {"train": rows.train, "held_out": rows.held_out}
    present = {split: part for split, part in parts.items() if isinstance(part, Dataset)}
    if arguments.dataset_name.split("/")[0] == WORLD:
        return
    bad = _refused(arguments, present, view)
    finds = [find for of_split in bad.values() for find in of_split]
    if finds and arguments.on_bad_rows == "refuse":
        raise DataError(
            f"{summary(finds)}; srpo data check lists every such row of {arguments.dataset_name}, --on_bad_rows skip "
            "leaves them out"
        )
    rows.skipped += finds
    for split, of_split in bad.items():
        left_out = {find.row for find in of_split}
        kept = [i for i, row_id in enumerate(present[split]["id"]) if row_id not in left_out] if left_out else None
        if kept == []:
            raise DataError(f"{arguments.dataset_name} has no row that can be used: {summary(of_split)}")
        if kept is not None:
            setattr(rows, split, present[split].select(kept))


def _refused(arguments: DataArguments, parts: dict[str, Dataset], view: ModelView | None) -> dict[str, list[BadRow]]:
    """What is wrong with the rows of each split, noted finds left out."""
    if sum(map(len, parts.values())) <= CHECK_UP_TO:
        splits = {split: Loaded(part) for split, part in parts.items()}
        train = "train" if len(parts) > 1 else None
        report = check(arguments.dataset_name, splits, train=train, model=view)
        found = {split.split: split.bad for split in report.splits}
    else:
        found = {split: find_bad_images(part, decode=len(part) <= CHECK_UP_TO) for split, part in parts.items()}
    return {split: [find for find in bad if find.severity == REFUSED] for split, bad in found.items()}
