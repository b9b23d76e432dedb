"""What is asked of a policy and what it answers: one interface for transformers and vLLM."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from PIL import Image

from srpo.generation import generation_config, prompt_text, seeded, text_inputs
from srpo.prompts import Message


@dataclass(frozen=True)
class Request:
    """One reply that is wanted.

    Attributes:
        key: names the request in messages, such as "row-7/2".
        messages: the prompt of a data row, with one image part for each image.
        images: its images, [] for text.
        prefix: text of the reply that is given already; the policy continues it.
    """

    key: str
    messages: Sequence[Message]
    images: Sequence[Image.Image] = ()
    prefix: str = ""


@dataclass(frozen=True)
class Reply:
    """What a policy answered.

    Attributes:
        text: the prefix and its continuation, without special tokens.
        ended: did it end by itself (and not at the most tokens)?
        tokens: length of the continuation, with the token that ends it.
        token_ids: the tokens of the continuation, with the one that ends it.
    """

    text: str
    ended: bool
    tokens: int
    token_ids: list[int] = field(repr=False)


class Sampler(Protocol):
    """Draws one reply for each request of a batch; the same batch and seed give the same replies."""

    def __call__(self, requests: Sequence[Request], seed: str) -> list[Reply]: ...


class TransformersSampler:
    """Draws with `model.generate`, all requests of a batch together.

    Args:
        model: a vision-language model in evaluation mode; its generation defaults are replaced.
        processor: its processor.
        max_completion_length: most tokens of a reply.
        temperature: of the draws; 0 takes the likeliest token each time.
        top_p: draw from the likeliest tokens of this total probability only; 1 from all.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        max_completion_length: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        self.model, self.processor = model, processor
        # generate() takes from the model's own defaults what is not set here, such as a min_p.
        self.config = model.generation_config = generation_config(
            model, processor, max_completion_length, temperature=temperature, top_p=top_p
        )

    @torch.no_grad()
    def __call__(self, requests: Sequence[Request], seed: str) -> list[Reply]:
        """One reply for each request, in their order."""
        if not requests:
            return []
        texts = [prompt_text(self.processor, request.messages) + request.prefix for request in requests]
        inputs = text_inputs(self.processor, texts, [request.images for request in requests])
        inputs = inputs.to(self.model.device, self.model.dtype)
        with seeded(seed, self.model.device):
            ids = self.model.generate(**inputs)
        completions = ids[:, inputs["input_ids"].size(1) :].tolist()
        return [
            make_reply(request, completion, self.config.eos_token_id, self.processor.tokenizer)
            for request, completion in zip(requests, completions, strict=True)
        ]


def make_reply(request: Request, completion: Sequence[int], ends: Sequence[int], tokenizer: Any) -> Reply:
    """The reply that the tokens of a completion make; what stands behind its first end token is padding."""
    end = next((i for i, token in enumerate(completion) if token in ends), None)
    ids = list(completion if end is None else completion[: end + 1])
    text = request.prefix + tokenizer.decode(ids, skip_special_tokens=True)
    return Reply(text, end is not None, len(ids), ids)
