"""Trackers that `--report_to` names: checked before a run, open from its first evaluation to its last."""

import difflib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from srpo.cli import UsageError
from srpo.run.live import trackers_of

PACKAGES = {"trackio": ("trackio",), "tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}


class LastingTrackio(TrackioCallback):
    """Trackio's run stays open behind training: TRL logs to it in evaluations, too, and fails where there is none."""

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Nothing; `close` ends the run."""

    def close(self, *args: Any, **kwargs: Any) -> None:
        """End the run as `TrackioCallback` does at the end of training."""
        super().on_train_end(*args, **kwargs)


def check_trackers(report_to: Sequence[str], log_completions: bool) -> None:
    """Refuse trackers that are unknown or not installed, and what TRL would stop on after the first evaluation.

    Raises:
        UsageError: with the remedy.
    """
    for name in report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            close = difflib.get_close_matches(name, INTEGRATION_TO_CALLBACK, n=1)
            hint = f"did you mean {close[0]}?" if close else "take trackio, tensorboard or wandb"
            raise UsageError(f"report_to {name!r} is not a tracker that transformers knows; {hint}")
        if name in PACKAGES and not any(map(_installed, PACKAGES[name])):
            raise UsageError(f"report_to {name!r} needs the package {name}; install it with: pip install {name}")
    if log_completions and "wandb" in report_to:
        raise UsageError(
            "log_completions with report_to 'wandb' stops TRL 1.16 at the first prompt with an image, which wandb's "
            "tables refuse; leave log_completions out (the rollouts table holds replies), or report to trackio"
        )


def _installed(package: str) -> bool:
    """A folder of this name, such as the one that wandb writes, is not the package."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def open_trackers(trainer: Any, run: Path) -> None:
    """Open trackio and wandb now, since TRL logs to them before training; let TensorBoard write to RUN/tensorboard.

    Raises:
        ValueError: where wandb refuses, such as without a login.
    """
    if trainer.pop_callback(TrackioCallback) is not None:
        trainer.add_callback(LastingTrackio())
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(run / "tensorboard")
        elif isinstance(callback, LastingTrackio):
            callback.setup(trainer.args, trainer.state, trainer.model)
        elif isinstance(callback, WandbCallback):
            try:
                callback.setup(trainer.args, trainer.state, trainer.model)
            except callback._wandb.Error as error:
                raise ValueError(f"wandb: {str(error).rstrip('.')}; WANDB_MODE=offline needs no login") from error


def close_trackers(trainer: Any) -> None:
    """End trackio's run; the others end by themselves."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, LastingTrackio):
            callback.close(trainer.args, trainer.state, trainer.control, model=trainer.model)


def tables_of(trainer: Any) -> Sequence[Any]:
    """The functions that log a rollouts table to the trackers of this trainer."""
    boards = [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, TensorBoardCallback)]
    return trackers_of(trainer.args.report_to, lambda: boards[0].tb_writer)
