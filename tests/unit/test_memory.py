"""The memory estimate: parameter counts of published models, hand-computed bytes, directions, words, measured peaks."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from bench import memory as bench
from bench.harness import Setting
from srpo.commands.memory import measure_prompts
from srpo.memory import LayerShape, ModelShape, Prompts, Setup, describe_memory, estimate, model_shape
from srpo.memory.phases import GIB, cache_bytes, contrasts, generation, kept_bytes, states, update
from srpo.vision import placeholder_token_ids
from tests.published import CONFIGS, LARGEST_IMAGE, PARAMETERS

TEXT_ONLY = r".*\.(language_model|text_model)\.layers\..*_proj"
LAYER = LayerShape(layers=2, hidden=8, intermediate=16, heads=2, queries=8, keys=4, gated=True)
SMALL = ModelShape(
    text=LAYER,
    vision=replace(LAYER, gated=False),
    parameters=1000,
    vision_parameters=200,
    head_parameters=80,
    tied_head=False,
    linear_layers=(("model.language_model.layers.0.q_proj", 8, 8), ("model.visual.blocks.0.attn.qkv", 8, 24)),
    patch=8,
)
PROMPTS = Prompts(tokens=100, image_tokens=64, patches=256, pixel_bytes=1e6, completion=50)


@pytest.fixture(scope="module")
def qwen_7b():
    return model_shape(CONFIGS["Qwen/Qwen2.5-VL-7B-Instruct"]())


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_parameters_are_those_of_the_published_models(name):
    shape = model_shape(CONFIGS[name]())
    assert shape.parameters == PARAMETERS[name]
    assert 0.03 * shape.parameters < shape.vision_parameters < 0.2 * shape.parameters


def test_shape_of_a_published_model(qwen_7b):
    assert qwen_7b.text == LayerShape(28, 3584, 18944, 28, 3584, 512, gated=True)
    assert qwen_7b.vision == LayerShape(32, 1280, 3420, 16, 1280, 1280, gated=True)
    assert (qwen_7b.patch, qwen_7b.head_parameters) == (14, 152064 * 3584)
    assert cache_bytes(qwen_7b.text, Setup()) == 56 * 1024  # 28 layers * 2 * 4 heads * 128 * 2 bytes


@pytest.mark.parametrize("targets", ["all-linear", TEXT_ONLY, ["q_proj", "v_proj"]])
def test_adapters_have_as_many_parameters_as_those_of_peft(layout_folder, targets):
    config = AutoConfig.from_pretrained(layout_folder)
    model = get_peft_model(
        AutoModelForImageTextToText.from_config(config), LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM")
    )
    expected = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert model_shape(config).adapter_parameters(4, targets) == expected


def test_states_by_hand():
    whole = states(SMALL, Setup(weight_bytes=4))
    assert whole == {"weights": 4000, "gradients": 4000, "optimizer": 8000}
    assert states(SMALL, Setup(weight_bytes=4, gpus=2, sharding="ddp"))["gradient buckets"] == 4000
    frozen = states(SMALL, Setup(weight_bytes=4, trains_vision=False))
    assert frozen == {"weights": 4000, "gradients": 3200, "optimizer": 6400}
    adapter = states(SMALL, Setup(weight_bytes=2, adapter_parameters=10))
    assert adapter == {"weights": 2040, "gradients": 40, "optimizer": 80}
    eight_bit = states(SMALL, Setup(weight_bytes=4, state_bytes=0.5))
    assert eight_bit["optimizer"] == 2000


def test_sharded_states_by_hand():
    fsdp = states(SMALL, Setup(weight_bytes=2, gpus=4, sharding="fsdp2"))
    assert fsdp == {"weights": 1000, "gradients": 1000, "optimizer": 2000}
    zero2 = states(SMALL, Setup(weight_bytes=2, gpus=4, sharding="zero2"))
    zero3 = states(SMALL, Setup(weight_bytes=2, gpus=4, sharding="zero3"))
    assert (zero2["weights"], zero3["weights"]) == (2000, 500)
    assert zero2["optimizer"] == zero3["optimizer"] == 3000  # master weights and two states, float32, a quarter each


def test_a_reference_model_is_held_where_beta_asks_for_one_and_no_adapter_can_be_switched_off():
    assert states(SMALL, Setup(weight_bytes=2, beta=0.01))["reference model"] == 2000
    assert states(SMALL, Setup(weight_bytes=2, beta=0.01, gpus=4, sharding="zero3"))["reference model"] == 500
    assert "reference model" not in states(SMALL, Setup(weight_bytes=2, beta=0.01, adapter_parameters=10))


def test_what_a_layer_keeps_by_hand():
    """Float32 throughout: 2 (4 + 4 + 4) 8 + 5 * 4 * 8 + 4 * 4 * 16, and without a gate two matrices fewer."""
    setup = Setup(weight_bytes=4, bf16=False)
    assert kept_bytes(LAYER, setup) == 192 + 160 + 256
    assert kept_bytes(replace(LAYER, gated=False), setup) == 192 + 160 + 128
    assert kept_bytes(LAYER, Setup(weight_bytes=4, bf16=True)) == 2 * (4 + 4 + 2) * 8 + 5 * 2 * 8 + 4 * 2 * 16


def test_sampling_with_transformers_holds_keys_and_values_of_every_rollout():
    setup = Setup(rollouts_per_pass=4, steps_per_generation=8, weight_bytes=2)
    held = generation(SMALL, replace(PROMPTS, patches=0, tokens=1, completion=10_000), setup)
    assert held["keys and values"] == 32 * 10_001 * (2 * 2 * 4 * 2) * 1.5
    assert held["pixels"] == 32e6


@pytest.mark.parametrize(
    ("change", "phase"),
    [
        ({"rollouts_per_pass": 2, "steps_per_generation": 4}, "update"),
        ({"steps_per_generation": 1}, "generation"),
        ({"adapter_parameters": 40_000_000, "weight_bytes": 2}, "update"),
        ({"trains_vision": False}, "update"),
        ({"state_bytes": 0.5}, "update"),
        ({"gpus": 8, "sharding": "zero2"}, "update"),
        ({"gpus": 8, "sharding": "fsdp2"}, "update"),
        ({"scoring_max_tokens": 2048}, "contrasts"),
    ],
)
def test_what_saves_memory(qwen_7b, change, phase):
    prompts = Prompts(1500, 1280, 5120, 24e6, 2048)
    setup = Setup(steps_per_generation=2)
    assert estimate(qwen_7b, prompts, replace(setup, **change)).gib(phase) < estimate(qwen_7b, prompts, setup).gib(
        phase
    )


def test_what_costs_memory(qwen_7b):
    prompts, setup = Prompts(1500, 1280, 5120, 24e6, 2048), Setup()
    base = estimate(qwen_7b, prompts, setup)
    for change in ({"gradient_checkpointing": False}, {"beta": 0.1}, {"eager_attention": True}):
        assert estimate(qwen_7b, prompts, replace(setup, **change)).gib("update") > base.gib("update")
    assert estimate(qwen_7b, prompts, replace(setup, scoring="plain")).gib("contrasts") > base.gib("contrasts")
    fewer = replace(prompts, tokens=900, image_tokens=680, patches=2720, pixel_bytes=13e6)
    assert all(estimate(qwen_7b, fewer, setup).gib(phase) < base.gib(phase) for phase in base.phases)


def test_grpo_has_no_contrasts(qwen_7b):
    assert "contrasts" not in estimate(qwen_7b, PROMPTS, Setup(credit="uniform")).phases


def test_a_colocated_vllm_takes_its_share_and_sleep_gives_it_back(qwen_7b):
    awake = Setup(vllm="colocate", vllm_gpu_memory_utilization=0.5, gpu_memory=80)
    asleep = replace(awake, vllm_enable_sleep_mode=True)
    for phase in ("contrasts", "update"):
        saved = estimate(qwen_7b, PROMPTS, awake).gib(phase) - estimate(qwen_7b, PROMPTS, asleep).gib(phase)
        assert saved == pytest.approx(40 - 1.5)
    assert estimate(qwen_7b, PROMPTS, awake).phases["generation"]["vLLM"] == 40 * GIB
    server = estimate(qwen_7b, PROMPTS, replace(awake, vllm="server"))
    assert all("vLLM" not in parts for parts in server.phases.values())


def test_full_training_of_a_7b_model_is_sixteen_bytes_a_parameter_and_lora_two(qwen_7b):
    full = states(qwen_7b, Setup(weight_bytes=4))
    assert sum(full.values()) == 16 * PARAMETERS["Qwen/Qwen2.5-VL-7B-Instruct"]
    adapter = qwen_7b.adapter_parameters(16, TEXT_ONLY)
    assert adapter == 40_370_176
    lora = states(qwen_7b, Setup(weight_bytes=2, adapter_parameters=adapter))
    assert sum(lora.values()) == 2 * PARAMETERS["Qwen/Qwen2.5-VL-7B-Instruct"] + 16 * adapter


def test_an_unknown_sharding_is_refused():
    with pytest.raises(ValueError, match="sharding 'zero9' must be one of none, ddp"):
        Setup(sharding="zero9")


def test_the_verdict_needs_the_size_of_the_gpu(qwen_7b):
    lines = describe_memory(qwen_7b, PROMPTS, Setup())
    assert "--gpu_memory 80" in lines[-1]
    adapter = Setup(weight_bytes=2, adapter_parameters=40_000_000, gpu_memory=80)
    assert describe_memory(qwen_7b, PROMPTS, adapter)[-1].startswith("fits into 80 GiB, with ")


def test_remedies_come_in_order_until_it_fits(qwen_7b):
    prompts = Prompts(1500, 1280, 5120, 24e6, 2048)
    setup = Setup(rollouts_per_pass=16, gradient_checkpointing=False, gpu_memory=24)
    lines = describe_memory(qwen_7b, prompts, setup)
    start = next(i for i, line in enumerate(lines) if line.startswith("will NOT fit into 24 GiB"))
    words = [line.split(" (")[0] for line in lines[start + 1 :]]
    assert words[:3] == ["- 1 rollout a pass", "- gradient checkpointing", "- LoRA"]
    assert lines[-1].endswith("which fits")
    sizes = [float(line.split(": ")[-1].split(" GiB")[0]) for line in lines[start + 1 :]]
    assert sizes == sorted(sizes, reverse=True)
    hopeless = describe_memory(qwen_7b, prompts, replace(setup, gpu_memory=4))
    assert hopeless[-1] == "- a smaller model, or GPUs with more memory"


def test_remedies_of_many_gpus_name_sharding_and_sleep(qwen_7b):
    prompts = Prompts(1500, 1280, 5120, 24e6, 2048)
    setup = Setup(gpus=8, sharding="ddp", weight_bytes=2, rollouts_per_pass=1, vllm="colocate", gpu_memory=24)
    text = "\n".join(describe_memory(qwen_7b, prompts, replace(setup, vllm_gpu_memory_utilization=0.7)))
    assert text.index("fsdp2.yaml") < text.index("LoRA")  # what changes no result comes first
    assert "8 GPUs with nothing sharded" in text


def test_zero_3_keeps_its_gradients_between_steps(qwen_7b):
    parts = {
        sharding: estimate(qwen_7b, PROMPTS, Setup(gpus=8, sharding=sharding, weight_bytes=2)).phases["generation"]
        for sharding in ("zero2", "zero3")
    }
    assert "gradients" not in parts["zero2"]
    assert parts["zero3"]["gradients"] == pytest.approx(qwen_7b.parameters * 4 / 8)


def test_a_share_of_vllm_that_cannot_hold_the_weights_is_named(qwen_7b):
    starved = Setup(vllm="colocate", vllm_gpu_memory_utilization=0.1, gpu_memory=80, gpus=8, sharding="zero3")
    text = "\n".join(describe_memory(qwen_7b, PROMPTS, starved))
    assert "vLLM gets 8.0 GiB and needs 15.4" in text
    assert "--vllm_gpu_memory_utilization" in text


def test_prompts_are_measured_with_the_processor(layout_folder):
    processor, config = AutoProcessor.from_pretrained(layout_folder), AutoConfig.from_pretrained(layout_folder)
    patch, placeholders = model_shape(config).patch, placeholder_token_ids(config, processor)
    content = [{"type": "image"}, {"type": "text", "text": "How many?"}]
    rows = [
        {"prompt": [{"role": "user", "content": content}], "images": [Image.new("RGB", (side, side), (9, 9, 9))]}
        for side in (40, 120)
    ]
    both = measure_prompts(processor, placeholders, patch, rows, completion=7)
    alone = [measure_prompts(processor, placeholders, patch, [row], completion=7) for row in rows]
    assert (both.tokens, both.image_tokens, both.patches) == max((p.tokens, p.image_tokens, p.patches) for p in alone)
    assert both.pixel_bytes == sum(p.pixel_bytes for p in alone) / 2
    assert both.length == both.tokens + 7
    assert 0 < both.image_tokens < both.tokens
    text = {"prompt": [{"role": "user", "content": content[1:]}], "images": []}
    assert measure_prompts(processor, placeholders, patch, [text], completion=7).patches == 0


def test_patches_of_packed_pixels_are_four_image_tokens(layout_folders):
    folder = layout_folders["qwen2_5_vl"]
    processor, config = AutoProcessor.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    row = {
        "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}],
        "images": [Image.new("RGB", (96, 64))],
    }
    prompts = measure_prompts(processor, placeholder_token_ids(config, processor), 8, [row], 1)
    assert prompts.patches == 4 * prompts.image_tokens


@pytest.mark.parametrize("way", ["plain", "checkpointing"])
def test_the_update_is_near_its_measured_peak(monkeypatch, way):
    """A model of 20M parameters on this CPU; `python -m bench.memory` measures more."""
    if torch.cuda.is_available():
        pytest.skip("the bench measures CUDA")
    monkeypatch.setattr(bench.utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", bench.NARROW)
    monkeypatch.setattr(bench.phases, "HEAD_TILE", (4096, bench.NARROW))
    setting = Setting(image_tokens=64, text_tokens=20, completion_tokens=40, perception_tokens=9)
    measured, predicted = bench.measure_update("20m", way, setting, rows=1)
    assert 0.75 < predicted / measured < 1.35


def test_largest_images_of_the_published_processors_are_consistent():
    for tokens, patches, pixel_bytes in LARGEST_IMAGE.values():
        assert patches > tokens
        assert pixel_bytes > 4 * patches
    prompts = Prompts(1580, *LARGEST_IMAGE["qwen2_5_vl"], 2048)
    shape = model_shape(CONFIGS["Qwen/Qwen2.5-VL-3B-Instruct"]())
    assert set(contrasts(shape, prompts, Setup())) & {"prompt cache", "corrupted pixels"}
    assert update(shape, prompts, Setup())["activations"] > GIB
