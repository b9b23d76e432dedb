"""Peak GPU memory of a run by phase and part, from shapes, prompts and options: arithmetic only.

A step has phases, and the peak is that of the largest: *generation*, *contrasts* (none with credit "uniform"),
*buffering* (TRL cuts the generation into passes and copies its pixels) and *update*. What every phase holds is counted
in each. Where a sum depends on the order of allocations, the larger reading is taken; docs/recipes.md says what was
measured and what never was.

Per token and layer, with c bytes per number of the computation, r of the residual stream, H hidden, Q query width, K
key-value width, I MLP width:

    kept for the backward pass           2 (4 + r + c) H + 5 c Q + n c I      n = 4 with a gate, else 2
    kept where only an adapter learns    8 H + 4 c Q + (n - 1) c I + c (5 H + Q + I)
    held by a pass that keeps nothing    (4 + r + c) H + max(5 c Q, 3 c I)

Norms hold a float32 copy, their output and its cast; attention holds queries, keys and values repeated for their heads,
its output and the copy of it that is projected; the MLP every tensor between its matrices. Frozen matrices need no
input for their backward pass, but each float32 adapter casts and keeps one of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from srpo.memory.options import BFLOAT16, FLOAT32, Prompts, Setup
from srpo.memory.shapes import LayerShape, ModelShape

GIB = 2**30
HEAD_TILE = (4096, 32768)  # TRL's fused head: most tokens and entries of the vocabulary in one piece of the logits
MIN_SCORING_TOKENS = 2048
CUDA_CONTEXT = 0.8 * GIB
COLLECTIVES = 0.5 * GIB  # NCCL's buffers
ZERO_BUCKETS = 2 * 5e8 * BFLOAT16  # DeepSpeed: two buckets of 5e8 numbers, its default
VLLM_ASLEEP = 1.5 * GIB
ENDS = 2  # embeddings and last hidden states, in widths of the residual stream
FRAGMENTATION = 0.05  # of what the allocator hands out


@dataclass(frozen=True)
class Estimate:
    """Bytes of one GPU by phase and part."""

    phases: Mapping[str, Mapping[str, float]]

    def gib(self, phase: str) -> float:
        """GiB of a phase."""
        return sum(self.phases[phase].values()) / GIB

    @property
    def worst(self) -> str:
        """The phase with the peak."""
        return max(self.phases, key=self.gib)

    @property
    def peak(self) -> float:
        """GiB of the largest phase."""
        return self.gib(self.worst)


def estimate(model: ModelShape, prompts: Prompts, setup: Setup) -> Estimate:
    """Memory of one GPU: longest completions throughout, every pass with the largest prompt.

    Args:
        model: shape of the policy.
        prompts: largest and average prompt.
        setup: options.
    """
    held = states(model, setup)
    # Gradients go with `zero_grad`, but ZeRO-3 keeps the flat buffer of its partitions.
    resting = {name: size for name, size in held.items() if name != "gradients" or setup.sharding == "zero3"}
    pixels = setup.rollouts * prompts.pixel_bytes
    vllm = _vllm(setup)
    asleep = min(vllm, VLLM_ASLEEP) if setup.vllm_enable_sleep_mode else vllm
    phases = {
        "generation": {**resting, "vLLM": vllm, **generation(model, prompts, setup)},
        "contrasts": {**resting, "vLLM": asleep, "pixels": pixels, **contrasts(model, prompts, setup)},
        "buffering": {**resting, "vLLM": asleep, "pixels": 2 * pixels},
        "update": {**held, "vLLM": asleep, "pixels": pixels, **update(model, prompts, setup)},
    }
    if setup.credit == "uniform":
        del phases["contrasts"]
    return Estimate({phase: _with_overhead(parts, setup) for phase, parts in phases.items()})


def states(model: ModelShape, setup: Setup) -> dict[str, float]:
    """Weights, gradients, optimizer states and a reference model, bytes.

    - none, ddp: everything in the dtype of the weights; DDP copies the gradients into buckets.
    - zero2, zero3: weights in bfloat16; float32 master weights, AdamW states and gradients of what is trained, divided
      over the GPUs; zero3 divides the weights too.
    - fsdp2: everything divided; accelerate holds what is trained in float32 (`fsdp2_prepare_model`).
    """
    adapter, world = setup.adapter_parameters, setup.gpus
    trained = adapter or model.parameters - model.vision_parameters * (not setup.trains_vision)
    frozen = model.parameters + adapter - trained
    low = BFLOAT16 if setup.bf16 else FLOAT32
    if setup.sharding in ("none", "ddp"):
        each = FLOAT32 if adapter else setup.weight_bytes  # PEFT holds adapters in float32
        parts = {
            "weights": frozen * setup.weight_bytes + trained * each,
            "gradients": trained * each,
            "optimizer": trained * each * setup.state_bytes,
        }
        if setup.sharding == "ddp":
            parts["gradient buckets"] = trained * each
    elif setup.sharding == "fsdp2":
        parts = {
            "weights": (frozen * setup.weight_bytes + trained * FLOAT32) / world,
            "gradients": trained * FLOAT32 / world,
            "optimizer": trained * FLOAT32 * setup.state_bytes / world,
        }
    else:
        parts = {
            "weights": (frozen + trained) * low / (world if setup.sharded else 1),
            "gradients": trained * FLOAT32 / world,
            "optimizer": trained * FLOAT32 * (1 + setup.state_bytes) / world,
            "communication": ZERO_BUCKETS,
        }
    if setup.beta > 0 and not adapter:
        parts["reference model"] = model.parameters * (
            setup.weight_bytes / world if setup.sharded else setup.weight_bytes
        )
    return {name: float(size) for name, size in parts.items()}


def generation(model: ModelShape, prompts: Prompts, setup: Setup) -> dict[str, float]:
    """Sampling with transformers: every rollout of the generation at once, its prompt pass, then its keys and values.

    With vLLM nothing but its share, and one gathered weight at a time.
    """
    if setup.vllm:
        return {"gathered weights": _gathered(model, setup)}
    cache = setup.rollouts * cache_bytes(model.text, setup)  # per token
    works = {
        "vision tower": setup.rollouts * prompts.patches * _passing(model.vision, setup),
        "prompt pass": setup.rollouts * prompts.tokens * _passing(model.text, setup) + cache * prompts.tokens,
        # a layer's cache grows by copying
        "keys and values": cache * prompts.length * (1 + 1 / model.text.layers),
    }
    return {
        "pixels": setup.rollouts * prompts.pixel_bytes,
        "gathered weights": _gathered(model, setup) + _casts(model, setup),
        **_largest(works),
    }


def contrasts(model: ModelShape, prompts: Prompts, setup: Setup) -> dict[str, float]:
    """Scoring of the rollouts under changed contexts, without gradient.

    "shared": a pass feeds at most `scoring_max_tokens` tokens, its rollouts read twice as many, and prompts of as many
    are encoded at a time; "plain": whole rollouts, `rollouts_per_pass` at a time.
    """
    plain = setup.rollouts_per_pass * prompts.length
    budget = setup.scoring_max_tokens or max(MIN_SCORING_TOKENS, plain // 2)
    shared = setup.scoring == "shared"
    images = max(1, budget // max(1, prompts.tokens)) if shared else setup.rollouts_per_pass
    fed = max(budget, prompts.tokens) if shared else plain
    scored = max(budget, prompts.completion) if shared else setup.rollouts_per_pass * prompts.completion
    read = 2 * budget * 2 * (model.text.keys + model.text.queries) * setup.compute_bytes if shared else 0
    works = {
        "vision tower": images * prompts.patches * _passing(model.vision, setup),
        "scoring pass": fed * (_passing(model.text, setup) + ENDS * setup.residual_bytes * model.text.hidden)
        + read
        + _attention(model.text, setup, prompts.length),
        "log-probabilities": _head(model, setup, scored, trains=False),
    }
    return {
        "prompt cache": images * prompts.tokens * cache_bytes(model.text, setup) if shared else 0,
        "corrupted pixels": images * prompts.pixel_bytes,
        "gathered weights": _gathered(model, setup) + _casts(model, setup),
        **_largest(works),
    }


def update(model: ModelShape, prompts: Prompts, setup: Setup) -> dict[str, float]:
    """Forward and backward pass of `rollouts_per_pass` rollouts.

    With gradient checkpointing the input of every layer is kept and one layer is computed again at a time; without it
    everything in every layer is kept.
    """
    tokens, patches = setup.rollouts_per_pass * prompts.length, setup.rollouts_per_pass * prompts.patches
    # Under checkpointing transformers lets the outputs of all embeddings require a gradient, those of patches included.
    backward = setup.trains_vision or setup.gradient_checkpointing
    scored = setup.rollouts_per_pass * prompts.completion
    works = {
        "vision layer": patches * _working(model.vision, setup, backward=backward),
        "text layer": tokens * _working(model.text, setup, backward=True)
        + _attention(model.text, setup, prompts.length),
        "log-probabilities": _head(model, setup, scored, trains=not setup.adapter_parameters),
    }
    return {
        "activations": tokens * (_kept(model.text, setup) + ENDS * setup.residual_bytes * model.text.hidden),
        "vision activations": patches * _kept(model.vision, setup) if backward else 0.0,
        "gathered weights": _gathered(model, setup) + _casts(model, setup),
        **_largest(works),
    }


def _largest(works: Mapping[str, float]) -> dict[str, float]:
    """Of what is done one after the other, that which takes most."""
    return dict([max(works.items(), key=lambda work: work[1])])


def cache_bytes(layer: LayerShape, setup: Setup) -> float:
    """Keys and values of one token in all layers."""
    return layer.layers * 2 * layer.keys * setup.compute_bytes


def kept_bytes(layer: LayerShape, setup: Setup) -> float:
    """What one layer keeps of one token for its backward pass."""
    c, r = setup.compute_bytes, setup.residual_bytes
    matrices = 4 if layer.gated else 2
    if not setup.adapter_parameters:
        return 2 * (FLOAT32 + r + c) * layer.hidden + 5 * c * layer.queries + matrices * c * layer.intermediate
    casts = 5 if c < FLOAT32 else 2  # in float32 the adapters of a layer share the output of the norm
    frozen = 2 * FLOAT32 * layer.hidden + 4 * c * layer.queries + (matrices - 1) * c * layer.intermediate
    return frozen + c * (casts * layer.hidden + layer.queries + layer.intermediate)


def _passing(layer: LayerShape, setup: Setup) -> float:
    """What one token holds in a layer of a pass that keeps nothing."""
    c, r = setup.compute_bytes, setup.residual_bytes
    return (FLOAT32 + r + c) * layer.hidden + c * max(5 * layer.queries, 3 * layer.intermediate)


def _kept(layer: LayerShape, setup: Setup) -> float:
    """What a stack keeps of one token from its forward to its backward pass."""
    if setup.gradient_checkpointing:
        return layer.layers * setup.residual_bytes * layer.hidden
    return layer.layers * kept_bytes(layer, setup)


def _working(layer: LayerShape, setup: Setup, *, backward: bool) -> float:
    """What one token holds in one layer that runs: for a backward pass its gradients, and what is computed again."""
    again = kept_bytes(layer, setup) if backward and setup.gradient_checkpointing else 0
    return _passing(layer, setup) + again


def _attention(layer: LayerShape, setup: Setup, length: int) -> float:
    """The scores of all pairs of tokens, in one layer or in all; nothing with fused attention."""
    if not setup.eager_attention:
        return 0.0
    layers = 1 if setup.gradient_checkpointing else layer.layers
    return setup.rollouts_per_pass * layers * layer.heads * length**2 * (FLOAT32 + 2 * setup.compute_bytes)


def _head(model: ModelShape, setup: Setup, tokens: int, *, trains: bool) -> float:
    """TRL's fused head: one tile of logits; in the update also float32 gradients of the states and of the head."""
    rows, columns = HEAD_TILE
    tile = min(tokens, rows) * columns * setup.compute_bytes
    inputs = tokens * model.text.hidden * (setup.compute_bytes + FLOAT32)
    return tile + inputs + (model.head_parameters * (FLOAT32 + setup.weight_bytes) if trains else 0)


