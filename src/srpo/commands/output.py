"""Where a training command writes, and what it keeps off the screen."""

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from srpo.cli import UsageError
from srpo.run.directory import new_run_directory

T = TypeVar("T")
RUNS = Path("runs")
# What a user's data, model or options may cause once they meet the trainer; anything else is a fault of the program.
REFUSALS = (ValueError, OSError, ImportError, FloatingPointError, SafetensorError)


def run_directory(given: str | None, name: str, *, resuming: bool | None = False) -> Path:
    """The output folder: the one given, which must be new unless resumed, or runs/NAME under a new name.

    The main process chooses; another might look when the folder is there already.

    Args:
        given: the user's --output_dir, None or TRL's default for none.
        name: of a new folder.
        resuming: does this run continue an earlier one? None for a command that cannot.

    Raises:
        UsageError: for a folder that cannot be written or that holds a run.
    """
    return on_main_process(lambda: _choose_directory(given, name, resuming))


def on_main_process(choose: Callable[[], T]) -> T:
    """What the main process chooses, in every process; its UsageError is raised in every process, too."""
    chosen: list[Any] = [None]
    if PartialState().is_main_process:
        try:
            chosen = [choose()]
        except UsageError as error:
            chosen = [error]
    (found,) = broadcast_object_list(chosen)
    if isinstance(found, UsageError):
        raise found
    return found


def refuse_many_processes(command: str) -> None:
    """Raise a UsageError where a launcher started several processes of a command that runs in one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(f"{command} runs in one process; start it without accelerate launch or torchrun")


def _choose_directory(given: str | None, name: str, resuming: bool | None) -> Path:
    if given in (None, "", "trainer_output"):
        return new_run_directory(RUNS, name)
    run = Path(str(given))
    existing = next(path for path in (run, *run.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError(f"output_dir {given} cannot be written, because of {existing}; choose another folder")
    if (run / "config.yaml").exists() and not resuming:
        go_on = "" if resuming is None else ", or continue it with --resume_from_checkpoint true"
        raise UsageError(f"output_dir {given} already holds a run; choose another folder{go_on}")
    return run


def quiet() -> None:
    """Leave the screen to the plan and the progress; warnings of this package still show."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for category in (UserWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category, module="torch|transformers|trl|accelerate|peft|datasets")
