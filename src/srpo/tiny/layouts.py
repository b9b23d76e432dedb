"""Small random models of the layouts that the field uses, each with its real processor.

For tests and dry runs: everything but the size is as in the published models (grids, tiles, placeholders, positions).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as tf

from srpo.tiny.tokenizer import build_tokenizer, chat_template

TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
QWEN_TOKENS = {
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
}
SMOLVLM_TOKENS = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
    "video_token": "<video>",
}
SMOLVLM_TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4))
INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}

Parts = tuple[Any, Any]


def _token_ids(tokenizer: Any) -> dict[str, int]:
    return {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}


def _text_config(model_type: str, tokenizer: Any) -> dict[str, Any]:
    shape = {"model_type": model_type, "vocab_size": len(tokenizer), "num_key_value_heads": 2}
    return {**shape, **TEXT, **_token_ids(tokenizer)}


def _qwen_config(tokenizer: Any, text: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    return {
        "text_config": {"vocab_size": len(tokenizer), **_token_ids(tokenizer), **text},
        "vision_config": vision,
        "tie_word_embeddings": True,
        **{f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in QWEN_TOKENS.items()},
    }


def qwen2_5_vl(
    tokenizer: Any,
    text: dict[str, Any] | None = None,
    vision: dict[str, Any] | None = None,
    patch: int = 8,
    max_pixels: int = 128 * 128,
) -> Parts:
    """Qwen2.5-VL: packed patches with a grid per image, windowed vision attention, mrope."""
    text_config = {**TEXT, "num_key_value_heads": 2, "tie_word_embeddings": True, **(text or {})}
    head = text_config["hidden_size"] // text_config["num_attention_heads"]
    third = head // 2 // 3
    text_config["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0}
    text_config["rope_parameters"]["mrope_section"] = [head // 2 - 2 * third, third, third]
    vision_config = {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, **(vision or {})}
    vision_config |= {"patch_size": patch, "out_hidden_size": text_config["hidden_size"]}
    vision_config |= {"fullatt_block_indexes": [vision_config["depth"] - 1]}
    config = tf.Qwen2_5_VLConfig(**_qwen_config(tokenizer, text_config, vision_config))
    size = {"shortest_edge": (4 * patch) ** 2, "longest_edge": max_pixels}
    processor = tf.Qwen2_5_VLProcessor(
        tf.Qwen2VLImageProcessor(patch_size=patch, size=size),
        tokenizer,
        tf.Qwen2VLVideoProcessor(patch_size=patch, size=size),
        chat_template=chat_template(QWEN_IMAGE),
    )
    return tf.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl(tokenizer: Any) -> Parts:
    """Qwen3-VL: packed patches, deepstack features, interleaved mrope."""
    patch = 8
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = {**TEXT, "num_key_value_heads": 2, "head_dim": 16, "rope_parameters": rope, "tie_word_embeddings": True}
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "patch_size": patch,
        "out_hidden_size": TEXT["hidden_size"],
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [0],
    }
    config = tf.Qwen3VLConfig(**_qwen_config(tokenizer, text, vision))
    size = {"shortest_edge": (4 * patch) ** 2, "longest_edge": 128 * 128}
    processor = tf.Qwen3VLProcessor(
        tf.Qwen2VLImageProcessor(patch_size=patch, size=size),
        tokenizer,
        tf.Qwen3VLVideoProcessor(patch_size=patch, size=size),
        chat_template=chat_template(QWEN_IMAGE),
    )
    return tf.Qwen3VLForConditionalGeneration(config), processor


def smolvlm(tokenizer: Any) -> Parts:
    """SmolVLM (Idefics3): images split into tiles, padded to the largest number of tiles of the batch, pixel masks."""
    side, patch, scale = 64, 16, 2
    config = tf.SmolVLMConfig(
        text_config=_text_config("llama", tokenizer),
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": side,
            "patch_size": patch,
        },
        scale_factor=scale,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    edges: dict[str, Any] = {"size": {"longest_edge": 2 * side}, "max_image_size": {"longest_edge": side}}
    processor = tf.SmolVLMProcessor(
        tf.SmolVLMImageProcessor(**edges),
        tokenizer,
        tf.SmolVLMVideoProcessor(**edges, num_frames=2, fps=1),
        image_seq_len=(side // patch // scale) ** 2,
        chat_template=chat_template("<image>"),
    )
    return tf.SmolVLMForConditionalGeneration(config), processor


def llava(tokenizer: Any) -> Parts:
    """LLaVA-1.5: one square crop per image through CLIP."""
    side, patch = 64, 16
    config = tf.LlavaConfig(
        text_config=_text_config("llama", tokenizer),
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": side,
            "patch_size": patch,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(side // patch) ** 2,
    )
    processor = tf.LlavaProcessor(
        tf.CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side}),
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template("<image>"),
    )
    return tf.LlavaForConditionalGeneration(config), processor


def internvl(tokenizer: Any) -> Parts:
    """InternVL: dynamic tiles, indexed by tile over the whole batch."""
    side, patch = 32, 8
    config = tf.InternVLConfig(
        text_config=_text_config("qwen2", tokenizer),
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": [side, side],
            "patch_size": [patch, patch],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=(side // patch // 2) ** 2,
    )
    processor = tf.InternVLProcessor(
        tf.GotOcr2ImageProcessor(size={"height": side, "width": side}, max_patches=4),
        tokenizer,
        tf.InternVLVideoProcessor(size={"height": side, "width": side}),
        image_seq_length=(side // patch // 2) ** 2,
        chat_template=chat_template("<IMG_CONTEXT>"),
    )
    return tf.InternVLForConditionalGeneration(config), processor


@dataclass(frozen=True)
class Layout:
    """How to build a model, and the special tokens that its processor looks for."""

    build: Callable[..., Parts]
    named_tokens: dict[str, str]
    extra_tokens: tuple[str, ...] = ()


LAYOUTS = {
    "qwen2_5_vl": Layout(qwen2_5_vl, QWEN_TOKENS),
    "qwen3_vl": Layout(qwen3_vl, QWEN_TOKENS),
    "smolvlm": Layout(smolvlm, SMOLVLM_TOKENS, SMOLVLM_TILES),
    "llava": Layout(llava, {"image_token": "<image>"}),
    "internvl": Layout(internvl, INTERNVL_TOKENS),
}


def save_random_model(
    layout: str,
    folder: Path | str,
    texts: Iterable[str] = ("",),
    *,
    seed: int = 0,
    vocab_size: int = 512,
    tokenizer: Any = None,
    **sizes: Any,
) -> Path:
    """Write a random model of a layout with its processor as a local model folder, and return the folder.

    Args:
        layout: a name of `LAYOUTS`.
        folder: where to write; made if missing.
        texts: what the merges of the small tokenizer are learned from.
        seed: of the weights.
        vocab_size: of the small tokenizer.
        tokenizer: a ready tokenizer that has the special tokens of the layout, instead of a small one.
        sizes: further arguments of the layout's function.

    Raises:
        ValueError: for an unknown layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} must be one of {', '.join(LAYOUTS)}")
    chosen = LAYOUTS[layout]
    if tokenizer is None:
        tokenizer = build_tokenizer(
            texts, vocab_size=vocab_size, named_tokens=chosen.named_tokens, extra_tokens=chosen.extra_tokens
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = chosen.build(tokenizer, **sizes)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)
