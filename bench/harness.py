"""What the benches share: models of a given shape, synthetic rollouts, timing, memory, and results as JSON.

Axes: B rollouts, T completion tokens. Every bench compares ways of doing the same work in turn, in one process, so that
the ratios hold whatever else the machine does.
"""

import gc
import inspect
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from srpo.contrast import Context, role_contexts, tokens_to_score
from srpo.pixels import select_vision
from srpo.roles import Role
from srpo.scoring import Scorer
from srpo.tiny.layouts import QWEN_TOKENS, qwen2_5_vl
from srpo.tiny.tokenizer import build_tokenizer

PATCH = 14
TAG_TOKENS = (5, 8, 6)  # opening tag, closing and next opening tag, last closing tag with the end of turn

SHAPES: dict[str, dict[str, Any]] = {
    "20m": {
        "text": {
            "hidden_size": 512,
            "intermediate_size": 896,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "vocab_size": 4096,
        },
        "vision": {"depth": 6, "hidden_size": 320, "intermediate_size": 640, "num_heads": 8},
    },
    "3b": {  # Qwen/Qwen2.5-VL-3B-Instruct
        "text": {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "vocab_size": 151936,
        },
        "vision": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
    },
    "7b": {  # Qwen/Qwen2.5-VL-7B-Instruct
        "text": {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
        },
        "vision": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
    },
}


@dataclass(frozen=True)
class Setting:
    """Shape of a batch of rollouts; `image_tokens` are those of one image.

    Rollouts with A = 0 come in whole groups, as GRPO has them, or `scattered` over all groups.
    """

    rollouts_per_group: int = 8
    image_tokens: int = 256
    images: int = 1
    text_tokens: int = 50
    completion_tokens: int = 200
    perception_tokens: int = 60
    zero_advantage: float = 0.4
    groups: int = 5
    scattered: bool = False


