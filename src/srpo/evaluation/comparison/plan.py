"""Which runs a comparison consists of, where each lies on disk, and whether what lies there belongs to it."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from srpo.evaluation.comparison.methods import ComparisonError, Options

START = "before training"  # takes the place of a method where the untrained model is evaluated


@dataclass(frozen=True)
class Run:
    """One training run and its evaluation.

    Attributes:
        method: name of the method.
        seed: of sampling, data order, corruption and evaluation.
        folder: its folder, which holds train/ and eval/, their settings and logs.
        train: every option of `srpo train`, output_dir apart.
        evaluate: every option of `srpo eval`, or None for a run that chooses a learning rate.
    """

    method: str
    seed: int
    folder: Path
    train: Options
    evaluate: Options | None

    @property
    def name(self) -> str:
        """How messages call the run."""
        if self.method == START:
            return START
        rate = f" at learning rate {self.train['learning_rate']:g}" if self.evaluate is None else ""
        return f"{self.method} seed {self.seed}{rate}"

    @property
    def trained(self) -> bool:
        """Has the training run come to its end?"""
        return (self.folder / "train" / "summary.json").exists()

    @property
    def evaluated(self) -> bool:
        """Has the evaluation come to its end? True where none is wanted."""
        return self.evaluate is None or (self.folder / "eval" / "evaluation.json").exists()

    @property
    def finished(self) -> bool:
        """Is nothing left to do?"""
        return self.trained and self.evaluated


def report_folder(root: Path, method: str, seed: int) -> Path:
    """Where the reported run of a method and seed lies."""
    return root / "runs" / method / f"seed-{seed}"


def tuning_folder(root: Path, method: str, rate: float, seed: int) -> Path:
    """Where a run that helps to choose a learning rate lies."""
    return root / "tuning" / method / f"lr-{rate:g}" / f"seed-{seed}"


def check_settings(runs: Iterable[Run]) -> None:
    """Refuse to continue with other settings than those that a run on disk was started with.

    Raises:
        ComparisonError: naming run, option, old and new value, and the remedy.
    """
    for run in runs:
        remedy = "choose another --output_dir, or repeat the old value"
        _compare(run, run.folder / "train.yaml", run.train, remedy)
        if run.evaluate is not None:
            again = f"repeat the old value, or remove {run.folder / 'eval'} and eval.yaml beside it to evaluate again"
            _compare(run, run.folder / "eval.yaml", run.evaluate, again)


def write_settings(path: Path, settings: Options) -> None:
    """Write settings through a neighbouring file, so that an interruption leaves no half of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(yaml.safe_dump(settings, sort_keys=True, allow_unicode=True), encoding="utf-8")
    partial.replace(path)


def read_settings(path: Path) -> Options:
    """What `write_settings` wrote; nothing where it did not."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def prepare_training(run: Run) -> list[str]:
    """The command line of the training run behind `srpo`; a half-finished run goes on from its last checkpoint.

    What a run without a checkpoint left behind is removed.
    """
    write_settings(run.folder / "train.yaml", run.train)
    folder = run.folder / "train"
    command = ["train", "--config", str(run.folder / "train.yaml"), "--output_dir", str(folder)]
    if any((checkpoint / "trainer_state.json").exists() for checkpoint in folder.glob("checkpoint-*")):
        return [*command, "--resume_from_checkpoint", "true"]
    if folder.exists():
        shutil.rmtree(folder)
    return command


def prepare_evaluation(run: Run, model: str | None = None) -> list[str]:
    """The command line of the evaluation behind `srpo`; it takes up what an interrupted one left."""
    write_settings(run.folder / "eval.yaml", run.evaluate or {})
    model = model or str(run.folder / "train" / "model")
    config = str(run.folder / "eval.yaml")
    return ["eval", model, "--config", config, "--output_dir", str(run.folder / "eval")]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a run left behind.

    Raises:
        ComparisonError: for a file that cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path} cannot be read ({error}); remove its folder to repeat the run") from error


def _compare(run: Run, path: Path, wanted: Options, remedy: str) -> None:
    if not path.exists():
        return
    there = read_settings(path)
    for option in sorted({*there, *wanted}):
        old, new = there.get(option, "the default"), wanted.get(option, "the default")
        if old != new:
            raise ComparisonError(
                f"{run.name} in {run.folder} was started with {option} {old} and now has {new}; {remedy}"
            )
