"""The packaged recipes: pairs that differ in one line, honest headers, a dry run of each on a model of its layout."""

import difflib
import importlib.resources
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from PIL import Image

from srpo.cli import main
from srpo.commands.arguments import parse
from srpo.commands.memory import setup_of
from srpo.memory import Prompts, describe_memory, estimate, model_shape
from tests.published import CONFIGS, LARGEST_IMAGE

FOLDER = Path(str(importlib.resources.files("srpo"))) / "recipes"
PAIRS = sorted(path.name.removesuffix("-srpo.yaml") for path in FOLDER.glob("*-srpo.yaml"))
TWINS = [f"{name}-{method}" for name in PAIRS for method in ("srpo", "grpo")]
PUBLISHED_LAYOUTS = {"Qwen2.5-VL": "qwen2_5_vl", "Qwen3-VL": "qwen3_vl", "SmolVLM2": "smolvlm", "InternVL3": "internvl"}
PROMPTS_LINE = re.compile(r"# Prompts: (\d+) a generation, (\d+) an update, on (\d+) GPUs? \((\d+) rollouts each\)\.")
TEXT_TOKENS = 300  # system prompt with the format, and the question
AVERAGE_IMAGE = 0.5  # of the largest: most images of ViRL39K are smaller


def text_of(recipe):
    return (FOLDER / f"{recipe}.yaml").read_text(encoding="utf-8")


def options_of(recipe):
    return yaml.safe_load(text_of(recipe))


def layout_of(recipe):
    return next(layout for name, layout in PUBLISHED_LAYOUTS.items() if f"/{name}-" in options_of(recipe)["model"])


def estimated(recipe):
    """The estimate of a recipe and its job, for prompts with the largest image."""
    job = parse(["--config", f"recipes/{recipe}.yaml"])
    tokens, patches, pixel_bytes = LARGEST_IMAGE[layout_of(recipe)]
    completion = job.config.max_completion_length
    prompts = Prompts(tokens + TEXT_TOKENS, tokens, patches, AVERAGE_IMAGE * pixel_bytes, completion)
    shape = model_shape(CONFIGS[options_of(recipe)["model"]]())
    return job, shape, prompts


@pytest.fixture(scope="module")
def models(layout_folders, tmp_path_factory):
    """Layout -> tiny model with the context of the published ones, 8,192 tokens or more."""
    root = tmp_path_factory.mktemp("models")
    for layout in PUBLISHED_LAYOUTS.values():
        shutil.copytree(layout_folders[layout], root / layout)
        config = json.loads((root / layout / "config.json").read_text())
        config["text_config"]["max_position_embeddings"] = 8192
        (root / layout / "config.json").write_text(json.dumps(config))
    return {layout: str(root / layout) for layout in PUBLISHED_LAYOUTS.values()}


@pytest.fixture(scope="module")
def virl39k(tmp_path_factory):
    """Rows in the layout of ViRL39K, as PAPO publishes it: images, problem, answer."""
    folder = tmp_path_factory.mktemp("virl39k")
    rows = []
    for i in range(64):
        Image.new("RGB", (48 + i, 40), (3 * i, 90, 9)).save(folder / f"{i}.png")
        rows.append({"images": [f"{i}.png"], "problem": f"<image>What is {i} plus {i}?", "answer": str(2 * i)})
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_there_is_a_recipe_for_every_model_and_size_of_machine():
    assert len(PAIRS) >= 8
    assert {layout_of(f"{name}-srpo") for name in PAIRS} == set(PUBLISHED_LAYOUTS.values())
    everything = " ".join(PAIRS)
    for part in ("3b-", "7b-", "4b-", "8b-", "-lora-", "-full-", "-1x24gb", "-1x48gb", "-1x80gb", "-8x80gb", "-server"):
        assert part in everything


@pytest.mark.parametrize("name", PAIRS)
def test_the_grpo_twin_differs_in_exactly_one_line(name):
    srpo, grpo = (text_of(f"{name}-{method}").splitlines() for method in ("srpo", "grpo"))
    changed = [line for line in difflib.ndiff(srpo, grpo) if line[0] in "+-"]
    assert [line[:9] for line in changed] == ["- credit:", "+ credit:"]
    assert options_of(f"{name}-srpo")["credit"] == "srpo"
    assert options_of(f"{name}-grpo")["credit"] == "uniform"


@pytest.mark.parametrize("recipe", TWINS)
def test_every_value_carries_its_source(recipe):
    lines = text_of(recipe).splitlines()
    for above, line in pairwise(lines):
        if line and not line.startswith(("#", "model:")):
            assert " # " in line or above.startswith("# "), line
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("recipe", TWINS)
def test_a_recipe_parses_as_it_is(recipe):
    job = parse(["--config", f"recipes/{recipe}.yaml"])
    assert job.config.credit == options_of(recipe)["credit"]
    assert job.arguments.dataset_name == "virl39k"
    assert job.config.use_vllm == ("transformers" not in text_of(recipe).splitlines()[0])


