"""Shapes of published models, as in their config.json at the Hugging Face hub, for tests that cannot download them."""

from typing import Any

import transformers as tf

QWEN2_5_VISION: dict[str, Any] = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
QWEN3_VISION_24: dict[str, Any] = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "deepstack_visual_indexes": [5, 11, 17],
}
QWEN3_VISION_27: dict[str, Any] = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "deepstack_visual_indexes": [8, 16, 24],
}
SIGLIP_SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
SIGLIP_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


def text(hidden: int, intermediate: int, layers: int, heads: int, keys: int, vocabulary: int) -> dict[str, Any]:
    """The sizes of a language model under their usual names."""
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "vocab_size": vocabulary,
    }


def qwen2_5_vl(sizes: dict[str, Any], *, tied: bool) -> Any:
    """A config of Qwen2.5-VL."""
    vision = {**QWEN2_5_VISION, "out_hidden_size": sizes["hidden_size"]}
    text_config = {**sizes, "tie_word_embeddings": tied}
    return tf.Qwen2_5_VLConfig(text_config=text_config, vision_config=vision, tie_word_embeddings=tied)


def qwen3_vl(sizes: dict[str, Any], vision: dict[str, Any], *, tied: bool) -> Any:
    """A config of Qwen3-VL."""
    vision = {**vision, "patch_size": 16, "out_hidden_size": sizes["hidden_size"]}
    text_config = {**sizes, "head_dim": 128, "tie_word_embeddings": tied}
    return tf.Qwen3VLConfig(text_config=text_config, vision_config=vision, tie_word_embeddings=tied)


def smolvlm(sizes: dict[str, Any], vision: dict[str, Any], side: int, patch: int, scale: int) -> Any:
    """A config of SmolVLM2."""
    return tf.SmolVLMConfig(
        text_config={**sizes, "model_type": "llama", "head_dim": 64},
        vision_config={**vision, "image_size": side, "patch_size": patch},
        scale_factor=scale,
        image_token_id=49190,
        pad_token_id=2,
    )


def internvl3(sizes: dict[str, Any]) -> Any:
    """A config of InternVL3 in Hugging Face form, with its 300M vision tower."""
    return tf.InternVLConfig(
        text_config={**sizes, "model_type": "qwen2"}, vision_config={"attention_bias": True}, tie_word_embeddings=False
    )


CONFIGS = {
    "Qwen/Qwen2.5-VL-3B-Instruct": lambda: qwen2_5_vl(text(2048, 11008, 36, 16, 2, 151936), tied=True),
    "Qwen/Qwen2.5-VL-7B-Instruct": lambda: qwen2_5_vl(text(3584, 18944, 28, 28, 4, 152064), tied=False),
    "Qwen/Qwen3-VL-4B-Instruct": lambda: qwen3_vl(text(2560, 9728, 36, 32, 8, 151936), QWEN3_VISION_24, tied=True),
    "Qwen/Qwen3-VL-8B-Instruct": lambda: qwen3_vl(text(4096, 12288, 36, 32, 8, 151936), QWEN3_VISION_27, tied=False),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": lambda: smolvlm(
        text(2048, 8192, 24, 32, 32, 49280), SIGLIP_SO400M, side=384, patch=14, scale=3
    ),
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": lambda: smolvlm(
        text(960, 2560, 32, 15, 5, 49280), SIGLIP_BASE, side=512, patch=16, scale=4
    ),
    "OpenGVLab/InternVL3-2B-hf": lambda: internvl3(text(1536, 8960, 28, 12, 2, 151674)),
    "OpenGVLab/InternVL3-8B-hf": lambda: internvl3(text(3584, 18944, 28, 28, 4, 151674)),
}
# Numbers of parameters of the published weights, as the hub counts them.
PARAMETERS = {
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "Qwen/Qwen3-VL-4B-Instruct": 4_437_815_808,
    "Qwen/Qwen3-VL-8B-Instruct": 8_767_123_696,
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": 2_246_784_880,
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": 507_482_304,
    "OpenGVLab/InternVL3-2B-hf": 2_088_957_440,
    "OpenGVLab/InternVL3-8B-hf": 7_944_373_760,
}
# Image tokens, patches and bytes of one image of 1,003,520 pixels; InternVL and SmolVLM cut it into all their tiles.
LARGEST_IMAGE = {
    "qwen2_5_vl": (1280, 5120, 5120 * 3 * 2 * 14 * 14 * 4),
    "qwen3_vl": (980, 3920, 3920 * 3 * 2 * 16 * 16 * 4),
    "smolvlm": (17 * 81, 17 * 27 * 27, 17 * 3 * 384 * 384 * 4),
    "internvl": (13 * 256, 13 * 32 * 32, 13 * 3 * 448 * 448 * 4),
}
