"""The estimate as lines for people: what takes the memory, whether it fits, and what to do when it does not."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from srpo.memory.options import BFLOAT16, Prompts, Setup
from srpo.memory.phases import GIB, Estimate, estimate
from srpo.memory.shapes import ModelShape

Remedy = Callable[[ModelShape, Prompts, Setup], tuple[Prompts, Setup]]

SHOWN = 0.1  # GiB; smaller parts are counted, not listed
ADAPTER_SHARE = 0.01  # of the parameters; LoRA of rank 16 to 32 in all linear layers of these models


def describe_memory(model: ModelShape, prompts: Prompts, setup: Setup) -> list[str]:
    """Lines on the memory of one GPU: phases, parts of the largest phase, the verdict, and remedies where it fails.

    Args:
        model: shape of the policy.
        prompts: largest and average prompt.
        setup: options; without `gpu_memory` there is no verdict.
    """
    found = estimate(model, prompts, setup)
    phases = ", ".join(f"{phase} {found.gib(phase):.1f}" for phase in found.phases)
    lines = [
        f"about {found.peak:.1f} GiB on {_gpus(setup)}: {phases}",
        f"in {found.worst}: {_parts(found)}",
    ]
    if setup.gpu_memory is None:
        lines.append("the GPU's memory is not known; give it with --gpu_memory, such as --gpu_memory 80")
        return lines
    if starved := _starved_vllm(model, setup):
        lines.append(starved)
    if found.peak <= setup.gpu_memory:
        lines.append(f"fits into {setup.gpu_memory:g} GiB, with {setup.gpu_memory - found.peak:.1f} to spare")
        return lines
    lines.append(f"will NOT fit into {setup.gpu_memory:g} GiB; in this order:")
    return lines + list(_advice(model, prompts, setup))


def _gpus(setup: Setup) -> str:
    if setup.gpus == 1:
        return "1 GPU"
    sharding = "nothing sharded" if setup.sharding in ("none", "ddp") else setup.sharding
    return f"each of {setup.gpus} GPUs with {sharding}"


def _parts(found: Estimate) -> str:
    parts = sorted(found.phases[found.worst].items(), key=lambda part: -part[1])
    listed = [f"{name} {size / GIB:.1f}" for name, size in parts if size >= SHOWN * GIB]
    return ", ".join(listed) or "every part below 0.1"


def _starved_vllm(model: ModelShape, setup: Setup) -> str:
    """vLLM must hold the weights in its share and have room for keys and values."""
    if setup.vllm != "colocate" or setup.gpu_memory is None:
        return ""
    share = setup.vllm_gpu_memory_utilization * setup.gpu_memory
    weights = 2 * model.parameters / setup.vllm_tensor_parallel_size / GIB
    if share > weights + 2:
        return ""
    return (
        f"vLLM gets {share:.1f} GiB and needs {weights:.1f} for its copy of the weights alone; raise "
        "--vllm_gpu_memory_utilization or --vllm_tensor_parallel_size"
    )


def _advice(model: ModelShape, prompts: Prompts, setup: Setup) -> Iterator[str]:
    """Remedies that help, each on top of those before, until the run fits."""
    available = setup.gpu_memory or 0.0
    peak = estimate(model, prompts, setup).peak
    for text, change in REMEDIES:
        changed = change(model, prompts, setup)
        found = estimate(model, *changed).peak
        if found >= peak:
            continue
        (prompts, setup), peak = changed, found
        fits = peak <= available
        yield f"- {text}: {peak:.1f} GiB{', which fits' if fits else ''}"
        if fits:
            return
    yield "- a smaller model, or GPUs with more memory"


def _lora(model: ModelShape, prompts: Prompts, setup: Setup) -> tuple[Prompts, Setup]:
    if setup.adapter_parameters:
        return prompts, setup
    adapter = int(ADAPTER_SHARE * model.parameters)
    return prompts, replace(setup, adapter_parameters=adapter, weight_bytes=BFLOAT16, trains_vision=False)


def _one_rollout(model: ModelShape, prompts: Prompts, setup: Setup) -> tuple[Prompts, Setup]:
    return prompts, replace(setup, rollouts_per_pass=1, steps_per_generation=setup.rollouts)


def _smaller_generation(model: ModelShape, prompts: Prompts, setup: Setup) -> tuple[Prompts, Setup]:
    return prompts, replace(setup, steps_per_generation=max(1, setup.steps_per_generation // 4))


def _checkpointing(model: ModelShape, prompts: Prompts, setup: Setup) -> tuple[Prompts, Setup]:
    return prompts, replace(setup, gradient_checkpointing=True)


def _sharding(model: ModelShape, prompts: Prompts, setup: Setup) -> tuple[Prompts, Setup]:
    return prompts, replace(setup, sharding="fsdp2") if setup.gpus > 1 and not setup.sharded else setup


def _sleep(model: ModelShape, prompts: Prompts, setup: Setup) -> tuple[Prompts, Setup]:
    return prompts, replace(setup, vllm_enable_sleep_mode=True)


def _half_the_pixels(model: ModelShape, prompts: Prompts, setup: Setup) -> tuple[Prompts, Setup]:
    saved = prompts.image_tokens // 2
    fewer = replace(
        prompts,
        tokens=prompts.tokens - saved,
        image_tokens=prompts.image_tokens - saved,
        patches=prompts.patches // 2,
        pixel_bytes=prompts.pixel_bytes / 2,
    )
    return fewer, setup


# First what changes no result, then what changes the run.
REMEDIES: tuple[tuple[str, Remedy], ...] = (
    ("1 rollout a pass (--per_device_train_batch_size 1 and as many more passes)", _one_rollout),
    ("gradient checkpointing (--gradient_checkpointing true)", _checkpointing),
    ("vLLM asleep outside generation (--vllm_enable_sleep_mode true)", _sleep),
    ("sharded weights and states (recipes/accelerate/zero3.yaml or fsdp2.yaml)", _sharding),
    ("LoRA (--use_peft true --dtype bfloat16)", _lora),
    ("a quarter of the rollouts in a generation (--steps_per_generation)", _smaller_generation),
    ("half the pixels (--max_pixels, where the model follows the size of an image)", _half_the_pixels),
)
