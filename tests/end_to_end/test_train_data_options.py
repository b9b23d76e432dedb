"""`srpo train` on a user's own rows: bad rows, streaming, size of images, hints, prompts shown, opened think blocks."""

import json
import shutil

import pytest
from PIL import Image
from transformers import AutoProcessor

from srpo.cli import main
from srpo.tiny import model_path

SMALL = [
    *("--per_device_train_batch_size", "4", "--num_generations", "2", "--max_completion_length", "8"),
    *("--gradient_accumulation_steps", "1", "--eval_rows", "0", "--rollouts_every", "0", "--max_steps", "2"),
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rows(tmp_path):
    """Twelve rows, the last four bad: no answer, no such image, one placeholder too many, a broken image."""
    for i in range(8):
        Image.new("RGB", (96, 64), (20 * i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    good = [{"id": f"g{i}", "problem": f"How many? {i}", "answer": str(i), "image": f"{i}.png"} for i in range(8)]
    bad = [
        {"id": "b0", "problem": "Q", "answer": "", "image": "0.png"},
        {"id": "b1", "problem": "Q", "answer": "1", "image": "none.png"},
        {"id": "b2", "problem": "<image><image> Q", "answer": "1", "image": "0.png"},
        {"id": "b3", "problem": "Q", "answer": "1", "image": "broken.png"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in good + bad))
    (tmp_path / "good.jsonl").write_text("\n".join(json.dumps(row) for row in good))
    return "rows.jsonl"


def run(*arguments):
    return main(["train", *map(str, arguments)])


def test_bad_rows_are_refused_with_the_way_out(rows, capsys):
    assert run("--dataset", rows, *SMALL) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    for word in ("row b0: ", "answer", "srpo data check", "--on_bad_rows skip"):
        assert word in said


def test_skipped_rows_are_counted_and_listed(rows, capsys, tmp_path):
    assert run("--dataset", rows, *SMALL, "--on_bad_rows", "skip", "--output_dir", "out") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "8 rows to train on" in shown
    assert "4 bad rows left out" in shown
    listed = json.loads((tmp_path / "out" / "bad_rows.json").read_text())
    assert {find["row"]: find["kind"] for find in listed} == {
        "b0": "answer_empty",
        "b1": "image_missing",
        "b2": "placeholder_extra",
        "b3": "image_truncated",
    }
    assert all(find["reason"] and find["remedy"] for find in listed)


def test_a_stream_is_trained_on(rows, capsys, tmp_path):
    assert run("--dataset", "good.jsonl", *SMALL, "--streaming", "true", "--output_dir", "out") == 0
    assert "rows read while training" in capsys.readouterr().out
    logged = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert sum("loss" in entry for entry in logged) == 2


def test_a_stream_needs_a_number_of_steps(rows, capsys):
    assert run("--dataset", "good.jsonl", "--streaming", "true", "--eval_rows", 0) == 2
    assert "give --max_steps" in capsys.readouterr().err


def test_the_plan_counts_the_steps_that_are_made(rows, capsys):
    options = [*SMALL[:-2], "--steps_per_generation", 2, "--num_train_epochs", 1]
    assert run("--dataset", "good.jsonl", *options, "--dry_run") == 0
    assert "4 steps (2 a generation)" in capsys.readouterr().out  # 8 rows, 4 prompts in each of 2 generations
    assert run("--dataset", "good.jsonl", *options) == 0
    assert "\n4 steps in " in capsys.readouterr().out


def test_prompts_are_shown_as_the_model_sees_them(rows, capsys):
    arguments = ["--dataset", "good.jsonl", *SMALL, "--hint", "Count with care.", "--show_prompt", 2, "--dry_run"]
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    assert shown.count("<|im_start|>user\n<|vision_start|><|image_pad|> × 6<|vision_end|>How many?") == 2
    assert "\nCount with care.<|im_end|>" in shown
    assert "row g1" in shown
    assert "images 96 x 64; task math; reference '1'" in shown


def test_images_are_shrunk_to_max_pixels(rows, capsys):
    arguments = ["--dataset", "good.jsonl", *SMALL, "--max_pixels", 1536, "--show_prompt", 1, "--dry_run"]
    assert run(*arguments) == 0
    assert "images 48 x 32;" in capsys.readouterr().out
    assert run(*arguments, "--max_pixels", 0) == 2
    assert "max_pixels 0 must be positive" in capsys.readouterr().err


def test_prompts_must_fit_what_vllm_may_read(rows, capsys):
    arguments = ["--dataset", "good.jsonl", *SMALL, "--use_vllm", "true", "--vllm_max_model_length", 100, "--dry_run"]
    assert run(*arguments, "--max_completion_length", 8) == 0
    assert run(*arguments, "--max_completion_length", 60) == 2
    assert "is more than the model's context of 100" in capsys.readouterr().err


@pytest.fixture
def thinking_model(tmp_path):
    """The tiny model with a chat template that opens a think block, as reasoning models have."""
    folder = shutil.copytree(model_path(), tmp_path / "thinking")
    processor = AutoProcessor.from_pretrained(folder)
    processor.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    processor.save_pretrained(folder)
    return folder


def test_a_template_that_opens_a_think_block(thinking_model, capsys, tmp_path):
    options = [*SMALL, "--model", thinking_model, "--dataset", "shapes/pips", "--instruction", "none"]
    options += ["--rows", 32, "--max_completion_length", 48, "--temperature", 0.1]
    assert run(*options, "--show_prompt", 1, "--output_dir", "out") == 0
    shown = capsys.readouterr().out
    assert "the chat template opens <think>, which is closed at once" in " ".join(shown.split())
    assert "<|im_start|>assistant\n<think>\n\n</think>\n\n" in shown
    logged = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert max(entry.get("srpo/structured/fraction", 0) for entry in logged) > 0.5
    saved = AutoProcessor.from_pretrained(tmp_path / "out" / "model")
    prompt = saved.apply_chat_template([{"role": "user", "content": "?"}], add_generation_prompt=True)
    assert prompt.endswith("<think>\n\n</think>\n\n")
    assert run(*options, "--response_format", "perception,reason,answer", "--show_prompt", 1, "--dry_run") == 0
    shown = capsys.readouterr().out
    assert "what a reply says there is neutral" in " ".join(shown.split())
    assert "</think>" not in shown
