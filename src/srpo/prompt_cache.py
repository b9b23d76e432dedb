"""Prompts encoded once, and read by any number of rollouts.

`encode_prompts` runs n prompts with their images through the model and keeps the keys and values of every layer.
`PromptCache.read_by` lends them to R rollouts: each layer repeats its part for the rollouts while it runs and drops the
copy, so memory holds n prompts, not R. The last token of a prompt is left to its rollouts, which feed it again before
the completion: so every log-probability comes from the same head, and that of the prompt pass is not used.

Axes: n prompts, R rollouts, P prompt tokens, C position components (1, or 3 for the multimodal rotary embedding).
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

SHAREABLE_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}


@dataclass(frozen=True)
class PromptCache:
    """Keys and values of n prompts.

    Attributes:
        layers: transformers' cache layers, each with its keys and values, (n, heads, P - 1, head size).
        mask: (n, P - 1) 1 for prompt tokens, 0 for padding on the left.
        last_ids: (n,) last token of each prompt, which its rollouts feed again.
        next_position: (n,) or (C, n) position of that token.
    """

    layers: list[Any]
    mask: torch.Tensor
    last_ids: torch.Tensor
    next_position: torch.Tensor

    def read_by(self, prompts: torch.Tensor) -> DynamicCache:
        """A cache for R rollouts that reads the prompt of each and keeps nothing.

        Args:
            prompts: (R,) index of each rollout's prompt.
        """
        cache = DynamicCache()
        cache.layers = [_LentLayer(layer, prompts) for layer in self.layers]
        return cache


class _LentLayer(DynamicLayer):
    """One layer of a prompt cache, repeated for the rollouts that read it; new keys and values are not kept."""

    def __init__(self, prompts: DynamicLayer, index: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = prompts.keys, prompts.values, True
        self.dtype, self.device = prompts.dtype, prompts.device
        self._index = index.to(prompts.device)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of prompt and rollout, (R, heads, P - 1 + L, head size) each."""
        assert self.keys is not None
        assert self.values is not None
        keys = torch.cat([self.keys.index_select(0, self._index), key_states], dim=-2)
        return keys, torch.cat([self.values.index_select(0, self._index), value_states], dim=-2)


def encode_prompts(
    model: Any,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    vision: Mapping[str, torch.Tensor],
    token_types: Mapping[str, torch.Tensor],
) -> PromptCache:
    """Run n prompts through the model, images included, in one forward pass without gradient.

    Args:
        model: the policy, in evaluation mode.
        prompt_ids: (n, P) tokens, padded on the left.
        prompt_mask: (n, P) 1 for tokens, 0 for padding.
        vision: the model's image inputs for these prompts.
        token_types: per-token model inputs over the prompt, (n, P).
    """
    cache = DynamicCache()  # without the config: sliding layers keep the whole prompt, and their mask does the rest
    with torch.no_grad(), _positions_seen_by(model.get_decoder()) as seen:
        model(
            input_ids=prompt_ids[:, :-1],
            attention_mask=prompt_mask[:, :-1],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **vision,
            **{name: value[:, :-1] for name, value in token_types.items()},
        )
    return PromptCache(cache.layers, prompt_mask[:, :-1], prompt_ids[:, -1], _next_position(seen, prompt_ids))


@contextmanager
def _positions_seen_by(decoder: nn.Module) -> Iterator[list[torch.Tensor | None]]:
    """The `position_ids` that the decoder is called with in the scope, None where it makes its own."""
    seen: list[torch.Tensor | None] = []
    hook = decoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs.get("position_ids")), with_kwargs=True
    )
    try:
        yield seen
    finally:
        hook.remove()


def _next_position(seen: list[torch.Tensor | None], prompt_ids: torch.Tensor) -> torch.Tensor:
    """(n,) or (C, n): one above the highest position of each prompt, per group of components.

    A text token follows at one above the highest of its components, and all components share that value. A fourth
    component in front counts tokens (transformers' packed format) and goes on counting by itself.
    """
    position = seen[-1] if seen else None
    if position is None:
        return torch.full_like(prompt_ids[:, 0], prompt_ids.size(1) - 1)
    highest = position.amax(-1)  # (n,) or (C, n)
    if highest.dim() == 2:
        counted = highest.size(0) % 3  # 1 where the fourth component is there
        highest = torch.cat([highest[:counted], highest[counted:].amax(0, keepdim=True).expand(3, -1)])
    return (highest + 1).expand(*highest.shape[:-1], prompt_ids.size(0))


def sharing_obstacle(model: Any) -> str | None:
    """Why rollouts of a model cannot share an encoded prompt; None when nothing is known that forbids it."""
    config = model.config.get_text_config(decoder=True)
    if getattr(model.config, "is_encoder_decoder", False):
        return "the model is an encoder-decoder, whose decoder does not read the prompt from a cache of its own"
    stateful = set(getattr(config, "layer_types", None) or ()) - SHAREABLE_LAYERS
    if stateful:
        return f"layers of type {', '.join(sorted(stateful))} keep a running state instead of keys and values"
    if getattr(config, "cross_attention_layers", None):
        return "the model reads images through cross-attention layers, outside the cache of the prompt"
    if "logits_to_keep" not in inspect.signature(type(_bare(model)).forward).parameters:
        return f"{type(_bare(model)).__name__}.forward has no logits_to_keep, so a prompt pass would hold every logit"
    return None


def _bare(model: Any) -> Any:
    """The transformers model inside wrappers of FSDP1 and PEFT."""
    model = getattr(model, "_fsdp_wrapped_module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model
