"""Replies drawn with vLLM. It has prompts of its own: one placeholder for each image, which it expands itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srpo.evaluation.sampling import Reply, Request
from srpo.generation import end_token_ids, prompt_text, seed_number, unexpanded_ids
from srpo.vision import placeholder_token_ids


class VllmSampler:
    """Draws with vLLM's engine; every request has a seed of its own, which follows from the batch's and its key.

    Replies do not repeat to the last token on every machine: vLLM's sums depend on which requests it computes together,
    and two likely tokens may change places (docs/evaluation.md).

    Args:
        engine: a `vllm.LLM`.
        processor: the model's.
        model_config: its config.
        generation: its generation config, for the tokens that end a reply.
        max_completion_length: most tokens of a reply.
        temperature: of the draws; 0 takes the likeliest token each time.
        top_p: draw from the likeliest tokens of this total probability only; 1 from all.
    """

    def __init__(
        self,
        engine: Any,
        processor: Any,
        model_config: Any,
        generation: Any,
        *,
        max_completion_length: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        self.engine, self.processor = engine, processor
        tokenizer = processor.tokenizer
        banned = tokenizer.convert_ids_to_tokens(placeholder_token_ids(model_config, processor))
        self.settings = {
            "max_tokens": max_completion_length,
            "temperature": temperature,
            "top_p": top_p if temperature > 0 else 1.0,
            "stop_token_ids": end_token_ids(generation, tokenizer),
            "bad_words": banned,
            "detokenize": False,
        }

    def __call__(self, requests: Sequence[Request], seed: str) -> list[Reply]:
        """One reply for each request, in their order.

        Raises:
            ValueError: for a prompt that does not fit the engine's length.
        """
        from vllm import SamplingParams

        if not requests:
            return []
        drawn = self.engine.generate(
            [self._prompt(request) for request in requests],
            [SamplingParams(**self.settings, seed=seed_number(f"{seed}/{request.key}")) for request in requests],
            use_tqdm=False,
        )
        return [self._reply(request, found.outputs[0]) for request, found in zip(requests, drawn, strict=True)]

    def _prompt(self, request: Request) -> dict[str, Any]:
        text = prompt_text(self.processor, request.messages) + request.prefix
        images = {"multi_modal_data": {"image": list(request.images)}} if request.images else {}
        return {"prompt_token_ids": unexpanded_ids(self.processor, text), **images}

    def _reply(self, request: Request, output: Any) -> Reply:
        ids = list(output.token_ids)
        text = request.prefix + self.processor.tokenizer.decode(ids, skip_special_tokens=True)
        return Reply(text, output.finish_reason == "stop", len(ids), ids)


def start_engine(
    folder: str | Path,
    *,
    images: int,
    dtype: str,
    revision: str | None = None,
    tensor_parallel_size: int = 1,
    memory: float = 0.9,
    max_length: int | None = None,
    seed: int = 0,
) -> Any:
    """A `vllm.LLM` for prompts of up to `images` images.

    Args:
        folder: of the model, or its hub id.
        images: most images of a prompt.
        dtype: of weights and sums, such as "bfloat16".
        revision: of a hub id.
        tensor_parallel_size: GPUs over which each layer is split.
        memory: share of the GPU's memory that vLLM may take.
        max_length: most tokens of prompt and reply; the model's own by default.
        seed: of the engine.

    Raises:
        ImportError: where vLLM is not installed.
    """
    try:
        from vllm import LLM
    except ImportError as error:
        raise ImportError(f"--backend vllm needs vLLM ({error}); pip install 'srpo[vllm]', or leave it out") from error
    return LLM(
        str(folder),
        revision=revision,
        dtype=dtype,
        tensor_parallel_size=tensor_parallel_size,
        gpu_memory_utilization=memory,
        max_model_len=max_length,
        limit_mm_per_prompt={"image": images, "video": 0},
        generation_config="vllm",  # no sampling defaults of the model's own
        seed=seed,
        disable_log_stats=True,
    )
