"""`srpo train` as a user runs it: the run directory, real input, and every mistake ending in one sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from srpo.cli import main
from srpo.tiny import model_path

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SMALL = [
    *("--per_device_train_batch_size", "8", "--num_generations", "4", "--max_completion_length", "48"),
    *("--per_device_eval_batch_size", "8", "--eval_rows", "8", "--max_steps", "2", "--seed", "1"),
    *("--gradient_accumulation_steps", "1", "--steps_per_generation", "1", "--rollouts_every", "1"),
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return main(["train", *map(str, arguments)])


def refused(capsys, *arguments):
    """The one sentence on standard error of a call that must be refused."""
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    said = [line for line in lines if line.startswith("srpo: error: ")]
    assert len(said) == 1
    assert lines[-1] == said[0]
    assert "Traceback" not in "".join(lines)
    return said[0]


def test_a_run_leaves_everything_behind(capsys, tmp_path):
    assert run(*SMALL, "--output_dir", "out", "--rows", 32) == 0
    shown = capsys.readouterr().out
    for word in ("model", "before", "after", "accuracy", "out/model"):
        assert word in shown
    out = tmp_path / "out"
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["model_name_or_path"] == str(model_path())
    assert config["max_steps"] == 2
    environment = json.loads((out / "environment.json").read_text())
    assert environment["seed"] == 1
    assert environment["versions"]["trl"].startswith("1.16")
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [entry for entry in logged if "srpo/weight/perception_mean" in entry]
    assert [entry["step"] for entry in steps] == [1, 2]
    assert all(0.9 < entry["srpo/structured/fraction"] <= 1 for entry in steps)
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["before"]) == set(summary["after"]) == {"accuracy", "perception right", "structured", "reward"}
    assert summary["questions"] == 8
    AutoModelForImageTextToText.from_pretrained(out / "model")
    AutoProcessor.from_pretrained(out / "model")


def test_saved_rollouts_hold_roles_and_weights_of_every_token(tmp_path):
    assert run(*SMALL, "--output_dir", "out", "--rows", 32) == 0
    rows = pq.read_table(tmp_path / "out" / "rollouts" / "step_000000.parquet").to_pylist()
    assert len(rows) == 8
    assert sum(row["image"] is not None for row in rows) == 2
    structured = [row for row in rows if any(row["roles"])]
    assert structured
    for row in rows:
        assert len(row["tokens"]) == len(row["roles"]) == len(row["gaps"]) == len(row["weights"])
        assert "".join(row["tokens"]) == row["completion"]
        assert {name for name, _ in row["rewards"]} == {"accuracy_reward", "format_reward", "perception"}
    for row in structured:
        role_weights = [w for w, role in zip(row["weights"], row["roles"], strict=True) if role]
        assert sum(role_weights) / len(role_weights) == pytest.approx(1, abs=1e-5)
        seen = "".join(token for token, role in zip(row["tokens"], row["roles"], strict=True) if role == 1)
        assert f"<perception>{seen}" in row["completion"]


def test_the_written_config_repeats_the_run(tmp_path):
    assert run(*SMALL, "--output_dir", "one", "--rows", 32) == 0
    assert run("--config", "one/config.yaml", "--output_dir", "two") == 0
    first, second = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [entry.get("reward") for entry in first] == [entry.get("reward") for entry in second]
    assert [entry.get("loss") for entry in first] == [entry.get("loss") for entry in second]


def test_a_dry_run_checks_everything_and_writes_nothing(capsys, tmp_path):
    assert run(*SMALL, "--dry_run", "true") == 0
    assert "Dry run" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_plan_names_the_options_of_a_credit(capsys):
    assert run(*SMALL, "--dry_run", "true", "--reasoning_gap", "token", "--credit_sign_aware", "false") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "srpo, shared baseline, temperature 1" in shown


def test_runs_do_not_overwrite_one_another(capsys, tmp_path):
    for name in ("pips-srpo", "pips-srpo-2"):
        assert run(*SMALL, "--rows", 32, "--eval_rows", 0, "--max_steps", 1, "--rollouts_every", 0) == 0
        assert (tmp_path / "runs" / name / "model").is_dir()
    assert "already holds a run" in refused(capsys, *SMALL, "--output_dir", "runs/pips-srpo")


def test_a_run_resumes_from_its_checkpoint(capsys, tmp_path):
    common = [
        *SMALL,
        "--rows",
        32,
        "--eval_rows",
        0,
        "--output_dir",
        "out",
        "--save_strategy",
        "steps",
        "--save_steps",
        1,
    ]
    assert run(*common, "--max_steps", 1) == 0
    assert run(*common, "--max_steps", 2, "--resume_from_checkpoint", "true") == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["steps"] == 2
    assert "no checkpoint" in refused(capsys, *SMALL, "--output_dir", "new", "--resume_from_checkpoint", "true")


def test_a_refused_resume_leaves_the_run_as_it_was(capsys, tmp_path):
    assert run(*SMALL, "--rows", 32, "--output_dir", "out", "--eval_rows", 0, "--max_steps", 1) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    said = refused(capsys, *SMALL, "--seed", 7, "--output_dir", "out", "--resume_from_checkpoint", "true")
    assert "out holds no checkpoint" in said
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}


def test_flags_win_over_a_written_config(tmp_path):
    assert run(*SMALL, "--rows", 32, "--output_dir", "one", "--eval_rows", 0, "--logging_steps", 10) == 0
    written = yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())
    assert written["logging_steps"] == 10
    assert "model_init_kwargs" not in written
    assert "reward_weights" not in written
    assert run("--config", "one/config.yaml", "--dtype", "bfloat16", "--output_dir", "two") == 0
    saved = AutoModelForImageTextToText.from_pretrained("two/model")
    assert str(saved.dtype) == "torch.bfloat16"


def test_a_named_training_split_still_holds_rows_out(capsys):
    assert run(*SMALL, "--rows", 32, "--dataset_train_split", "train", "--dry_run", "true") == 0
    assert "29 rows to train on, 3 held out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "words"), [("weights", ""), ("template", "has no chat template"), ("processor", "vision-language model")]
)
def test_a_model_folder_that_will_not_do(spoil, words, capsys):
    shutil.copytree(model_path(), "model")
    if spoil == "weights":
        Path("model/model.safetensors").write_bytes(Path("model/model.safetensors").read_bytes()[:1000])
    elif spoil == "template":
        Path("model/chat_template.jinja").unlink()
    else:
        Path("model/processor_config.json").unlink()
    assert words in refused(capsys, *SMALL, "--rows", 32, "--model", "model")


def test_lora_and_uniform_credit(tmp_path):
    assert run(*SMALL, "--rows", 32, "--eval_rows", 0, "--credit", "uniform", "--use_peft", "--output_dir", "out") == 0
    assert (tmp_path / "out" / "model" / "adapter_model.safetensors").exists()


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the third-party rows in ../shared/data are not there")
def test_third_party_images_train_the_tiny_model():
    assert run(*SMALL, "--model", model_path(), "--dataset", SHARED_DATA / "puzzlevqa", "--max_steps", 3) == 0


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the third-party rows in ../shared/data are not there")
@pytest.mark.parametrize("layout", ["qwen3_vl", "smolvlm", "llava", "internvl"])
def test_third_party_images_train_other_layouts(layout, layout_folders, tmp_path):
    model, data = layout_folders[layout], SHARED_DATA / "puzzlevqa"
    assert run(*SMALL, "--model", model, "--dataset", data, "--max_steps", 3, "--output_dir", "out") == 0
    assert (tmp_path / "out" / "model" / "config.json").exists()


def test_a_reward_of_ones_own(tmp_path):
    Path("my_rewards.py").write_text("def brevity(completions, **kwargs):\n    return [0.5] * len(completions)\n")
    arguments = [*SMALL, "--rows", 32, "--eval_rows", 0, "--output_dir", "out"]
    assert run(*arguments, "--reward_funcs", "accuracy", "my_rewards.brevity") == 0
    assert '"rewards/brevity/mean": 0.5' in (tmp_path / "out" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--credt", "srpo"], ["unknown option '--credt'", "did you mean --credit?"]),
        (["--credit", "sprinkle"], ["credit 'sprinkle' must be one of srpo, uniform"]),
        (["--credit_weight_min", "-1"], ["credit_weight_min -1.0", "must satisfy", "defaults are"]),
        (["--credit_strength", "2"], ["credit_strength 2.0 must lie in [0, 1]"]),
        (["--corruption", "fog"], ["corruption 'fog' must be one of patch_mask"]),
        (["--corruption_ratio", "0"], ["corruption_ratio 0.0 must lie in (0, 1]"]),
        (["--loss_type", "vespo"], ["loss_type 'vespo' assumes one advantage per sequence", 'credit="uniform"']),
        (["--importance_sampling_level", "sequence"], ["importance_sampling_level 'sequence'", "unset it"]),
        (["--off_policy_mask_threshold", "0.5"], ["off_policy_mask_threshold 0.5", "unset it"]),
        (["--response_format", "see,think"], ["see,think", "three tags"]),
        (["--instruction", "loud"], ["instruction 'loud' must be one of system, user, none"]),
        (["--learning_rate", "fast"], ["learning_rate", "fast"]),
        (["--num_generations", "1"], ["GRPO requires at least 2 generations"]),
        (["--model", "./no/such/folder"], ["model './no/such/folder' is neither", "give the folder"]),
        (["--dataset", "no/such/file.jsonl"], ["no/such/file.jsonl"]),
        (["--dataset", "shapes/ducks"], ["unknown family 'ducks'"]),
        (["--eval_rows", "-3"], ["eval_rows -3 must be 0 or more"]),
        (["--reward_funcs", "vibes"], ["reward function 'vibes' cannot be imported", "accuracy, format"]),
        (
            ["--reward_weights", "1", "2", "3"],
            ["reward_weights has 3 numbers for the 2 reward functions", "one for each"],
        ),
        (["--temperature", "0"], ["temperature 0.0 must be positive"]),
        (["--rows", "1"], ["1 training rows are fewer than the 2 prompts", "give more rows"]),
        (["--resume_from_checkpoint", "./nope"], ["./nope is not a checkpoint folder"]),
        (["--output_dir", "/dev/null/x"], ["output_dir /dev/null/x cannot be written"]),
        (["--config", "nowhere.yaml"], ["config nowhere.yaml cannot be read"]),
        (["--config"], ["--config needs the path"]),
    ],
)
def test_a_mistake_ends_in_one_sentence(arguments, words, capsys):
    said = refused(capsys, *SMALL, *arguments)
    for word in words:
        assert word in said
    assert not Path("runs").exists()


def test_a_config_file_with_mistakes(capsys):
    Path("typo.yaml").write_text("credt: srpo\n")
    assert "typo.yaml: unknown option '--credt'; did you mean --credit?" in refused(capsys, "--config", "typo.yaml")
    Path("list.yaml").write_text("- credit\n")
    assert "must hold option: value lines" in refused(capsys, "--config", "list.yaml")
    Path("nested.yaml").write_text("learning_rate: {x: 1}\n")
    assert "nested.yaml: learning_rate is {'x': 1} and must be one value" in refused(capsys, "--config", "nested.yaml")
    Path("broken.yaml").write_text("credit: [srpo\n")
    assert "is not YAML" in refused(capsys, "--config", "broken.yaml")


def test_data_without_the_needed_columns(capsys):
    Path("rows.jsonl").write_text('{"riddle": "What?", "answer": "4"}\n')
    said = refused(capsys, *SMALL, "--dataset", "rows.jsonl")
    assert "riddle" in said
    assert "--columns" in said


def test_an_unreadable_image(capsys):
    for i in range(12):
        Image.new("RGB", (40, 40), (20 * i, 0, 0)).save(f"{i}.png")
    Path("7.png").write_bytes(Path("7.png").read_bytes()[:60])
    rows = [{"id": f"q{i}", "image": f"{i}.png", "question": f"How red is {i}?", "answer": str(i)} for i in range(12)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = refused(capsys, *SMALL, "--dataset", "rows.jsonl")
    assert "row q7" in said
    assert "replace the file or remove the row" in said


def test_tags_that_are_special_tokens(capsys, tmp_path):
    processor = AutoProcessor.from_pretrained(model_path())
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    model = AutoModelForImageTextToText.from_pretrained(model_path())
    model.resize_token_embeddings(len(processor.tokenizer))
    model.save_pretrained("special")
    processor.save_pretrained("special")
    said = refused(capsys, *SMALL, "--model", "special")
    assert "vanish" in said
    assert "--response_format" in said


def test_the_program_itself():
    command = [sys.executable, "-m", "srpo.cli"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("srpo 0.")
    wrong = subprocess.run([*command, "trian"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("srpo: error: unknown command 'trian'; the commands are train, ")


def test_two_processes_share_one_run_directory(tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "srpo.cli", "train"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, *SMALL, "--use_cpu", "true", "--rows", "32"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["pips-srpo"]
    logged = (tmp_path / "runs" / "pips-srpo" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in logged if '"step_time"' in line] == [1, 2]
    assert done.stdout.count("Held-out questions") == 1


def test_help_names_the_options_of_the_method(capsys):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for option in ("--credit_temperature", "--dataset_name", "--dry_run", "--learning_rate", "--help_all"):
        assert option in shown
