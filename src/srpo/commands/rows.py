"""The rows of a command: training and held-out rows from DataArguments, every row and image checked."""

from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, IterableDataset

from srpo.cli import UsageError
from srpo.commands.arguments import DataArguments, Job
from srpo.data import DataError, load, load_splits, parse_columns
from srpo.data.inspection import find_bad_images
from srpo.data.loading import hold_out
from srpo.data.problems import REFUSED, BadRow, kind_counts, summary
from srpo.prompts import STYLES
from srpo.roles import ResponseFormat

DECODE_UP_TO = 2000  # rows; of a larger set only the headers of the images are read before training


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
        UsageError: for a column mapping, a place of the instruction or a number of pixels that cannot be.
    """
    if arguments.instruction not in STYLES:
        raise UsageError(f"instruction {arguments.instruction!r} must be one of {', '.join(STYLES)}")
    if arguments.max_pixels is not None and arguments.max_pixels < 1:
        raise UsageError(f"max_pixels {arguments.max_pixels} must be positive; leave it out to keep images as they are")
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
        "preset": arguments.preset,
        "columns": columns,
        "seed": seed,
    }


def load_data(job: Job, response_format: ResponseFormat) -> Rows:
    """The rows of a training run, with every image checked.

    Raises:
        UsageError: for anything wrong with the data, in the words of the loader, and for too few rows.
    """
    if job.arguments.streaming and job.config.max_steps <= 0:
        raise UsageError("streaming needs max_steps, because a stream does not say how long it is; give --max_steps N")
    loaded = load_rows(job.arguments, job.arguments.eval_rows, response_format, job.config.data_seed or 0)
    prompts = (job.config.generation_batch_size or 1) // (job.config.num_generations or 1)
    if not job.arguments.streaming and len(loaded.train) < prompts:
        raise UsageError(
            f"{len(loaded.train)} training rows are fewer than the {prompts} prompts of one generation, so no step "
            "would be made; give more rows, or lower per_device_train_batch_size or gradient_accumulation_steps"
        )
    return loaded


def load_rows(arguments: DataArguments, eval_rows: int, response_format: ResponseFormat, seed: int = 0) -> Rows:
    """Rows to train on and `eval_rows` held-out rows (None for 0), with every image checked.

    Raises:
        UsageError: for anything wrong with the data, in the words of the loader.
    """
    if eval_rows < 0:
        raise UsageError(f"eval_rows {eval_rows} must be 0 or more; 0 evaluates nothing")
    if arguments.on_bad_rows not in ("refuse", "skip"):
        raise UsageError(f"on_bad_rows {arguments.on_bad_rows!r} must be refuse or skip")
    skipped: list[BadRow] = []
    options = load_options(arguments, response_format, seed) | {"streaming": arguments.streaming}
    options["on_bad_rows"] = skipped.extend if arguments.on_bad_rows == "skip" else "refuse"
    try:
        train, held_out = _load(arguments, eval_rows, options)
        train, held_out = (_with_good_images(part, skipped, arguments) for part in (train, held_out))
    except DataError as error:
        raise UsageError(str(error)) from error
    return Rows(train, held_out, skipped)


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


def _with_good_images(part: Any, skipped: list[BadRow], arguments: DataArguments) -> Any:
    """The rows whose images can be read; the others go to `skipped`, or DataError lists them. A stream as it is."""
    if part is None or isinstance(part, IterableDataset):
        return part
    bad = [find for find in find_bad_images(part, decode=len(part) <= DECODE_UP_TO) if find.severity == REFUSED]
    if not bad:
        return part
    if arguments.on_bad_rows == "refuse":
        raise DataError(
            f"{summary(bad)}; srpo data check lists every such row of {arguments.dataset_name}, --on_bad_rows skip "
            "leaves them out"
        )
    skipped += bad
    rows = {find.row for find in bad}
    kept = part.select([i for i, row_id in enumerate(part["id"]) if row_id not in rows])
    if len(kept) == 0:
        raise DataError(f"{arguments.dataset_name} has no row that can be used: {summary(bad)}")
    return kept