def _casts(model: ModelShape, setup: Setup) -> float:
    """Autocast keeps a bfloat16 copy of float32 weights during a forward pass."""
    float32_weights = setup.sharding in ("none", "ddp") and setup.weight_bytes == FLOAT32
    return model.parameters * BFLOAT16 if setup.bf16 and float32_weights else 0.0


def _gathered(model: ModelShape, setup: Setup) -> float:
    """Sharded weights that are whole for a moment: two layers, the embeddings and the head."""
    if not setup.sharded:
        return 0.0
    ends = (1 if model.tied_head else 2) * model.head_parameters
    layer = max(model.parameters - model.vision_parameters - ends, 0) / model.text.layers
    return (2 * layer + ends) * setup.compute_bytes


def _vllm(setup: Setup) -> float:
    """The share of a colocated vLLM; 0 where the size of the GPU is not known."""
    if setup.vllm != "colocate":
        return 0.0
    return setup.vllm_gpu_memory_utilization * (setup.gpu_memory or 0.0) * GIB


def _with_overhead(parts: Mapping[str, float], setup: Setup) -> dict[str, float]:
    """Parts that are not 0, with what CUDA, NCCL and fragmentation take."""
    handed_out = sum(size for name, size in parts.items() if name != "vLLM")
    overhead = CUDA_CONTEXT + (COLLECTIVES if setup.gpus > 1 else 0) + ceil(FRAGMENTATION * handed_out)
    return {**{name: size for name, size in parts.items() if size > 0}, "CUDA and fragments": overhead}
