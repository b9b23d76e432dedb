"""The memory estimate of `srpo train --dry_run`: shapes and options of a job, handed to `srpo.memory`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from accelerate.utils import DistributedType

from srpo.commands.arguments import Job
from srpo.memory import ModelShape, Prompts, Setup, describe_memory, model_shape
from srpo.vision import placeholder_token_ids

SAMPLED_ROWS = 32
HALF_STATES = ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "lion_8bit")
NO_VISION = r"(?!.*(visual|vision_tower|vision_model)).*"


def memory_lines(job: Job, model_config: Any, processor: Any, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines on the memory of one GPU for a job, from the sizes of the first rows.

    Args:
        job: the parsed command line.
        model_config: config of the model.
        processor: its processor.
        rows: rows of the data set; the first `SAMPLED_ROWS` are read.
    """
    model = model_shape(model_config)
    placeholders = placeholder_token_ids(model_config, processor)
    prompts = measure_prompts(processor, placeholders, model.patch, rows, job.config.max_completion_length or 0)
    return _sized_for(job) + describe_memory(model, prompts, setup_of(job, model))


def _sized_for(job: Job) -> list[str]:
    """A line where a recipe was made for another number of GPUs, which changes the prompts of an update."""
    gpus, config = job.arguments.gpus, cast(Any, job.config)  # what TRL leaves unset at first is a number by now
    if gpus in (None, config.world_size):
        return []
    meant = config.per_device_train_batch_size * gpus * config.steps_per_generation // config.num_generations
    return [
        f"for {gpus} GPUs, where a generation has {meant} prompts; this command runs on {config.world_size} "
        f"({config.generation_batch_size // config.num_generations} prompts)"
    ]


def measure_prompts(
    processor: Any,
    placeholders: Sequence[int],
    patch: int,
    rows: Iterable[Mapping[str, Any]],
    completion: int,
    limit: int = SAMPLED_ROWS,
) -> Prompts:
    """Tokens, patches and bytes of the first prompts, as the processor makes them: the largest, and the average."""
    largest, pixel_bytes, images = (0, 0, 0), [], torch.tensor(placeholders)
    for _, row in zip(range(limit), rows, strict=False):
        text = processor.apply_chat_template(row["prompt"], add_generation_prompt=True)
        inputs = processor(images=list(row["images"]) or None, text=text, return_tensors="pt")
        pixels = inputs.get("pixel_values")
        tokens = inputs["input_ids"]
        found = int(torch.isin(tokens, images).sum())
        largest = max(largest, (tokens.size(1), found, _patches(pixels, patch)))
        pixel_bytes.append(0 if pixels is None else pixels.nbytes)
    average = sum(pixel_bytes) / max(1, len(pixel_bytes))
    return Prompts(*largest, pixel_bytes=average, completion=completion)


def _patches(pixels: torch.Tensor | None, patch: int) -> int:
    """Patches of packed pixels (patches, numbers) or of tiles (..., channels, height, width)."""
    if pixels is None:
        return 0
    if pixels.dim() == 2:
        return pixels.size(0)
    *_, height, width = pixels.shape
    return pixels.shape[:-3].numel() * (height // patch) * (width // patch)


def setup_of(job: Job, model: ModelShape) -> Setup:
    """The options of a job that memory depends on."""
    config, arguments = job.config, job.arguments
    gpus = arguments.gpus or config.world_size
    adapter, in_vision = _adapter(job, model)
    return Setup(
        gpus=gpus,
        sharding=arguments.sharding or _sharding(config, gpus),
        weight_bytes=2 if job.model.dtype in ("bfloat16", "float16", "auto") else 4,
        # Without an accelerator here the run is meant for another machine, where TRL's default is mixed precision.
        bf16=bool(config.bf16 or config.fp16) or not torch.accelerator.is_available(),
        adapter_parameters=adapter,
        trains_vision=in_vision if adapter else not config.freeze_vision_tower,
        state_bytes=0.5 if str(getattr(config.optim, "value", config.optim)) in HALF_STATES else 2.0,
        rollouts_per_pass=config.per_device_train_batch_size,
        steps_per_generation=config.steps_per_generation or 1,
        gradient_checkpointing=config.gradient_checkpointing,
        beta=config.beta,
        eager_attention=job.model.attn_implementation == "eager",
        credit=config.credit,
        scoring=config.scoring,
        scoring_max_tokens=config.scoring_max_tokens,
        vllm=config.vllm_mode if config.use_vllm else "",
        vllm_gpu_memory_utilization=config.vllm_gpu_memory_utilization,
        vllm_tensor_parallel_size=config.vllm_tensor_parallel_size,
        vllm_enable_sleep_mode=config.vllm_enable_sleep_mode,
        gpu_memory=_gpu_memory(arguments.gpu_memory),
    )


def _adapter(job: Job, model: ModelShape) -> tuple[int, bool]:
    """Parameters of the LoRA adapter, 0 without one, and whether some are in the vision tower."""
    if not job.model.use_peft:
        return 0, False
    targets: Any = job.model.lora_target_modules or "all-linear"
    total = model.adapter_parameters(job.model.lora_r, targets)
    text = model.adapter_parameters(job.model.lora_r, targets, among=NO_VISION)
    return total, total > text


def _sharding(config: Any, gpus: int) -> str:
    """How accelerate was told to divide the model."""
    state = config.distributed_state
    kind = getattr(state, "distributed_type", DistributedType.NO)
    if config.deepspeed_plugin is not None:
        return {2: "zero2", 3: "zero3"}.get(config.deepspeed_plugin.zero_stage, "ddp")
    if kind == DistributedType.FSDP:
        return "fsdp2"
    return "ddp" if gpus > 1 else "none"


def _gpu_memory(given: float | None) -> float | None:
    """GiB of a GPU: the number given, which a recipe may hold, but no more than the GPU of this process has."""
    if not torch.cuda.is_available():
        return given
    there = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / 2**30
    return min(given or there, there)
