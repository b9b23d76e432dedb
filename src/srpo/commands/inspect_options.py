"""Options of `srpo inspect`, and its help."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from trl import GRPOConfig, ModelConfig

from srpo.cli import UsageError
from srpo.commands.arguments import names_model_or_data, parse_options
from srpo.commands.help import described, own_options, section
from srpo.commands.token_view import COLOURS
from srpo.config import SRPOConfig
from srpo.credit_settings import CreditSettings
from srpo.credits import settled_corruption
from srpo.data.rows import AUTO
from srpo.report.runs import WITHOUT_GAPS
from srpo.run.directory import non_default
from srpo.tiny import NAME as TINY

PROGRAM = "srpo inspect"
FROM_TRL = {
    "num_generations": "Replies to sample (G).",
    "max_completion_length": "Most tokens of a reply.",
    "temperature": "Sampling temperature; the contrasts use it too.",
    "top_p": "Draw from the likeliest tokens of this probability only.",
    "seed": "Of the draws and the corruption.",
    "output_dir": "Folder to write; by default a new one under runs/.",
}
# Of TRL's options, those that decide replies and advantages; a training run hands them on.
OF_GENERATION = (
    *("num_generations", "max_completion_length", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"),
    *("generation_kwargs", "chat_template_kwargs", "reward_weights", "scale_rewards", "multi_objective_aggregation"),
    *("mask_truncated_completions", "seed", "bf16", "fp16"),
)
OF_ROW = ("instruction", "hint", "task", "max_pixels", "reward_funcs")
DEFAULTS: dict[str, Any] = {
    "dtype": None,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "remove_unused_columns": False,
}


@dataclass
class InspectArguments:
    """What to ask, what is right, and how to show it."""

    question: str = field(default="", metadata={"help": "What to ask; <image> says where an image stands."})
    image: list[str] = field(default_factory=list, metadata={"help": "Image files, one or several, in their order."})
    other_image: str | None = field(
        default=None, metadata={"help": "An image of another question, as the contrast of this one."}
    )
    answer: str | None = field(default=None, metadata={"help": "The right answer; with it, rewards and advantages."})
    alternatives: list[str] = field(default_factory=list, metadata={"help": "Further right answers."})
    options: list[str] = field(default_factory=list, metadata={"help": "Choices of a multiple-choice question."})
    task: str | None = field(
        default=None, metadata={"help": "How answers are compared: math, math:5%%, choice, text, range or box."}
    )
    instruction: str = field(
        default="system", metadata={"help": "Where the prompt asks for the response format: system, user or none."}
    )
    hint: str = field(default=AUTO, metadata={"help": "A sentence behind the question; auto: by task; none."})
    max_pixels: int | None = field(default=None, metadata={"help": "Shrink larger images to this many pixels."})
    reward_funcs: list[str] = field(
        default_factory=lambda: ["accuracy", "format"],
        metadata={"help": "accuracy, format, or import paths of functions with TRL's reward signature."},
    )
    replies: list[str] = field(
        default_factory=list, metadata={"help": "Texts or text files to look at instead of sampled replies, 2 or more."}
    )
    colour: str = field(default="weight", metadata={"help": "What tints a token: weight, gap or advantage."})
    highest: int = field(default=10, metadata={"help": "Tokens in the list of the highest gaps."})
    dry_run: bool = field(default=False, metadata={"help": "Check everything, print the plan and the prompt, stop."})

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError("question is missing; say what to ask, such as --question 'How many red dots are there?'")
        for name, paths in (("image", self.image), ("other_image", [self.other_image] if self.other_image else [])):
            for path in paths:
                if not Path(path).is_file():
                    raise ValueError(f"{name} {path} is no file; check the path")
        if self.colour not in COLOURS:
            raise ValueError(f"colour {self.colour!r} must be one of {', '.join(COLOURS)}")
        if self.colour == "advantage" and self.answer is None:
            raise ValueError("colour 'advantage' needs rewards; give the right answer with --answer, or tint by weight")
        if self.alternatives and self.answer is None:
            raise ValueError("alternatives stand beside an answer; give the first one with --answer")
        if len(self.options) == 1:
            raise ValueError(f"options {self.options[0]!r} is one and must be two or more; write --options red blue")
        if len(self.replies) == 1:
            raise ValueError("replies names one reply, and advantages compare replies; give two or more")
        if self.highest < 0:
            raise ValueError(f"highest {self.highest} must be 0 (no list) or more")


@dataclass
class InspectConfig(SRPOConfig):
    """An `SRPOConfig` whose generation batch is one group."""

    def __post_init__(self) -> None:
        self.per_device_train_batch_size, self.gradient_accumulation_steps = self.num_generations or 1, 1
        self.steps_per_generation = self.generation_batch_size = None
        if self.num_generations is not None and self.num_generations < 2:
            raise ValueError(
                f"num_generations {self.num_generations} must be 2 or more, because advantages compare replies; "
                "leave it out for 8"
            )
        super().__post_init__()


@dataclass
class InspectJob:
    """A parsed command line; `like` is the training run whose settings are the defaults, None for none."""

    arguments: InspectArguments
    config: InspectConfig
    model: ModelConfig
    like: Path | None

    def settings(self) -> dict[str, Any]:
        """The options, in plain values: `srpo inspect --config` reads them back."""
        own = non_default(self.arguments, self.model) | {"instruction": self.arguments.instruction}
        return own | {name: value for name, value in non_default(self.config).items() if name in _of_group()}


def parse(arguments: Sequence[str]) -> InspectJob:
    """Read the options of `srpo inspect [MODEL]`.

    Where MODEL is a training run, its settings are the defaults. A run without token credit (uniform, papo) is looked
    at with srpo's.

    Raises:
        UsageError: as `parse_options`, and for options that one question has no use for.
    """
    first, *rest = arguments or [""]
    named = ["--model", first, *rest] if first and not first.startswith("-") else list(arguments)
    named = ["--colour" if argument == "--color" else argument for argument in named]
    given = named[1] if named[:1] == ["--model"] else None
    like = _run_of(given) if given else None
    defaults = DEFAULTS | ({} if torch.accelerator.is_available() else {"bf16": False})
    if given == TINY or (not names_model_or_data(named) and "--config" not in named):
        defaults["instruction"] = "none"  # the tiny model knows the response format
    kinds = (InspectArguments, InspectConfig, ModelConfig)
    (own, config, model), _ = parse_options(
        _gathered(named, "--image"), kinds, PROGRAM, defaults | (_settings_of(like) if like else {})
    )
    if own.replies:
        config = dataclasses.replace(config, num_generations=len(own.replies))
    _check(own, config, model)
    return InspectJob(own, config, model, like)


def _check(own: InspectArguments, config: InspectConfig, model: ModelConfig) -> None:
    """Raise UsageError for options that one question has no use for."""
    texts = {"model": model.model_name_or_path, **vars(own)}
    for name, value in texts.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not _is_utf8(text):
                raise UsageError(f"{name} {text} is not UTF-8; rename the file, or write the text in UTF-8")
    for name in ("use_peft", "load_in_4bit", "load_in_8bit"):
        if getattr(model, name):
            raise UsageError(f"{name} is for training; leave it out (MODEL may be the folder of a LoRA adapter)")
    corruption = settled_corruption(config, lambda: own.other_image is not None)
    if corruption == "other_image" and own.other_image is None:
        raise UsageError(
            "corruption 'other_image' draws from a data set, and here is one question; name an image of another "
            "question with --other_image, or choose another corruption"
        )
    if own.other_image is not None and corruption != "other_image":
        raise UsageError(
            f"other_image {own.other_image} is for --corruption other_image, and the corruption is "
            f"{corruption}; leave one of them out, or change it"
        )
    if config.credit in WITHOUT_GAPS and own.colour == "gap":
        raise UsageError(f"colour 'gap' needs a credit that measures gaps, and {config.credit} does not; choose srpo")
    if config.credit == "rlsd" and own.answer is None:
        raise UsageError("credit 'rlsd' shows the policy the right answer; give it with --answer")


def _is_utf8(text: str) -> bool:
    """Whether no character is a lone surrogate, which is what a byte that is no UTF-8 becomes on the command line."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _run_of(given: str) -> Path | None:
    """The training run that a model folder is, or lies in."""
    folder = Path(given)
    runs = (run for run in (folder, folder.parent) if (run / "environment.json").exists())
    return next((run for run in runs if (run / "config.yaml").exists()), None)