def device() -> torch.device:
    """The accelerator where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_model(shape: str) -> tuple[Any, Any]:
    """A random Qwen2.5-VL of a shape with its processor; bfloat16 on CUDA, float32 on CPU."""
    tokenizer = build_tokenizer([""], vocab_size=512, named_tokens=QWEN_TOKENS)
    dtype = torch.bfloat16 if device().type == "cuda" else torch.float32
    torch.manual_seed(0)
    with device():
        model, processor = qwen2_5_vl(tokenizer, **SHAPES[shape], patch=PATCH, max_pixels=(64 * PATCH) ** 2)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.to(dtype), processor


def rollouts(setting: Setting, model: Any, seed: int = 0) -> tuple[dict[str, Any], torch.Tensor, dict[str, Any]]:
    """A batch as TRL makes it, its (B, T) roles with none where A = 0, and the image inputs of corrupted images."""
    rng = torch.Generator().manual_seed(seed)
    count, total = setting.groups * setting.rollouts_per_group, setting.completion_tokens
    side = int(setting.image_tokens**0.5)
    image, text = model.config.image_token_id, setting.text_tokens // 2
    words = lambda *size: torch.randint(300, 500, size, generator=rng)  # noqa: E731
    prompts = torch.cat(
        [
            words(setting.groups, text),
            torch.cat([torch.full((setting.groups, side * side), image), words(setting.groups, 1)], 1).repeat(
                1, setting.images
            ),
            words(setting.groups, setting.text_tokens - text - setting.images),
        ],
        dim=1,
    ).repeat_interleave(setting.rollouts_per_group, 0)
    types = torch.cat([(prompts == image).long(), torch.zeros(count, total, dtype=torch.long)], 1)
    pixels = [
        torch.randn(setting.groups, setting.images * 4 * side * side, 6 * PATCH * PATCH, generator=rng)
        .repeat_interleave(setting.rollouts_per_group, 0)
        .flatten(0, 1)
        .to(device(), model.dtype)
        for _ in ("original", "corrupted")
    ]
    opening, between, closing = TAG_TOKENS
    roles = torch.zeros(count, total, dtype=torch.long)
    roles[:, opening : opening + setting.perception_tokens] = Role.PERCEPTION
    roles[:, opening + setting.perception_tokens + between : total - closing] = Role.REASONING
    size = setting.rollouts_per_group if not setting.scattered else 1
    order = torch.arange(count).view(setting.groups, -1).T.flatten() if setting.scattered else torch.arange(count)
    scored = count // size - round(count // size * setting.zero_advantage)
    roles[order[scored * size :]] = Role.NEUTRAL
    grid = torch.tensor([[1, 2 * side, 2 * side]]).repeat(count * setting.images, 1)
    batch = {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": words(count, total),
        "completion_mask": torch.ones(count, total, dtype=torch.long),
        "image_grid_thw": grid,
        "mm_token_type_ids": types,
    }
    batch = {name: value.to(device()) for name, value in batch.items()}
    batch |= {"num_images": [setting.images] * count, "pixel_values": pixels[0]}
    return batch, roles.to(device()), {"pixel_values": pixels[1], "image_grid_thw": batch["image_grid_thw"]}


class Scoring:
    """One setting, ready to be scored in the plain way, in the shared way, or at the floor."""

    def __init__(self, model: Any, setting: Setting, rows_per_pass: int) -> None:
        self.model, self.setting = model, setting
        batch, roles, corrupted = rollouts(setting, model)
        self.original = Context.from_batch(batch)
        vision = lambda rows: select_vision(corrupted, batch["num_images"], None, rows)  # noqa: E731
        self.contexts = role_contexts(self.original, vision, roles, ("original", "corrupted", "cut"))
        self.wanted = tokens_to_score(roles, "drop", self.original.has_image)
        size = setting.rollouts_per_group
        self.groups = [row // size * size for row in range(roles.size(0))]
        trainer = SimpleNamespace(accelerator=SimpleNamespace(autocast=nullcontext))
        self.function = partial(inspect.unwrap(GRPOTrainer._get_per_token_logps_and_entropies), trainer)
        self.rows_per_pass = rows_per_pass

    def plain(self) -> dict[str, torch.Tensor]:
        """Three whole passes over all rows."""
        return self._scorer(False)(self.model, self.contexts, self.wanted, self.groups)

    def shared(self) -> dict[str, torch.Tensor]:
        """Shared prompts, wanted tokens only."""
        return self._scorer(True)(self.model, self.contexts, self.wanted, self.groups)

    def _scorer(self, shared: bool) -> Scorer:
        scorer = Scorer(self.function, shared=shared, batch_size=self.rows_per_pass)
        scorer._checked = {True}  # the bench compares by itself
        return scorer

    @torch.no_grad()
    def floor(self) -> None:
        """Plain forwards over exactly what must be scored: two prompts a group, and the wanted tokens alone."""
        rows = [row for row in sorted(set(self.groups)) if self.wanted["original"][row].any()]
        prompt = self.original.prompt_ids.size(1)
        for name in ("original", "corrupted") if rows else ():
            for start in range(0, len(rows), self.rows_per_pass):
                chunk = rows[start : start + self.rows_per_pass]
                types = {k: v[chunk, :prompt] for k, v in self.original.token_types.items()}
                vision = self.contexts[name].vision(chunk)
                self.model(input_ids=self.original.prompt_ids[chunk], logits_to_keep=1, **vision, **types)
        budget = self.rows_per_pass * (prompt + self.setting.completion_tokens)
        for wanted in self.wanted.values():
            tokens = self.original.completion_ids[wanted.any(1)]
            length = int(wanted.sum(1).max())
            for part in tokens[:, :length].split(max(1, budget // max(1, length))) if length else ():
                self.model(input_ids=part, shift_labels=part, fused_lm_head=True)


def ready(shape: str) -> Any:
    """A model as TRL's trainer prepares it for scoring."""
    model, _ = build_model(shape)
    add_fused_lm_head(model)
    return model.eval()


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    synchronize()
    started = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - started


def synchronize() -> None:
    """Wait for the accelerator."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most bytes of tensors that one call held at a time, beyond those held before."""
    gc.collect()
    if device().type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    events = recorded.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


def cpu_name() -> str:
    """The processor as Linux names it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def ratio(values: list[float], reference: list[float]) -> dict[str, float]:
    """Median, least and largest quotient of the rounds of two ways."""
    quotients = [one / other for one, other in zip(values, reference, strict=True)]
    return {"median": statistics.median(quotients), "min": min(quotients), "max": max(quotients)}


def save(name: str, options: Any, results: Any, folder: Path) -> Path:
    """Write results with date, machine, versions and options to FOLDER/NAME-DEVICE.json."""
    cuda = torch.cuda.is_available()
    machine = torch.cuda.get_device_name() if cuda else f"{cpu_name()}, {torch.get_num_threads()} threads"
    record = {
        "bench": name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine,
        "cores": os.cpu_count(),
        "versions": {package: version(package) for package in ("srpo", "torch", "transformers", "trl", "accelerate")},
        "seed": 0,
        "options": {key: str(value) for key, value in vars(options).items()},
        "results": results,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{'cuda' if cuda else 'cpu'}.json"
    path.write_text(json.dumps(record, indent=1, default=lambda value: asdict(value)) + "\n", encoding="utf-8")
    return path
