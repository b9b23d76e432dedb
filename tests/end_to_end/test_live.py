"""`srpo train --report_to`: what trackio, TensorBoard and wandb hold after a run, read back from their own files."""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import srpo.commands.trackers
from srpo.cli import main
from srpo.commands.arguments import JobArguments
from srpo.commands.trackers import PACKAGES, check_trackers
from srpo.config import SRPOConfig
from srpo.run.live import RolloutTable
from srpo.run.live_table import table_rows
from srpo.run.rollouts import SCHEMA
from srpo.tiny import model_path
from tests.scripted import ScriptedSRPO, make_trainer
from tests.tracked import trackio_rows, wandb_history

HERE = {name: any(map(find_spec, packages)) for name, packages in PACKAGES.items()}
WEIGHT = "srpo/weight/perception_mean"
OPTIONS = {
    "model": str(model_path()),
    "dataset": "shapes",
    "rows": 32,
    "eval_rows": 8,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 48,
    "gradient_accumulation_steps": 1,
    "steps_per_generation": 1,
    "max_steps": 3,
    "rollouts_every": 2,
    "rollouts_saved": 8,
    "rollouts_logged": 4,
    "seed": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder where one run reported to every tracker that is installed; the run itself is in out/."""
    folder = tmp_path_factory.mktemp("live")
    options = OPTIONS | {"report_to": [name for name, installed in HERE.items() if installed], "output_dir": "out"}
    (folder / "run.yaml").write_text(yaml.safe_dump(options))
    settings = {
        "TRACKIO_DIR": str(folder / "trackio"),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder),
        "WANDB_DATA_DIR": str(folder / "wandb-data"),
    }
    command = [sys.executable, "-m", "srpo.cli", "train", "--config", "run.yaml"]
    done = subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def needs(tracker):
    """Skips a test where the tracker is not installed."""
    return pytest.mark.skipif(not HERE[tracker], reason=f"{tracker} is not installed: pip install {tracker}")


def logged(run, name):
    """{step: value} of a metric in metrics.jsonl."""
    entries = [json.loads(line) for line in (run / "out" / "metrics.jsonl").read_text().splitlines()]
    return {entry["step"]: entry[name] for entry in entries if entry.get(name) is not None}


def saved(run, step):
    """Rollouts by their place in the batch."""
    return pq.read_table(run / "out" / "rollouts" / f"step_{step:06d}.parquet").to_pylist()


def check_row(row, record):
    """A row of the table says what the saved rollout says."""
    assert row["question"] == record["question"]
    assert row["advantage"] == pytest.approx(record["advantage"], rel=1e-3)
    assert row["reply"].replace("P⟦", "").replace("R⟦", "").replace("⟧", "") == record["completion"]
    perception = [weight for weight, role in zip(record["weights"], record["roles"], strict=True) if role == 1]
    assert row["perception_weight"] == pytest.approx(sum(perception) / len(perception), rel=1e-3)


def check_table(run, step, rows):
    """The rows are four rollouts of one prompt, those that are saved for the same step."""
    records = saved(run, step)
    learning = [i for i, record in enumerate(records) if record["gaps"] is not None]
    start = learning[0] // 4 * 4 if learning else 0
    assert len(rows) == 4
    for row, record in zip(rows, records[start : start + 4], strict=True):
        check_row(row, record)


@needs("tensorboard")
def test_tensorboard_holds_scalars_rollouts_and_images_in_the_run_directory(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert not (run / "runs").exists()
    events = EventAccumulator(str(run / "out" / "tensorboard"), size_guidance={"tensors": 0, "images": 0})
    events.Reload()
    scalars = {event.step: event.value for event in events.Scalars(f"train/{WEIGHT}")}
    assert scalars == pytest.approx(logged(run, WEIGHT))
    assert [event.step for event in events.Scalars("eval/rewards/accuracy_reward/mean")] == [0, 3]
    tables = events.Tensors("rollouts/text_summary")
    assert [event.step for event in tables] == [0, 2]
    for event in tables:
        head, _, *lines = event.tensor_proto.string_val[0].decode().splitlines()
        assert head == "| row | texts | figures |"
        assert [line.split(" ")[1] for line in lines] == ["1", "2", "3", "4"]
        for line in lines:
            assert "**reply** &#60;perception&#62;P⟦" in line
            assert f"**step** {event.step}<br>" in line
            assert "**perception&#95;weight** " in line
        assert "**image** image 1<br>**corrupted** corrupted 1<br>" in lines[0]
    tags = {"rollouts/image 1", "rollouts/corrupted 1"}
    assert {tag for tag in events.Tags()["images"] if tag.startswith("rollouts")} == tags


@needs("trackio")
def test_trackio_holds_one_run_with_scalars_rollouts_and_images(run):
    rows = trackio_rows(run / "trackio")
    assert len({name for name, _, _ in rows}) == 1
    weights = {m["train/global_step"]: m[f"train/{WEIGHT}"] for _, _, m in rows if m.get(f"train/{WEIGHT}") is not None}
    assert weights == pytest.approx(logged(run, WEIGHT))
    evaluations = [m["train/global_step"] for _, _, m in rows if "eval/rewards/accuracy_reward/mean" in m]
    assert evaluations == [0, 3]
    tables = {step: metrics["rollouts"] for _, step, metrics in rows if "rollouts" in metrics}
    assert list(tables) == [0, 2]
    for step, table in tables.items():
        assert table["_type"] == "trackio.table"
        check_table(run, step, table["_value"])
        for column in ("image", "corrupted"):
            picture = run / "trackio" / "media" / table["_value"][0][column]["file_path"]
            assert max(Image.open(picture).size) <= 256


@needs("wandb")
def test_wandb_holds_scalars_rollouts_and_images(run):
    (folder,) = (run / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    history = wandb_history(file)
    weights = {row["train/global_step"]: row[f"train/{WEIGHT}"] for row in history if f"train/{WEIGHT}" in row}
    assert {
        step: weight for step, weight in weights.items() if not math.isnan(float(weight or "nan"))
    } == pytest.approx(logged(run, WEIGHT))
    assert [r["train/global_step"] for r in history if "eval/rewards/accuracy_reward/mean" in r] == [0, 3]
    tables = {row["train/global_step"]: row for row in history if "rollouts.path" in row}
    assert list(tables) == [0, 2]
    for step, row in tables.items():
        table = json.loads((folder / "files" / row["rollouts.path"]).read_text())
        check_table(run, step, [dict(zip(table["columns"], cells, strict=True)) for cells in table["data"]])
    staged = [path.read_bytes() for path in (run / "wandb-data" / "artifacts" / "staging").iterdir()]
    assert sum(content.startswith(b"\x89PNG") for content in staged) >= 2


class Table:
    """A tracker that keeps what it gets."""

    def __init__(self):
        self.sent = []

    def __call__(self, step, rows):
        self.sent.append((step, rows))


def test_a_table_begins_with_the_first_prompt_that_teaches(qwen_folder, tmp_path):
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, max_steps=3)
    kept, credits = Table(), []
    table = RolloutTable([kept], trainer.processing_class.tokenizer, every=2, count=3, group=4, saved=8)
    trainer.observers += [table, credits.append]
    trainer.train()
    assert [step for step, _ in kept.sent] == [0, 2]
    for (_, rows), credit in zip(kept.sent, credits[::2], strict=True):
        start = credit.learns.nonzero()[0].item() // 4 * 4
        assert [row["advantage"] for row in rows] == credit.advantages[start : start + 3].tolist()


def test_a_table_holds_only_rollouts_that_are_saved(qwen_folder, tmp_path):
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, max_steps=1)
    kept = Table()
    table = RolloutTable([kept], trainer.processing_class.tokenizer, every=1, count=8, group=4, saved=2)
    trainer.observers.append(table)
    trainer.train()
    assert len(kept.sent[0][1]) == 2


def refused(capsys, *arguments):
    """The sentence on standard error of a call that is refused before anything is loaded."""
    assert main(["train", "--dry_run", *arguments]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_missing_package_is_named_with_its_remedy(capsys, monkeypatch, name):
    monkeypatch.setattr(srpo.commands.trackers, "find_spec", lambda package: None)
    said = refused(capsys, "--report_to", name)
    assert said == f"srpo: error: report_to {name!r} needs the package {name}; install it with: pip install {name}\n"


def test_a_folder_that_a_tracker_wrote_is_not_its_package(monkeypatch):
    monkeypatch.setattr(srpo.commands.trackers, "find_spec", lambda package: SimpleNamespace(origin=None))
    with pytest.raises(ValueError, match="pip install wandb"):
        check_trackers(["wandb"], False)


def test_an_unknown_tracker_is_refused(capsys):
    assert "did you mean tensorboard?" in refused(capsys, "--report_to", "tensorbord")


@needs("wandb")
def test_completions_that_wandb_would_refuse_are_refused_before_the_run(capsys):
    assert "rollouts table" in refused(capsys, "--report_to", "wandb", "--log_completions")


def test_the_short_help_names_the_options(capsys):
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--report_to" in shown
    assert "--rollouts_logged" in shown


def test_the_page_names_options_that_exist_and_every_column():
    page = (Path(__file__).parents[2] / "docs" / "live.md").read_text(encoding="utf-8")
    fields = {field.name for kind in (JobArguments, SRPOConfig) for field in dataclasses.fields(kind)}
    assert set(re.findall(r"(?<![\w-])--([a-z]\w+)", page)) - fields == {"logdir"}  # TensorBoard's
    record = dict.fromkeys(SCHEMA.names, "") | {"image": None, "corrupted": None}
    (row,) = table_rows([record | {"tokens": [], "roles": [], "gaps": [], "weights": [], "rewards": [("NAME", 1.0)]}])
    assert [column for column in row if f"`{column}`" not in page] == []


def test_the_bench_times_every_tracker_that_is_installed(tmp_path):
    sizes = ["--rollouts", "2", "--tokens", "8", "--side", "16", "--rounds", "2", "--output", str(tmp_path)]
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-m", "bench.live", *sizes], cwd=root, check=True, capture_output=True, timeout=120)
    (file,) = tmp_path.glob("live-*.json")
    results = json.loads(file.read_text())["results"]
    assert set(results) >= {"none", *(name for name in HERE if find_spec(name))}
    assert all(0 < times["median_ms"] <= times["largest_ms"] for times in results.values())
