"""The model of a command: its config and its processor, checked before any weight is loaded."""

from typing import Any

from transformers import AutoConfig, AutoProcessor, ProcessorMixin
from trl import GRPOConfig, ModelConfig

from srpo import tiny
from srpo.cli import UsageError
from srpo.data.lengths import ModelView, PromptMeter
from srpo.prompts import close_block, opened_block
from srpo.roles import ResponseFormat


def resolve_model(model: ModelConfig, *, trust_remote_code: bool = False) -> tuple[str, Any, Any]:
    """Name or folder of the model, its config and its processor (no weights are loaded).

    Raises:
        UsageError: when it cannot be loaded or is not a vision-language model.
    """
    name = model.model_name_or_path or tiny.NAME
    name = str(tiny.model_path()) if name == tiny.NAME else name
    options = {"revision": model.model_revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"model {name!r} is neither a model folder here nor a model id that could be loaded ({_short(error)}); "
            "check the spelling, or give the folder"
        ) from error
    try:
        processor = AutoProcessor.from_pretrained(name, **options, padding_side="left", truncation_side="left")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"model {name!r} ({config.model_type}) has no processor for images and text that could be loaded "
            f"({_short(error)}); SRPO needs a vision-language model, such as Qwen/Qwen2.5-VL-3B-Instruct"
        ) from error
    if not isinstance(processor, ProcessorMixin):
        raise UsageError(
            f"model {name!r} has a tokenizer but no image processor; SRPO needs a vision-language model, such as "
            "Qwen/Qwen2.5-VL-3B-Instruct"
        )
    if not processor.chat_template:
        raise UsageError(f"model {name!r} has no chat template; use its instruct version, or add chat_template.jinja")
    return name, config, processor


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def check_tags(processor: Any, response_format: ResponseFormat) -> None:
    """A formatted reply must survive the tokenizer: tags that are special tokens vanish when TRL decodes.

    Raises:
        UsageError: when it does not.
    """
    (open_p, close_p), (open_t, close_t), (open_a, close_a) = map(
        response_format.block, ("perception", "reasoning", "answer")
    )
    reply = f"{open_p} red 4 {close_p}{open_t} 4 + 2 = 6 {close_t}{open_a} 6 {close_a}"
    ids = processor.tokenizer(reply, add_special_tokens=False)["input_ids"]
    if not response_format.spans(processor.tokenizer.decode(ids, skip_special_tokens=True)):
        raise UsageError(
            f"the tags of response_format {str(response_format)!r} vanish when this tokenizer decodes a reply, because "
            "they are special tokens of it; choose other names, such as --response_format see,reason,solution"
        )


def settle_opened_block(processor: Any, response_format: ResponseFormat) -> str | None:
    """Where the chat template opens a block at the end of the prompt: close it if it is one of the format's.

    Returns:
        A line for the plan, None where the template opens nothing.

    Raises:
        UsageError: where the block cannot be closed.
    """
    tag = opened_block(processor)
    if tag is None:
        return None
    if tag not in response_format.tags:
        return f"the chat template opens <{tag}>; what a reply says there is neutral"
    try:
        close_block(processor, tag)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return (
        f"the chat template opens <{tag}>, which is closed at once, so that replies begin with "
        f"{response_format.block('perception')[0]} (other tags in --response_format keep it open)"
    )


def model_view(name: str, model_config: Any, processor: Any, config: GRPOConfig) -> ModelView:
    """What of a model, as a run uses it, decides whether it can read a row."""
    context = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    limits = [context, config.vllm_max_model_length if config.use_vllm else None]
    context = min(filter(None, limits), default=None)
    return ModelView(name, PromptMeter(processor), context, config.max_completion_length or 0)