@pytest.mark.parametrize("recipe", TWINS)
def test_the_header_tells_the_prompts_of_a_generation_and_of_an_update(recipe):
    """TRL: a generation is rows per pass x processes x steps_per_generation rollouts, in whole groups."""
    generation, update, gpus, group = map(int, PROMPTS_LINE.search(text_of(recipe)).groups())
    options = options_of(recipe)
    a_pass = options["per_device_train_batch_size"] * gpus
    assert (gpus, group) == (options["gpus"], options["num_generations"])
    assert a_pass * options["steps_per_generation"] == generation * group
    assert a_pass * options["gradient_accumulation_steps"] == update * group
    longer, shorter = sorted((options["steps_per_generation"], options["gradient_accumulation_steps"]), reverse=True)
    assert longer % shorter == 0


@pytest.mark.parametrize("recipe", [f"{name}-srpo" for name in PAIRS])
def test_a_recipe_fits_the_gpu_in_its_name(recipe):
    job, shape, prompts = estimated(recipe)
    assert f"x{job.arguments.gpu_memory:g}gb" in recipe
    lines = describe_memory(shape, prompts, setup_of(job, shape))
    assert lines[-1].startswith("fits into"), lines


@pytest.mark.parametrize("recipe", TWINS)
def test_the_launch_command_names_files_that_are_there(recipe):
    header = text_of(recipe).split("\nmodel:")[0]
    named = set(re.findall(r"recipes/[\w./-]+\.yaml", header))
    assert named
    for path in named:
        assert (FOLDER / path.removeprefix("recipes/")).exists()
    assert options_of(recipe)["sharding"] in ("none", *(path.split("/")[-1].removesuffix(".yaml") for path in named))


@pytest.mark.parametrize("name", ["ddp", "zero2", "zero3", "fsdp2"])
def test_accelerate_reads_its_files(name):
    config = load_config_from_file(str(FOLDER / "accelerate" / f"{name}.yaml"))
    assert config.num_processes == 8
    assert config.mixed_precision == "bf16"
    expected = {"ddp": "MULTI_GPU", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED", "fsdp2": "FSDP"}
    assert config.distributed_type.value == expected[name]
    if name.startswith("zero"):
        assert config.deepspeed_config["zero_stage"] == int(name[-1])


@pytest.mark.parametrize("recipe", TWINS)
def test_a_dry_run_checks_everything(recipe, models, virl39k, tmp_path, monkeypatch, capsys):
    """A tiny model of the same layout and a small file in place of model and data; nothing else is changed."""
    monkeypatch.chdir(tmp_path)
    model = models[layout_of(recipe)]
    arguments = ["--config", f"recipes/{recipe}.yaml", "--model", model, "--dataset", str(virl39k), "--dry_run"]
    assert main(["train", *arguments]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "64 rows to train on" in shown
    assert "0.9 accuracy + 0.1 format" in shown
    assert "GiB" in shown
    assert "fits into" in shown
    gpus = options_of(recipe)["gpus"]
    assert (f"for {gpus} GPUs, where a generation has 384 prompts" in shown) == (gpus > 1)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_cannot_fit_is_told_so(models, virl39k, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = ["--config", f"{PAIRS[0]}-srpo.yaml", "--model", models[layout_of(f"{PAIRS[0]}-srpo")]]
    assert main(["train", *config, "--dataset", str(virl39k), "--gpu_memory", "0.5", "--dry_run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "will NOT fit into 0.5 GiB" in shown
    assert "a smaller model, or GPUs with more memory" in shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU that is there bounds the number given")
def test_flags_win_over_the_recipe():
    job = parse(["--config", f"recipes/{PAIRS[0]}-srpo.yaml", "--gpu_memory", "141", "--gpus", "2"])
    shape = model_shape(CONFIGS[options_of(f"{PAIRS[0]}-srpo")["model"]]())
    assert (setup_of(job, shape).gpu_memory, setup_of(job, shape).gpus) == (141, 2)


def test_the_page_lists_every_recipe_with_its_prompts_and_its_estimate():
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w.-]+)` \|", page, re.MULTILINE)
    assert sorted(listed) == PAIRS
    for name in PAIRS:
        job, shape, prompts = estimated(f"{name}-srpo")
        setup = setup_of(job, shape)
        generation, update, gpus, _ = PROMPTS_LINE.search(text_of(f"{name}-srpo")).groups()
        sizes = " / ".join(
            f"{estimate(shape, prompts, setup).gib(phase):.0f}" for phase in ("generation", "contrasts", "update")
        )
        trained = "LoRA" if setup.adapter_parameters else "whole"
        row = f"| `{name}` | {gpus} x {setup.gpu_memory:g} GB | {trained} | {setup.sharding} | {setup.vllm or '–'} "
        assert f"{row}| {generation} / {update} | {sizes} |" in page


def test_commands_of_the_page_name_recipes_that_are_there():
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    named = set(re.findall(r"recipes/([\w./-]+\.yaml)", page)) - {"NAME.yaml"}
    assert named
    for path in named:
        assert (FOLDER / path).exists()