def _settings_of(run: Path) -> dict[str, Any]:
    """What a training run hands on."""
    try:
        content = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"config {run / 'config.yaml'} cannot be read ({' '.join(str(error).split())})") from error
    known = {*OF_ROW, *_of_group()}
    found = {name: value for name, value in (content or {}).items() if name in known}
    return {name: value for name, value in found.items() if not (name == "credit" and value in WITHOUT_GAPS)}


def _of_group() -> set[str]:
    """Options of an SRPOConfig that decide replies, advantages and credit."""
    trl = {field.name for field in dataclasses.fields(GRPOConfig)}
    return {field.name for field in dataclasses.fields(SRPOConfig) if field.name not in trl} | {*OF_GENERATION}


def _gathered(arguments: Sequence[str], option: str) -> list[str]:
    """The command line with the values of a repeated option behind its first mention, where they count as a list."""
    kept: list[str] = []
    values: list[str] = []
    inside = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name == option:
            inside = True
            values += [value] if equals else []
        elif inside and not argument.startswith("--"):
            values.append(argument)
        else:
            inside = False
            kept.append(argument)
    return [*kept, option, *values] if values else list(arguments)


def show_help(console: Console) -> None:
    """Print the short help."""
    console.print("usage: srpo inspect MODEL --image FILE ... --question TEXT [--answer TEXT] [--OPTION VALUE ...]")
    console.print(
        "\nWhat would SRPO reinforce here, and why? Samples replies to one question, scores their contrasts as "
        "training does, and shows every token tinted by its weight, in the terminal and as a page. MODEL is a folder, "
        "a hub id, a run of srpo train (whose settings are then the defaults), a LoRA adapter, or tiny.\n",
        markup=False,
    )
    model = [
        ("model_name_or_path", "tiny", "MODEL; also --model."),
        ("dtype", "", "Of the weights; by default bfloat16 on a GPU, float32 elsewhere."),
    ]
    credit = {field.name for field in dataclasses.fields(CreditSettings)}
    credit |= {"corruption", "corruption_ratio", "response_format"}
    section(console, "Model", model)
    section(console, "Question and view", own_options(InspectArguments))
    section(console, "Replies", described(GRPOConfig, FROM_TRL))
    section(console, "Credit", [option for option in own_options(SRPOConfig) if option[0] in credit])
    console.print("Options of TRL's GRPOConfig and ModelConfig work; srpo inspect --help_all lists them.")
