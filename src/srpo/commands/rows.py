"""The rows of a command: training and held-out rows from DataArguments, every row and image checked."""

from typing import Any

from datasets import Dataset

from srpo.cli import UsageError
from srpo.commands.arguments import DataArguments, Job
from srpo.data import DataError, check_images, load, load_splits, parse_columns
from srpo.data.loading import hold_out
from srpo.prompts import STYLES
from srpo.roles import ResponseFormat

DECODE_UP_TO = 2000  # rows; of a larger set only the headers of the images are read before training


def load_options(arguments: DataArguments, response_format: ResponseFormat, seed: int = 0) -> dict[str, Any]:
    """The keyword arguments of `srpo.data.load` that a command line chooses.

    Raises:
        UsageError: for a column mapping or a place of the instruction that cannot be.
    """
    if arguments.instruction not in STYLES:
        raise UsageError(f"instruction {arguments.instruction!r} must be one of {', '.join(STYLES)}")
    try:
        columns = parse_columns(arguments.columns)
    except DataError as error:
        raise UsageError(str(error)) from error
    return {
        "response_format": response_format,
        "instruction": arguments.instruction,
        "image_root": arguments.image_root,
        "columns": columns,
        "seed": seed,
    }


def load_data(job: Job, response_format: ResponseFormat) -> tuple[Dataset, Dataset | None]:
    """Training rows and held-out rows (None when --eval_rows 0), with every image checked.

    Raises:
        UsageError: for anything wrong with the data, in the words of the loader.
    """
    arguments = job.arguments
    if arguments.eval_rows < 0:
        raise UsageError(f"eval_rows {arguments.eval_rows} must be 0 or more; 0 evaluates nothing")
    options = load_options(arguments, response_format, job.config.data_seed or 0)
    try:
        train, held_out = _load(job, options)
        for part in (train, held_out):
            if part is not None:
                check_images(part, decode=len(part) <= DECODE_UP_TO)
    except DataError as error:
        raise UsageError(str(error)) from error
    prompts = (job.config.generation_batch_size or 1) // (job.config.num_generations or 1)
    if len(train) < prompts:
        raise UsageError(
            f"{len(train)} training rows are fewer than the {prompts} prompts of one generation, so no step would be "
            "made; give more rows, or lower per_device_train_batch_size or gradient_accumulation_steps"
        )
    return train, held_out


def _load(job: Job, options: dict[str, Any]) -> tuple[Dataset, Dataset | None]:
    arguments = job.arguments
    name, rows, eval_rows = arguments.dataset_name, arguments.rows, arguments.eval_rows
    if arguments.dataset_train_split is None and arguments.dataset_test_split is None:
        if eval_rows:
            return load_splits(name, rows=rows, eval_rows=eval_rows, **options)
        return load(name, "train", rows=rows, **options), None
    train = load(name, arguments.dataset_train_split or "train", rows=rows, **options)
    if not eval_rows:
        return train, None
    if arguments.dataset_test_split is None:
        train, held_out = hold_out(train)
        return train, held_out.select(range(min(eval_rows, len(held_out))))
    return train, load(name, arguments.dataset_test_split, rows=eval_rows, **options)
