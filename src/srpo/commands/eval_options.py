"""Options of `srpo eval`, and its help."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from trl import ModelConfig

from srpo.cli import UsageError
from srpo.commands.arguments import DataArguments, parse_options
from srpo.commands.help import own_options, section
from srpo.evaluation.audit import check_corruption
from srpo.roles import ResponseFormat
from srpo.run.directory import non_default

BACKENDS = ("transformers", "vllm")
BATCH_SIZES = {"transformers": 16, "vllm": 256}
HIDDEN = ("dataset_train_split", "dataset_test_split", "streaming")
# Options that change no reply, so that a run may go on under others.
FREE = {"audit", "dependency_rows", "dry_run", "output_dir", "resume", "gpu_memory_utilization", "tensor_parallel_size"}
OF_AUDIT = {"corruption", "corruption_ratio"}  # decide replies of the audit and no plain ones


@dataclass
class EvalArguments(DataArguments):
    """What to ask, how often, and with what; the model is in TRL's ModelConfig."""

    rows: int | None = field(default=None, metadata={"help": "Questions to ask, from the first; all by default."})
    split: str | None = field(
        default=None, metadata={"help": "Split to ask; by default test, validation or 10 %% of train."}
    )
    data_seed: int = field(default=0, metadata={"help": "Of the built-in world and of mixtures."})
    samples: int = field(default=4, metadata={"help": "Replies to each question (k)."})
    temperature: float = field(default=1.0, metadata={"help": "Of the draws, as in training; 0 is greedy."})
    top_p: float = field(default=1.0, metadata={"help": "Draw from the likeliest tokens of this probability only."})
    max_completion_length: int = field(default=512, metadata={"help": "Most tokens of a reply."})
    seed: int = field(default=0, metadata={"help": "Of the draws and the intervals."})
    response_format: str = field(
        default="perception,think,answer", metadata={"help": "Tag names: perception,reasoning,answer."}
    )
    audit: bool = field(
        default=False, metadata={"help": "Ask again with changed images and perceptions (docs/evaluation.md)."}
    )
    dependency_rows: int = field(
        default=256, metadata={"help": "Audit: replies whose tokens' dependency is scored, one a question; 0: none."}
    )
    corruption: str = field(default="patch_mask", metadata={"help": "What the audit does to images."})
    corruption_ratio: float = field(default=0.6, metadata={"help": "Share of an image that patch_mask masks."})
    backend: str = field(default="transformers", metadata={"help": "What draws: transformers or vllm."})
    batch_size: int | None = field(
        default=None, metadata={"help": "Replies that are drawn together: 16, with vllm 256."}
    )
    tensor_parallel_size: int = field(default=1, metadata={"help": "vllm: GPUs over which the model is split."})
    gpu_memory_utilization: float = field(default=0.9, metadata={"help": "vllm: share of the GPU's memory."})
    max_model_length: int | None = field(
        default=None, metadata={"help": "vllm: most tokens of prompt and reply; the model's own by default."}
    )
    benchmarks: str | None = field(
        default=None,
        metadata={
            "help": "Names of lmms-eval's tasks, such as mmmu_val,mathvista_testmini, instead. Not executed so far: "
            "written by reading lmms-eval 0.7.3."
        },
    )
    benchmark_model: str | None = field(
        default=None, metadata={"help": "lmms-eval's class for the model; by the model's type by default."}
    )
    benchmark_arguments: str | None = field(
        default=None, metadata={"help": "Further arguments of lmms-eval, in quotes, such as '--limit 8'."}
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "Run directory; by default one under runs/ that the options name."}
    )
    resume: str | None = field(default=None, metadata={"help": "Go on with this run directory; needs nothing else."})
    dry_run: bool = field(default=False, metadata={"help": "Print the plan and the first prompt, stop."})

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"backend {self.backend!r} must be one of {', '.join(BACKENDS)}")
        self.batch_size = BATCH_SIZES[self.backend] if self.batch_size is None else self.batch_size
        for name in ("samples", "max_completion_length", "batch_size", "tensor_parallel_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be 1 or more")
        if self.dependency_rows < 0:
            raise ValueError(f"dependency_rows {self.dependency_rows} must be 0 (none) or more")
        if self.temperature < 0:
            raise ValueError(f"temperature {self.temperature} must be 0 (greedy) or more")
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(
                f"temperature 0 gives the same reply each time, so {self.samples} samples tell no more than one; say "
                "--samples 1"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p} must be above 0 and at most 1")
        if self.streaming:
            raise ValueError("streaming is for srpo train; an evaluation reads its rows first, so leave it out")
        if self.dataset_train_split is not None:
            raise ValueError("dataset_train_split is for srpo train; name the split to ask with --split")
        self.split = self.split or self.dataset_test_split
        self.dataset_test_split = None
        ResponseFormat.parse(self.response_format)
        check_corruption(self.corruption, self.corruption_ratio)


