"""What every sampling from a model shares: its prompt as text and tensors, its generation config, its seed."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from srpo.prompts import Message
from srpo.vision import placeholder_token_ids


def generation_config(
    model: Any, processor: Any, max_completion_length: int, *, temperature: float = 1.0, top_p: float = 1.0
) -> GenerationConfig:
    """Plain sampling, whatever the model's own defaults, without the tokens that stand for images; 0 is greedy.

    As in TRL's GRPOTrainer and in `srpo.trainer`, so that replies are those of the policy that is trained.
    """
    tokenizer = processor.tokenizer
    drawing = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=max_completion_length,
        **(drawing if temperature > 0 else {"do_sample": False}),
        repetition_penalty=1.0,
        suppress_tokens=placeholder_token_ids(model.config, processor),
        eos_token_id=end_token_ids(model.generation_config, tokenizer),
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        disable_compile=True,
    )


def end_token_ids(generation: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a reply: the tokenizer's and those that the model's generation config declares."""
    declared = generation.eos_token_id
    declared = [declared] if isinstance(declared, int) else declared or []
    return list(dict.fromkeys([tokenizer.eos_token_id, *declared]))


def prompt_text(processor: Any, messages: Sequence[Message]) -> str:
    """The prompt as the chat template renders it, up to where the reply begins."""
    return str(processor.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False))


def text_inputs(processor: Any, texts: Sequence[str], images: Sequence[Sequence[Any]]) -> Any:
    """Model inputs of a batch of rendered texts; rows of text have [] for images and may share a batch with others."""
    return processor(
        text=list(texts),
        images=[list(row) for row in images] if any(images) else None,
        padding=True,
        padding_side="left",
        add_special_tokens=not is_begun(processor, texts[0]),
        return_tensors="pt",
    )


def unexpanded_ids(processor: Any, text: str) -> list[int]:
    """The tokens of a rendered text with one placeholder for an image, as before the processor expands it."""
    begun = is_begun(processor, text)
    return list(processor.tokenizer(text, add_special_tokens=not begun)["input_ids"])


def is_begun(processor: Any, text: str) -> bool:
    """Did the chat template write the token that begins a sequence? The rule of processors' `apply_chat_template`."""
    begin = processor.tokenizer.bos_token
    return begin is not None and text.startswith(begin)


@contextmanager
def seeded(seed: str, device: torch.device) -> Iterator[None]:
    """Draw from generators seeded by `seed`; those of the rest of the program go on as if nothing had been drawn."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(seed_number(seed))
        yield


def seed_number(seed: str) -> int:
    """A number of 63 bits that follows from a text."""
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big") >> 1
