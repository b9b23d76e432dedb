"""The memory estimate against measured peaks: `python -m bench.memory`.

Measures the most bytes of tensors that the contrasts and one forward and backward pass hold, and compares with
`srpo.memory`. On a CPU TRL's head scores every position instead of those of the completion, which the estimate is
told, and folds its tiles in torch with many copies instead of one Triton kernel, which narrow tiles keep small.
"""

import argparse
import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table
from trl.trainer import utils

from bench.harness import PATCH, Scoring, Setting, build_model, device, peak_bytes, ready, rollouts, save
from srpo.memory import Prompts, Setup, model_shape, phases
from srpo.memory.phases import contrasts, update

LORA_RANK = 16
NARROW = 512
TEXT_LAYERS = r".*\.language_model\.layers\..*_proj"
SETTINGS = {
    "short": Setting(image_tokens=64, completion_tokens=64, perception_tokens=19),
    "standard": Setting(),
    "large-image": Setting(image_tokens=1024),
    "long": Setting(completion_tokens=512, perception_tokens=154),
}
WAYS = ("plain", "checkpointing", "frozen tower, checkpointing", "LoRA", "LoRA, checkpointing")


def prompts_of(setting: Setting) -> Prompts:
    """The prompts of a setting as the estimate takes them."""
    tokens, patches = setting.images * setting.image_tokens, setting.images * setting.image_tokens * 4
    return Prompts(
        tokens=setting.text_tokens + tokens,
        image_tokens=tokens,
        patches=patches,
        pixel_bytes=patches * 6 * PATCH * PATCH * model_bytes(),
        completion=setting.completion_tokens,
    )


def scored(setting: Setting) -> Prompts:
    """The prompts as TRL's head takes them: on a CPU it scores every position, not those of the completion alone."""
    prompts = prompts_of(setting)
    return prompts if device().type == "cuda" else replace(prompts, tokens=0, completion=prompts.length)


def model_bytes() -> int:
    """Bytes of a number of the bench's models."""
    return 2 if device().type == "cuda" else 4


def setup_of(way: str, rows: int, adapter: int) -> Setup:
    """The options of one way."""
    return Setup(
        weight_bytes=model_bytes(),
        bf16=False,
        adapter_parameters=adapter if "LoRA" in way else 0,
        trains_vision="LoRA" not in way and "frozen" not in way,
        gradient_checkpointing="checkpointing" in way,
        rollouts_per_pass=rows,
    )


def prepared(shape: str, way: str) -> Any:
    """A model in training mode, as TRL prepares it."""
    model, _ = build_model(shape)
    if "frozen" in way:
        model.model.visual.requires_grad_(False)
    utils.add_fused_lm_head(model)
    if "LoRA" in way:
        model = get_peft_model(model, LoraConfig(r=LORA_RANK, target_modules=TEXT_LAYERS, lora_dropout=0.0))
    if "checkpointing" in way:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if "LoRA" in way:
            model.enable_input_require_grads()
    return model.train()


def forward_and_backward(model: Any, setting: Setting, rows: int) -> Callable[[], None]:
    """One pass of the update over the first rollouts of a setting."""
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    batch, _, _ = rollouts(replace(setting, groups=1, rollouts_per_group=rows), bare)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    labels = ids.clone()
    labels[:, : batch["prompt_ids"].size(1)] = -100
    inputs = {name: batch[name] for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids")}

    def run() -> None:
        output = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            labels=labels,
            fused_lm_head=True,
            use_cache=False,
            **inputs,
        )
        output.log_probs.sum().backward()

    return run


def measure_update(shape: str, way: str, setting: Setting, rows: int) -> tuple[float, float]:
    """Measured and predicted bytes of a pass of the update, beyond the weights and the gradients of a pass before."""
    model = prepared(shape, way)
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    sized = model_shape(bare.config)
    adapter = sum(p.numel() for p in model.parameters() if p.requires_grad) if "LoRA" in way else 0
    run = forward_and_backward(model, setting, rows)
    run()
    measured = peak_bytes(run)
    predicted = sum(update(sized, scored(setting), setup_of(way, rows, adapter)).values())
    gc.collect()
    return measured, predicted


def measure_contrasts(shape: str, setting: Setting, rows: int, scoring: str) -> tuple[float, float]:
    """Measured and predicted bytes of scoring, beyond the weights."""
    model = ready(shape)
    work = Scoring(model, setting, rows)
    measured = peak_bytes(work.shared if scoring == "shared" else work.plain)
    prompts = prompts_of(setting) if scoring == "shared" else scored(setting)
    setup = replace(setup_of("plain", rows, 0), scoring=scoring)
    return measured, sum(contrasts(model_shape(model.config), prompts, setup).values())


def narrow_tiles() -> None:
    """Make the head's tiles narrow where they are folded in torch, for TRL and for the estimate alike."""
    if device().type == "cpu":
        utils._CHUNKED_LOGPROB_CHUNK_SIZE = NARROW
        phases.HEAD_TILE = (phases.HEAD_TILE[0], NARROW)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="20m")
    parser.add_argument("--rows", type=int, default=4, help="rollouts of a pass")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--output", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    narrow_tiles()
    measure: dict[str, Callable[[Setting], tuple[float, float]]] = {
        f"update, {way}": partial(measure_update, options.shape, way, rows=options.rows) for way in WAYS
    }
    for scoring in ("shared", "plain"):
        measure[f"contrasts, {scoring}"] = partial(measure_contrasts, options.shape, rows=options.rows, scoring=scoring)
    table = Table("setting", "phase", "measured MiB", "estimate MiB", "estimate / measured")
    results = []
    for name in options.settings.split(","):
        for phase, of_setting in measure.items():
            measured, predicted = of_setting(SETTINGS[name])
            mib = [f"{size / 2**20:.0f}" for size in (measured, predicted)]
            table.add_row(name, phase, *mib, f"{predicted / measured:.2f}")
            results.append({"setting": name, "phase": phase, "measured": measured, "predicted": predicted})
    Console().print(table)
    save("memory", options, results, options.output)


if __name__ == "__main__":
    main()
