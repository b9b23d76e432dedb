"""`srpo compare` for real, on a tiny budget: the tiny model, two methods, two seeds, four steps."""

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from srpo.cli import main

SMALL = [
    *("--per_device_train_batch_size", "8", "--num_generations", "4", "--max_completion_length", "48"),
    *("--per_device_eval_batch_size", "8", "--eval_rows", "8", "--eval_samples", "2", "--eval_batch_size", "32"),
    *("--max_steps", "4", "--steps_per_generation", "2", "--rollouts_every", "1", "--rows", "32"),
]


def prompts(run):
    files = sorted((run / "train" / "rollouts").glob("*.parquet"))
    return [row["row_id"] for path in files for row in pq.read_table(path).to_pylist()]


@pytest.mark.slow
def test_two_methods_on_two_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert (
        main(["compare", *SMALL, "--methods", "grpo,srpo", "--seeds", "0,1", "--jobs", "2", "--output_dir", "out"]) == 0
    )
    runs = {(m, s): tmp_path / "out" / "runs" / m / f"seed-{s}" for m in ("grpo", "srpo") for s in (0, 1)}
    for seed in (0, 1):  # the same prompts in the same order, whatever the method
        assert prompts(runs["grpo", seed]) == prompts(runs["srpo", seed])
    assert prompts(runs["grpo", 0]) != prompts(runs["grpo", 1])
    assert yaml.safe_load((runs["grpo", 0] / "train" / "config.yaml").read_text())["credit"] == "uniform"
    found = {
        (row["metric"], row["method"]): row for row in csv.DictReader(Path("out/results.csv").read_text().splitlines())
    }
    for metric in ("accuracy", "grounded_accuracy", "lucky_rate", "tokens", "train_seconds", "policy_kl"):
        assert found[metric, "srpo"]["seeds"] == "2"
        assert found[metric, "srpo"]["difference"]
    assert Image.open("out/figure.png").width == 1800
    capsys.readouterr()
    assert main(["compare", *SMALL, "--methods", "grpo,srpo", "--seeds", "0,1", "--output_dir", "out"]) == 0
    assert "5 of 5 runs are finished already" in capsys.readouterr().out
