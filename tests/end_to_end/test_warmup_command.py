"""`srpo warmup` as a user runs it: what it teaches, what it leaves behind, and every mistake in one sentence."""

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import srpo.commands.warmup as command
from srpo.cli import main
from srpo.data import load
from srpo.grading import grade
from srpo.roles import ResponseFormat
from srpo.tiny import model_path

TAGS = ResponseFormat("perception", "reason", "answer")  # one tag differs from what the tiny model writes
SMALL = [
    *("--dataset", "shapes/pips", "--instruction", "none", "--rows", "16", "--eval_rows", "8", "--seed", "1"),
    *("--max_completion_length", "48", "--sample_batch_size", "8", "--max_steps", "2"),
    *("--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1"),
]
SAMPLES = ["--source", "samples", "--sampling_prompt", "plain"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return main(["warmup", *map(str, arguments)])


def refused(capsys, *arguments):
    """The one sentence on standard error of a call that must be refused."""
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    said = [line for line in lines if line.startswith("srpo: error: ")]
    assert len(said) == 1
    assert lines[-1] == said[0]
    assert "Traceback" not in "".join(lines)
    return said[0]


def summary(folder="out"):
    return json.loads(Path(folder, "summary.json").read_text())


def demonstrations(folder="out"):
    return [json.loads(line) for line in Path(folder, "demonstrations.jsonl").read_text().splitlines()]


def test_a_model_learns_a_format_that_it_does_not_follow():
    options = ["--response_format", TAGS, "--rows", 256, "--max_steps", 48, "--learning_rate", 1e-3]
    assert run(*SMALL, *options, "--eval_rows", 48, "--source", "truth", "--output_dir", "out") == 0
    figures = summary()
    assert figures["before"]["structured"] == figures["before"]["finished"] - 1 == 0
    assert figures["after"]["structured"] > 0.5
    assert figures["demonstrations"]["from_truth"] == 256


def test_a_run_leaves_everything_behind(capsys):
    assert run(*SMALL, "--response_format", TAGS, "--output_dir", "out") == 0
    shown = capsys.readouterr().out
    for word in (
        "16 written from the truth",
        "before",
        "after",
        "structured",
        "accuracy",
        "srpo train --model out/model",
    ):
        assert word in shown
    assert "--response_format perception,reason,answer" in shown
    environment = json.loads(Path("out/environment.json").read_text())
    assert environment["command"][:2] == ["srpo", "warmup"]
    assert environment["seed"] == 1
    assert yaml.safe_load(Path("out/config.yaml").read_text())["response_format"] == str(TAGS)
    logged = [json.loads(line) for line in Path("out/metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in logged if "loss" in entry] == [1, 2]
    figures = summary()
    assert set(figures["before"]) == set(figures["after"]) == {"structured", "accuracy", "finished"}
    assert (figures["steps"], figures["demonstrations"]["rows_without"]) == (2, 0)
    assert len(demonstrations()) == 16
    AutoModelForImageTextToText.from_pretrained("out/model")
    AutoProcessor.from_pretrained("out/model")


def test_samples_are_formatted_right_few_and_different():
    options = ["--samples_per_prompt", 3, "--keep_per_prompt", 2, "--eval_rows", 0]
    assert run(*SMALL, *SAMPLES, *options, "--output_dir", "out") == 0
    answers = {row["id"]: row["answer"] for row in load("shapes/pips", rows=16).remove_columns("images")}
    shown, figures = demonstrations(), summary()
    kept = [row["id"] for row in shown]
    assert 8 <= len(shown) == figures["demonstrations"]["from_samples"] == figures["demonstrations"]["total"]
    assert figures["demonstrations"]["rows_without"] == 16 - len(set(kept))
    assert max(kept.count(name) for name in kept) <= 2
    assert len({(row["id"], row["reply"]) for row in shown}) == len(shown)
    for row in shown:
        assert ResponseFormat().spans(row["reply"])
        assert grade(ResponseFormat().answer(row["reply"]), answers[row["id"]]).correct
    fates = figures["demonstrations"]["sampled_fates"]
    assert sum(fates.values()) == figures["demonstrations"]["sampled_replies"] <= 48
    assert fates["kept"] == len(shown)
    assert figures["before"] == figures["after"] == {}


def own_rows():
    """A file with true perception in some rows, with no image, one, or two."""
    Image.new("RGB", (96, 96), "red").save("red.png")
    Image.new("RGB", (80, 60), "blue").save("blue.png")
    rows = [
        {"image": "red.png", "question": "How many tiles?", "answer": "1", "perception": "red 1", "reasoning": "1 = 1"},
        {"images": ["red.png", "blue.png"], "question": "<image> and <image>: how many?", "answer": "2"},
        {"question": "What is 1 + 2?", "answer": "3", "perception": "no image", "reasoning": "1 + 2 = 3"},
        {"image": "blue.png", "question": "Which?", "answer": "B", "options": ["one", "two"], "perception": "blue"},
    ]
    rows = [{"images": [row.pop("image")] if "image" in row else [], **row} for row in rows]
    Path("rows.jsonl").write_text("".join(json.dumps({"id": f"q{i}", **row}) + "\n" for i, row in enumerate(rows)))


def test_rows_of_ones_own_with_truth_where_it_is_known():
    own_rows()
    options = ["--dataset", "rows.jsonl", "--eval_rows", 0, "--samples_per_prompt", 1, "--output_dir", "out"]
    assert run(*SMALL, *options) == 0
    shown = [row for row in demonstrations() if row["source"] == "truth"]
    assert [row["id"] for row in shown] == ["q0", "q2"]
    assert shown[1]["reply"] == ("<perception> no image </perception><think> 1 + 2 = 3 </think><answer> 3 </answer>")
    assert summary()["demonstrations"]["sampled_replies"] == 2


def test_a_lora_run_leaves_a_whole_model_that_train_takes():
    assert run(*SMALL, "--use_peft", "--lora_r", 4, "--output_dir", "out") == 0
    assert Path("out/adapter/adapter_model.safetensors").exists()
    assert yaml.safe_load(Path("out/config.yaml").read_text())["learning_rate"] == 1e-4
    options = ["--model", "out/model", "--dataset", "shapes/pips", "--rows", 8, "--eval_rows", 0, "--bf16", "false"]
    sizes = ["--per_device_train_batch_size", 8, "--num_generations", 4, "--gradient_accumulation_steps", 1]
    more = ["--max_steps", 1, "--max_completion_length", 16, "--output_dir", "trained"]
    assert main(["train", *map(str, [*options, *sizes, *more])]) == 0


def test_the_written_config_repeats_the_run():
    assert run(*SMALL, *SAMPLES, "--eval_rows", 4, "--logging_steps", 1, "--output_dir", "one") == 0
    assert run("--config", "one/config.yaml", "--output_dir", "two") == 0
    assert demonstrations("one") == demonstrations("two")
    first, second = summary("one"), summary("two")
    assert first.pop("seconds") > 0
    assert second.pop("seconds") > 0
    assert first == second
    losses = [
        [json.loads(line).get("loss") for line in Path(name, "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("truth", ["First demonstration", "<reason>", "</answer><|im_end|>"]),
        ("samples", ["First sampling prompt", "A reply to the question", "<reason> 3 + 2 = 5 cups </reason>"]),
    ],
)
def test_a_dry_run_shows_the_first_demonstration_and_writes_nothing(source, words, capsys, tmp_path):
    assert run(*SMALL, "--response_format", TAGS, "--source", source, "--dry_run", "true") == 0
    shown = capsys.readouterr().out
    for word in (*words, "Dry run"):
        assert word in shown
    assert list(tmp_path.iterdir()) == []


def test_one_copy_of_the_model_is_in_memory_at_a_time(monkeypatch):
    """Sampling, training and the last evaluation each load the model; what came before must be gone."""
    alive, seen = [], []

    def watch(name, of_model):
        original = getattr(command, name)

        def watched(*args, **kwargs):
            gc.collect()
            seen.append(sum(reference() is not None for reference in alive))
            result = original(*args, **kwargs)
            alive.append(weakref.ref(of_model(result)))
            return result

        monkeypatch.setattr(command, name, watched)

    watch("whole_model", lambda model: model)
    watch("make_trainer", lambda trainer: trainer.model)
    assert run(*SMALL, "--output_dir", "out") == 0
    assert seen == [0, 0, 0]


def test_nothing_usable_stops_the_run_before_it_writes(capsys, tmp_path):
    options = ["--response_format", TAGS, "--eval_rows", 0, "--rows", 4, "--samples_per_prompt", 2]
    said = refused(capsys, *SMALL, *SAMPLES, *options, "--output_dir", "out")
    assert "none of 8 sampled replies can be used (8 not structured)" in said
    assert "--samples_per_prompt" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sorce", "truth"], ["unknown option '--sorce'", "did you mean --source?"]),
        (["--source", "dreams"], ["source 'dreams' must be one of auto, truth, samples"]),
        (["--sampling_prompt", "loud"], ["sampling_prompt 'loud' must be one of explicit, plain"]),
        (["--samples_per_prompt", "0"], ["samples_per_prompt 0 must be 1 or more"]),
        (["--keep_per_prompt", "9"], ["keep_per_prompt 9 must not exceed samples_per_prompt 4"]),
        (["--sample_batch_size", "-1"], ["sample_batch_size -1 must be 1 or more"]),
        (["--eval_rows", "-3"], ["eval_rows -3 must be 0 or more"]),
        (["--response_format", "see,think"], ["see,think", "three tags"]),
        (["--instruction", "loud"], ["instruction 'loud'"]),
        (["--packing", "true"], ["packing True is not for a warmup", "leave packing out"]),
        (["--max_length", "512"], ["max_length 512", "leave max_length out"]),
        (["--resume_from_checkpoint", "true"], ["cannot be resumed"]),
        (["--streaming", "true"], ["streaming is for srpo train"]),
        (["--learning_rate", "fast"], ["learning_rate", "fast"]),
        (["--model", "./no/such/folder"], ["model './no/such/folder' is neither", "give the folder"]),
        (["--dataset", "shapes/ducks"], ["unknown family 'ducks'"]),
        (["--output_dir", "/dev/null/x"], ["output_dir /dev/null/x cannot be written"]),
        (["--config", "nowhere.yaml"], ["config nowhere.yaml cannot be read"]),
    ],
)
def test_a_mistake_ends_in_one_sentence(arguments, words, capsys):
    said = refused(capsys, *SMALL, *arguments)
    for word in words:
        assert word in said
    assert not Path("runs").exists()


def test_a_mistake_under_a_launcher_is_one_sentence_too():
    """accelerate and torchrun start `python -m srpo.cli`."""
    command = [sys.executable, "-m", "srpo.cli", "warmup", "--source", "dreams"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == "srpo: error: source 'dreams' must be one of auto, truth, samples"


def test_truth_that_is_not_there(capsys):
    own_rows()
    lines = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    for row in lines:
        row.pop("reasoning", None)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    said = refused(capsys, *SMALL, "--dataset", "rows.jsonl", "--eval_rows", 0, "--source", "truth")
    assert "no row with perception and reasoning" in said
    assert "--columns perception=...,reasoning=..." in said


def test_truth_that_cannot_be_right(capsys):
    own_rows()
    lines = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    for row in lines:
        row.update(perception="red </perception>", reasoning="1")
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    said = refused(capsys, *SMALL, "--dataset", "rows.jsonl", "--eval_rows", 0, "--source", "truth")
    assert "no reply written from the truth can be used (4 not structured)" in said


def test_runs_do_not_overwrite_one_another(capsys):
    assert run(*SMALL, "--eval_rows", 0, "--max_steps", 1) == 0
    assert Path("runs/pips-warmup/model").is_dir()
    said = refused(capsys, *SMALL, "--output_dir", "runs/pips-warmup")
    assert said.endswith("already holds a run; choose another folder")


def test_tags_that_are_special_tokens(capsys):
    processor = AutoProcessor.from_pretrained(model_path())
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    model = AutoModelForImageTextToText.from_pretrained(model_path())
    model.resize_token_embeddings(len(processor.tokenizer))
    model.save_pretrained("special")
    processor.save_pretrained("special")
    assert "--response_format" in refused(capsys, *SMALL, "--model", "special")


def test_weights_that_cannot_be_read(capsys):
    AutoProcessor.from_pretrained(model_path()).save_pretrained("model")
    AutoModelForImageTextToText.from_pretrained(model_path()).save_pretrained("model")
    weights = Path("model/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "invalid header" in refused(capsys, *SMALL, "--model", "model")


def test_two_processes_collect_and_train_as_one(tmp_path):
    """The replies of each batch have their own seed, so who draws them does not matter."""
    options = [*SMALL, *SAMPLES, "--samples_per_prompt", 1, "--rows", 12, "--sample_batch_size", 4, "--use_cpu", "true"]
    assert run(*options, "--output_dir", "one") == 0
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "srpo.cli", "warmup"]
    halved = [*options, "--per_device_train_batch_size", 4, "--output_dir", "two"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *map(str, halved)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Held-out questions") == 1
    assert demonstrations("one") == demonstrations("two")
    assert summary("one")["demonstrations"] == summary("two")["demonstrations"]
    assert summary("one")["before"] == summary("two")["before"]
    alone, both = (AutoModelForImageTextToText.from_pretrained(f"{name}/model") for name in ("one", "two"))
    for ours, theirs in zip(alone.parameters(), both.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_help_names_the_options_of_the_warmup(capsys):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for option in ("--source", "--samples_per_prompt", "--dry_run", "--learning_rate", "--dataset_name", "--use_peft"):
        assert option in shown
    assert len(shown.splitlines()) < 70