@dataclass
class Evaluation:
    """A parsed command line."""

    arguments: EvalArguments
    model: ModelConfig

    def settings(self) -> dict[str, Any]:
        """The options of this run, in plain values: `srpo eval --resume` reads them back."""
        always = {name: getattr(self.arguments, name) for name in ("dataset_name", "samples", "seed", "batch_size")}
        return non_default(self.arguments, self.model) | always

    def deciding(self) -> dict[str, Any]:
        """The settings that decide the plain replies."""
        return {name: value for name, value in self.settings().items() if name not in FREE | OF_AUDIT}

    def deciding_audit(self) -> dict[str, Any]:
        """The further settings that decide the replies of the audit; {} without one."""
        settings = self.settings() if self.arguments.audit else {}
        return {name: value for name, value in settings.items() if name in OF_AUDIT}


def parse(arguments: Sequence[str]) -> Evaluation:
    """Read the options of `srpo eval [MODEL]`.

    Raises:
        UsageError: as `parse_options`, and for a run directory to go on with that holds none.
    """
    first, *rest = arguments or [""]
    named = ["--model", first, *rest] if first and not first.startswith("-") else list(arguments)
    job = _parse(named)
    if job.arguments.resume is None:
        return job
    run = Path(job.arguments.resume)
    if not (run / "config.yaml").exists():
        raise UsageError(f"resume {run} holds no evaluation to go on with; check the folder, or leave --resume out")
    again = _parse(["--config", str(run / "config.yaml"), *named])
    again.arguments.output_dir = str(run)
    return again


def _parse(arguments: Sequence[str]) -> Evaluation:
    (own, model), _ = parse_options(arguments, (EvalArguments, ModelConfig), "srpo eval", {"dtype": None})
    if model.use_peft:
        raise UsageError("use_peft makes a new adapter for training; an evaluation takes the folder of one as MODEL")
    if own.backend == "vllm" and (model.load_in_4bit or model.load_in_8bit):
        raise UsageError("load_in_4bit and load_in_8bit are for --backend transformers; leave them or vllm out")
    return Evaluation(own, model)


def show_help(console: Console) -> None:
    """Print the short help."""
    console.print("usage: srpo eval MODEL [--dataset D] [--OPTION VALUE ...]", markup=False)
    console.print(
        "\nAsks every question of a data set k times, scores the replies with the rewards of training and reports "
        "accuracy, pass@k, maj@k, format and lengths with 95 % intervals. MODEL is a folder, a hub id, a run of srpo "
        "train, a LoRA adapter, or tiny. The same command goes on where it was stopped.\n"
    )
    shared = {field.name for field in dataclasses.fields(DataArguments)} - {"rows"}
    options = [option for option in own_options(EvalArguments) if option[0] not in HIDDEN]
    model = [
        ("model_name_or_path", "tiny", "MODEL; also --model."),
        ("dtype", "", "Of the weights; by default bfloat16 on a GPU, float32 elsewhere."),
    ]
    section(console, "Model", model)
    section(console, "Evaluation", [option for option in options if option[0] not in shared])
    section(console, "Data", [option for option in options if option[0] in shared])
    console.print("Options of TRL's ModelConfig work, such as model_revision; srpo eval --help_all lists them.")
