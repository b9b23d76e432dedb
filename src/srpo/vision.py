"""What the contrasts need to know of a vision-language model: its images, its patches, its vision tower.

Works on PIL images and transformers' configs and processors; every layout that transformers names in the common way
(Qwen-VL, SmolVLM and Idefics3, LLaVA, InternVL, ...) goes through the same functions.
"""

import math
from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import nn
from transformers.image_processing_utils import select_best_resolution
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

VISION_INPUTS = (
    "pixel_values",
    "image_grid_thw",
    "pixel_attention_mask",
    "spatial_shapes",
    "image_sizes",
    "image_position_ids",
)
DEFAULT_PATCH = 14
PLACEHOLDER_TOKENS = ("image_token", "video_token", "audio_token")
VISION_TOWER_NAMES = ("visual", "vision_tower", "vision_model", "vision_encoder")


def message_images(messages: Sequence[dict[str, Any]] | str) -> list[Image.Image]:
    """The images inside the content parts of a conversation, in order; [] for a prompt that is a text."""
    if isinstance(messages, str):
        return []
    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    return [part["image"] for part in parts if part["type"] == "image" and part.get("image") is not None]


def column_images(row: dict[str, Any]) -> list[Image.Image]:
    """The images in the `images` or `image` column of a data row; [] for a row of text."""
    if "images" in row:
        return list(row["images"] or [])
    return [] if row.get("image") is None else [row["image"]]


def rows_with_image_lists(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Data rows whose `images` are lists, [] for text; unchanged where there is no column of images.

    TRL takes a batch of [] for text, but asks the processor for the images of a batch of None, which stops on them.
    """
    if not rows or not {"image", "images"} & rows[0].keys():
        return rows
    return [{**row, "images": column_images(row)} for row in rows]


def patch_size(
    config: Any, image_processor: Any, image: Image.Image, grid: Sequence[int] | None
) -> tuple[float, float]:
    """Width and height of one patch of the model, in pixels of the image as it is before resizing.

    With a grid (t, h, w) of patches, as Qwen-VL's processors return, it is exact: (width / w, height / h). Other
    layouts resize to a size from which the scale follows, patch_size * (image side / size): a canvas of tiles chosen by
    aspect ratio (InternVL, LLaVA-NeXT), or `image_processor.size`.

    Args:
        config: the model's config; `config.vision_config.patch_size` is in processed pixels.
        image_processor: its `size` names shortest_edge, longest_edge, or height and width.
        image: an input image.
        grid: (t, h, w), or None for layouts without one.
    """
    width, height = image.size
    if grid is not None:
        return width / int(grid[2]), height / int(grid[1])
    patch = getattr(getattr(config, "vision_config", None), "patch_size", DEFAULT_PATCH)
    patch = patch[0] if isinstance(patch, (list, tuple)) else patch
    size = dict(getattr(image_processor, "size", None) or {})
    if pinpoints := getattr(image_processor, "image_grid_pinpoints", None):
        best_height, best_width = select_best_resolution((height, width), pinpoints)
        scale = max(width / best_width, height / best_height)
        return patch * scale, patch * scale
    if size.get("height") and size.get("width"):
        columns, rows = _tiles(image_processor, image, (size["height"], size["width"]))
        return patch * width / (columns * size["width"]), patch * height / (rows * size["height"])
    if size.get("shortest_edge"):
        scale = min(width, height) / size["shortest_edge"]
    elif size.get("longest_edge"):
        scale = max(width, height) / size["longest_edge"]
    else:
        scale = 1.0
    return patch * scale, patch * scale


def _tiles(image_processor: Any, image: Image.Image, tile: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows of the canvas of tiles that an image is cut into; (1, 1) for layouts that do not cut."""
    limits = [getattr(image_processor, name, None) for name in ("min_patches", "max_patches")]
    if None in limits:
        return 1, 1
    columns, rows = get_optimal_tiled_canvas((image.height, image.width), tile, *limits)
    return columns, rows


def placeholder_token_ids(config: Any, processor: Any) -> list[int]:
    """Ids that stand for an image, a video or a sound in the prompt, by every name that configs and processors use."""
    tokenizer = getattr(processor, "tokenizer", processor)
    vocabulary = tokenizer.get_vocab()
    named = [str(getattr(owner, name, None)) for owner in (processor, tokenizer) for name in PLACEHOLDER_TOKENS]
    candidates = [vocabulary.get(token) for token in named]
    for suffix in ("id", "index"):
        candidates += [
            getattr(owner, f"{name}_{suffix}", None) for owner in (config, processor) for name in PLACEHOLDER_TOKENS
        ]
    return sorted({token_id for token_id in candidates if isinstance(token_id, int) and token_id >= 0})


def drop_unused_vision_inputs(
    image_token_id: int, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any] | None:
    """Forward pre-hook: rows without an image token go through without image inputs.

    A micro-batch of a mixed data set may hold rows of text only. Its slice of the pixels is empty, or padding, and
    every model stops on that.
    """
    if kwargs.get("pixel_values") is None or kwargs.get("input_ids") is None:
        return None
    if (kwargs["input_ids"] == image_token_id).any():
        return None
    return args, {name: value for name, value in kwargs.items() if name not in VISION_INPUTS}


def vision_tower(model: nn.Module) -> nn.Module:
    """The module that encodes images, without the projector into the language model where that is a module apart.

    Raises:
        ValueError: when the model has no module by a known name.
    """
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] in VISION_TOWER_NAMES:
            return module
    raise ValueError(
        f"{type(model).__name__} has no module named {', '.join(VISION_TOWER_NAMES)}, so freeze_vision_tower has "
        "nothing to freeze; leave it off and freeze the parameters yourself"
    )


def freeze_vision_tower(model: nn.Module) -> int:
    """Exclude the vision tower from training; returns the number of parameters frozen."""
    parameters = list(vision_tower(model).parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    return sum(math.prod(parameter.shape) for parameter in parameters)
