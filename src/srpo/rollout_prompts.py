"""The prompts that a colocated vLLM samples from: one placeholder for an image, as before any processor expands it.

TRL 1.16 hands vLLM the tokens of its own processor, in which an image is a run of placeholders already, and the image.
vLLM expands the first placeholder once more, so the policy would sample behind another prompt than it is trained on
(huggingface/trl#6294; vLLM 0.31 made 23 image tokens of 12 without a word). TRL's server mode places images itself.
"""

from collections.abc import Sequence
from typing import Any

from srpo.generation import unexpanded_ids


def unexpanded_prompt_ids(processor: Any, messages: Sequence[dict[str, Any]], template: dict[str, Any]) -> list[int]:
    """The tokens of a conversation as its chat template renders it, without what the processor makes of its images.

    Args:
        processor: with a chat template and a tokenizer.
        messages: the conversation, with content parts.
        template: further arguments of the chat template.
    """
    text = processor.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False, **template)
    return unexpanded_ids(processor, text)


class ColocatedPrompts:
    """Mixin in front of GRPOTrainer that gives a colocated vLLM prompts it can expand itself."""

    use_vllm: bool
    vllm_mode: str
    chat_template_kwargs: Any
    processing_class: Any
    _for_vllm: tuple[Any, list[list[int]]] | None = None

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, ...]:
        prompt_ids, images, *fields = super()._tokenize_prompts(prompts)  # type: ignore[misc]
        self._for_vllm = None
        if self.use_vllm and self.vllm_mode == "colocate" and images is not None:
            unexpanded = [
                unexpanded_prompt_ids(self.processing_class, prompt, self.chat_template_kwargs) if shown else ids
                for prompt, ids, shown in zip(prompts, prompt_ids, images, strict=True)
            ]
            self._for_vllm = prompt_ids, unexpanded
        return prompt_ids, images, *fields

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        if self._for_vllm is not None and prompt_ids is self._for_vllm[0]:
            prompt_ids = self._for_vllm[1]
        return super()._generate_single_turn(prompt_ids, *args, **kwargs)  # type: ignore[misc]
