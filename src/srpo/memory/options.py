"""What memory depends on beside the model: the prompts of a data set, and the options of a run."""

from dataclasses import dataclass

FLOAT32, BFLOAT16 = 4, 2
SHARDINGS = ("none", "ddp", "zero2", "zero3", "fsdp2")


@dataclass(frozen=True)
class Prompts:
    """What one prompt with its images brings, at its largest and on average.

    Attributes:
        tokens: of the largest prompt, image tokens included.
        image_tokens: of the largest prompt.
        patches: vision patches of the largest prompt.
        pixel_bytes: of the processed images of the average prompt.
        completion: most tokens of a completion.
    """

    tokens: int
    image_tokens: int
    patches: int
    pixel_bytes: float
    completion: int

    @property
    def length(self) -> int:
        """Tokens of the longest prompt and completion."""
        return self.tokens + self.completion


@dataclass(frozen=True)
class Setup:
    """The options that memory depends on; names as in the options of `srpo train` where there is one.

    Attributes:
        gpus: processes, one per GPU.
        sharding: one of SHARDINGS.
        weight_bytes: per parameter, as loaded.
        bf16: mixed precision.
        adapter_parameters: of the LoRA adapter; 0 trains the whole model.
        trains_vision: whether the vision tower, or an adapter inside it, is trained.
        state_bytes: of the optimizer per byte of a parameter: AdamW holds 2, in 8 bit 0.5.
        rollouts_per_pass: per_device_train_batch_size.
        steps_per_generation: passes that one generation is used in.
        gradient_checkpointing: as in TRL.
        beta: as in TRL; above 0 and without an adapter there is a reference model.
        eager_attention: attention that holds a matrix of all pairs of tokens.
        credit: as in SRPOConfig.
        scoring: as in SRPOConfig.
        scoring_max_tokens: as in SRPOConfig.
        vllm: "" (generate with transformers), "colocate" or "server".
        vllm_gpu_memory_utilization: as in TRL.
        vllm_tensor_parallel_size: as in TRL.
        vllm_enable_sleep_mode: as in TRL.
        gpu_memory: GiB of a GPU, which the share of a colocated vLLM follows from.
    """

    gpus: int = 1
    sharding: str = "none"
    weight_bytes: int = FLOAT32
    bf16: bool = True
    adapter_parameters: int = 0
    trains_vision: bool = True
    state_bytes: float = 2.0
    rollouts_per_pass: int = 8
    steps_per_generation: int = 1
    gradient_checkpointing: bool = True
    beta: float = 0.0
    eager_attention: bool = False
    credit: str = "srpo"
    scoring: str = "shared"
    scoring_max_tokens: int | None = None
    vllm: str = ""
    vllm_gpu_memory_utilization: float = 0.3
    vllm_tensor_parallel_size: int = 1
    vllm_enable_sleep_mode: bool = False
    gpu_memory: float | None = None

    def __post_init__(self) -> None:
        if self.sharding not in SHARDINGS:
            raise ValueError(f"sharding {self.sharding!r} must be one of {', '.join(SHARDINGS)}; choose one of these")

    @property
    def compute_bytes(self) -> int:
        """Of a number inside the layers."""
        return BFLOAT16 if self.bf16 else self.weight_bytes

    @property
    def residual_bytes(self) -> int:
        """Of a number between the layers: autocast adds to what float32 embeddings began."""
        return self.compute_bytes if self.sharding in ("zero2", "zero3", "fsdp2") else self.weight_bytes

    @property
    def sharded(self) -> bool:
        """Whether a GPU holds a part of the weights only."""
        return self.sharding in ("zero3", "fsdp2")

    @property
    def rollouts(self) -> int:
        """Of one generation on one GPU."""
        return self.rollouts_per_pass * self.steps_per_generation
