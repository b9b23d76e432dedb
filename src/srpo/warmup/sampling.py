"""Replies of a model at temperature 1: seeded batches that the processes share out, each judged where it was drawn."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import GenerationConfig

from srpo.prompts import Message, instruction
from srpo.roles import ResponseFormat
from srpo.vision import placeholder_token_ids
from srpo.warmup.demonstrations import Verdict, judge, write_reply

SAMPLING_PROMPTS = ("explicit", "plain")


@dataclass(frozen=True)
class Reply:
    """A sampled reply: its text without special tokens, whether it ended by itself, and the verdict on it."""

    text: str
    ended: bool
    verdict: Verdict


class Sampler:
    """Draws one reply for each row of a list.

    The list is cut into batches, which the processes take in turns. A batch has its own seed, so the replies do not
    depend on the number of processes. Every process gets all replies.

    Args:
        model: a vision-language model in evaluation mode; its generation defaults are replaced.
        processor: its processor, padding on the left.
        response_format: the tags by which replies are judged.
        max_completion_length: most tokens of a reply.
        batch_size: replies that are drawn together.
        seed: of the draws.
        progress: called with the number of replies just drawn, over all processes as far as this one can tell.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        response_format: ResponseFormat,
        *,
        max_completion_length: int,
        batch_size: int,
        seed: int,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.model, self.processor, self.response_format = model, processor, response_format
        self.batch_size, self.seed, self.progress = batch_size, seed, progress
        # generate() takes from the model's own defaults what is not set here, such as a min_p.
        self.config = model.generation_config = generation_config(model, processor, max_completion_length)

    def __call__(self, dataset: Dataset, rows: Sequence[int], draw: str, *, explicit: bool = False) -> list[Reply]:
        """One reply for each of the row indices `rows` of `dataset`, in their order.

        Args:
            dataset: rows of the one schema.
            rows: row indices.
            draw: names this draw; another name gives other replies.
            explicit: ask for the format once more, with an example, behind the question.
        """
        state = PartialState()
        starts = range(0, len(rows), self.batch_size)
        drawn: list[tuple[int, list[Reply]]] = []
        for start in list(starts)[state.process_index :: state.num_processes]:
            batch = [dataset[i] for i in rows[start : start + self.batch_size]]
            drawn.append((start, self._batch(batch, f"{self.seed}/{draw}/{start}", explicit)))
            if self.progress is not None:
                self.progress(min(self.batch_size * state.num_processes, len(rows) - start))
        return [reply for _, batch in sorted(gather_object(drawn), key=lambda pair: pair[0]) for reply in batch]

    @torch.no_grad()
    def _batch(self, rows: list[dict[str, Any]], seed: str, explicit: bool) -> list[Reply]:
        prompts = [with_example(row["prompt"], self.response_format) if explicit else row["prompt"] for row in rows]
        inputs = prompt_inputs(self.processor, prompts, [row["images"] for row in rows]).to(
            self.model.device, self.model.dtype
        )
        with seeded(seed, self.model.device):
            ids = self.model.generate(**inputs)
        completions = ids[:, inputs["input_ids"].size(1) :].cpu()
        ends = torch.tensor(self.config.eos_token_id)
        texts = self.processor.tokenizer.batch_decode(completions, skip_special_tokens=True)
        verdicts = judge(texts, rows, self.response_format)
        ended = torch.isin(completions, ends).any(1).tolist()
        return [Reply(text, end, verdict) for text, end, verdict in zip(texts, ended, verdicts, strict=True)]


def generation_config(model: Any, processor: Any, max_completion_length: int) -> GenerationConfig:
    """Plain sampling at temperature 1, whatever the model's own defaults, without the tokens that stand for images.

    As in TRL's GRPOTrainer and in `srpo.trainer`, so that replies are those of the policy that is to be trained.
    """
    tokenizer = processor.tokenizer
    return GenerationConfig(
        max_new_tokens=max_completion_length,
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
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


def prompt_inputs(processor: Any, prompts: Sequence[Sequence[Message]], images: Sequence[Sequence[Any]]) -> Any:
    """Model inputs of a batch of prompts; text-only rows have [] for images and may share a batch with others."""
    return processor(
        text=[prompt_text(processor, messages) for messages in prompts],
        images=[list(row) for row in images] if any(images) else None,
        padding=True,
        padding_side="left",
        add_special_tokens=False,
        return_tensors="pt",
    )


def with_example(messages: Sequence[Message], response_format: ResponseFormat) -> list[Message]:
    """The messages with the response format spelled out behind the question, and a worked example in words."""
    example = write_reply("three red cups; two blue cups", "3 + 2 = 5 cups", "5", response_format)
    opening, closing = response_format.block("answer")
    request = (
        f"\n\n{instruction(response_format)}\n"
        "Write each tag exactly as it stands here, once, and close every block. "
        f"Write nothing before the first tag and nothing after {closing}. "
        f"Between {opening} and {closing} goes the bare answer; with options, their letter.\n"
        f"A reply to the question how many cups are in another image:\n{example}"
    )
    *before, last = messages
    content = last["content"]
    if isinstance(content, str):
        return [*before, {**last, "content": content + request}]
    return [*before, {**last, "content": [*content, {"type": "text", "text": request}]}]


@contextmanager
def seeded(seed: str, device: torch.device) -> Any:
    """Draw from generators seeded by `seed`; those of the rest of the program go on as if nothing had been drawn."""
    number = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big") >> 1
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(number)
        yield
