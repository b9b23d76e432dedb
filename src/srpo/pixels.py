"""The image inputs of a rollout batch by rollout, as they are and corrupted.

A layout indexes its pixels by image, by tile, by patch or by rollout; `select_vision` hides which. Corrupted images are
made when a forward pass asks for them, once per prompt, so they never occupy the device for the whole batch.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import numpy as np
import torch
from PIL import Image

from srpo.corruption import corrupt, corruption_seed
from srpo.vision import column_images, message_images, patch_size

LOOKED_AT = 100  # rows in which another image is sought


def select_vision(
    vision: Mapping[str, torch.Tensor],
    num_images: Sequence[int] | None,
    num_tiles: Sequence[int] | None,
    rows: Sequence[int],
) -> dict[str, torch.Tensor]:
    """The image inputs of some rollouts, in the order of `rows`, which may repeat.

    Args:
        vision: the model's image inputs of the whole batch.
        num_images: images of each rollout, or None where the batch has none.
        num_tiles: tiles of each rollout, for layouts that index pixels by tile.
        rows: indices of rollouts.
    """
    selected = {}
    for name, value in vision.items():
        sizes = _sizes(name, vision, num_images, num_tiles)
        starts = [0, *accumulate(sizes)] if sizes is not None else None
        index = rows if starts is None else [i for row in rows for i in range(starts[row], starts[row + 1])]
        selected[name] = value[torch.as_tensor(index, dtype=torch.long, device=value.device)]
    return selected


def _sizes(
    name: str,
    vision: Mapping[str, torch.Tensor],
    num_images: Sequence[int] | None,
    num_tiles: Sequence[int] | None,
) -> Sequence[int] | None:
    """How many rows of an image input belong to each rollout; None for one each."""
    if name in ("image_grid_thw", "image_position_ids", "image_sizes"):
        return num_images
    if name == "spatial_shapes" or (name == "pixel_attention_mask" and "spatial_shapes" in vision):
        return num_tiles
    pixels = vision["pixel_values"]
    if name != "pixel_values" or padded_per_rollout(pixels):
        return None
    if "image_grid_thw" in vision:
        patches = iter(vision["image_grid_thw"].prod(-1).tolist())
        return [sum(next(patches) for _ in range(count)) for count in num_images or []]
    if num_tiles is not None:
        return num_tiles
    return num_images if num_images is not None and pixels.size(0) == sum(num_images) else None


def padded_per_rollout(pixel_values: torch.Tensor | None) -> bool:
    """Whether pixels are (rollouts, tiles, channels, height, width), padded to the most tiles of the batch."""
    return pixel_values is not None and pixel_values.dim() == 5


def rows_with_images(vision: Mapping[str, torch.Tensor], num_images: Sequence[int] | None, count: int) -> list[bool]:
    """(B,) whether each rollout's prompt has an image; padding of another rollout's tiles is none.

    Args:
        vision: the model's image inputs of the whole batch.
        num_images: images of each rollout, or None where the batch has none.
        count: B.
    """
    pixels = vision.get("pixel_values")
    if pixels is None:
        return [False] * count
    if padded_per_rollout(pixels) and pixels.size(0) == count:
        return pixels.flatten(1).any(1).tolist()
    return [images > 0 for images in num_images or [1] * count]


def prompt_key(text: str, images: Sequence[Image.Image]) -> bytes:
    """A stable name for a prompt: 16 bytes of blake2b over its text and the pixels of its images.

    Raises:
        TypeError: when an image is not a PIL image.
    """
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    for image in images:
        if not isinstance(image, Image.Image):
            raise TypeError(
                f"image {str(image)[:80]!r} of a prompt is a {type(image).__name__} but must be a PIL image; decode it "
                "first, for example by a column of type datasets.Image()"
            )
        digest.update(repr((image.size, image.mode)).encode())
        digest.update(image.tobytes())
    return digest.digest()


@dataclass(frozen=True)
class Prompts:
    """The prompts of a rollout batch: what the processor reads, and which rollouts share one.

    Attributes:
        texts: per rollout, the prompt after the chat template.
        images: per rollout, its images.
        keys: per rollout, `prompt_key`; the same on every rank.
        groups: per rollout, the first rollout of this process with the same prompt, token by token and pixel by pixel.
    """

    texts: list[str]
    images: list[list[Image.Image]]
    keys: list[bytes]
    groups: list[int]

    @classmethod
    def of(cls, texts: list[str], images: list[list[Image.Image]], tokens: Sequence[Sequence[int]]) -> "Prompts":
        """Find the rollouts that share a prompt, by its pixels and by the tokens that the policy reads.

        Args:
            texts: per rollout, the prompt after the chat template.
            images: per rollout, its images.
            tokens: per rollout, its prompt tokens without padding.
        """
        keys = [prompt_key(text, row) for text, row in zip(texts, images, strict=True)]
        first: dict[Any, int] = {}
        seen = zip(keys, map(tuple, tokens), strict=True)
        return cls(texts, images, keys, [first.setdefault(prompt, row) for row, prompt in enumerate(seen)])


@dataclass(frozen=True)
class CorruptedVision:
    """The image inputs of some rollouts with every image corrupted; call it with the indices of the rollouts.

    Rollouts of one prompt share their corrupted images, which depend on (run seed, step, prompt) alone.

    Attributes:
        prompts: the prompts of the batch.
        original: function rows -> image inputs of the original images, whose layout the corrupted ones must have.
        num_images: as in `select_vision`.
        num_tiles: as in `select_vision`.
        processor: the model's processor.
        kind: a name of `srpo.corruption.CORRUPTIONS`.
        run_seed: seed of the run.
        step: optimizer step of the rollouts.
        options: function (row, image of the row, seed) -> options of the corruption.
    """

    prompts: Prompts
    original: Callable[[Sequence[int]], Mapping[str, torch.Tensor]]
    num_images: list[int] | None
    num_tiles: list[int] | None
    processor: Any
    kind: str
    run_seed: int
    step: int
    options: Callable[[int, int, int], dict[str, Any]]

    def images(self, row: int) -> list[Image.Image]:
        """The corrupted images of a rollout."""
        seed = corruption_seed(self.run_seed, self.step, self.prompts.keys[row])
        return [
            corrupt(image, self.kind, seed=seed + i, **self.options(row, i, seed))
            for i, image in enumerate(self.prompts.images[row])
        ]

    def __call__(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """The image inputs of these rollouts, in the dtype and on the device of the original ones.

        Raises:
            ValueError: when the layout of the corrupted inputs differs from the original one.
        """
        original = self.original(rows)
        prompts = list(dict.fromkeys(self.prompts.groups[row] for row in rows))  # each processed once
        if not any(self.prompts.images[row] for row in prompts):
            return dict(original)
        processed = self.processor(
            images=[self.images(row) for row in prompts],
            text=[self.prompts.texts[row] for row in prompts],
            padding=True,
            return_tensors="pt",
        )
        corrupted = select_vision(
            {name: processed[name] for name in original if name in processed},
            self.num_images and [self.num_images[row] for row in prompts],
            self.num_tiles and [self.num_tiles[row] for row in prompts],
            [prompts.index(self.prompts.groups[row]) for row in rows],
        )
        return _in_layout_of(original, corrupted)


def _in_layout_of(
    original: Mapping[str, torch.Tensor], corrupted: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Corrupted image inputs with the padding, dtype and device of the original ones.

    Raises:
        ValueError: when an input is missing or its shape or grid differs, because the image tokens of the prompt would
            then belong to other features.
    """
    changed = {}
    for name, value in original.items():
        other = corrupted.get(name)
        if other is not None:
            other = other.to(device=value.device, dtype=value.dtype)
            if padded_per_rollout(original["pixel_values"]) and 0 < other.size(1) < value.size(1):
                other = torch.cat(
                    [other, other.new_zeros(other.size(0), value.size(1) - other.size(1), *other.shape[2:])], 1
                )
        if other is None or other.shape != value.shape or (name != "pixel_values" and not other.equal(value)):
            shape = None if other is None else tuple(other.shape)
            raise ValueError(
                f"corrupted image input {name!r} has shape {shape} where the original has {tuple(value.shape)}; "
                "a corruption must keep the size of the image"
            )
        changed[name] = other
    return changed


def corruption_options(
    kind: str,
    images: Sequence[Sequence[Image.Image]],
    *,
    ratio: float,
    config: Any,
    image_processor: Any,
    image_grid_thw: torch.Tensor | None,
    dataset: Any,
) -> Callable[[int, int, int], dict[str, Any]]:
    """Function (row, image of the row, seed) -> options of a corruption, from the layout of the model and the data.

    Args:
        kind: a name of `srpo.corruption.CORRUPTIONS`.
        images: per row, its images.
        ratio: share of the image that patch_mask masks.
        config: the model's config.
        image_processor: the model's.
        image_grid_thw: (images, 3) grids of all images, for layouts that have them.
        dataset: where other_image draws from.
    """
    grid = grids(image_grid_thw, [len(row) for row in images])

    def options(row: int, i: int, seed: int) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        if kind in ("patch_mask", "patch_shuffle"):
            chosen["patch_size"] = patch_size(config, image_processor, images[row][i], grid[row][i])
        if kind == "patch_mask":
            chosen["ratio"] = ratio
        if kind == "other_image":
            chosen["other"] = other_image(dataset, images[row][i], seed + i)
        return chosen

    return options


def has_other_images(dataset: Any) -> bool:
    """Whether `other_image` has something to draw: two different images in the first 100 rows, and no stream."""
    if not hasattr(dataset, "__len__"):
        return False
    seen = set()
    for i in range(min(LOOKED_AT, len(dataset))):
        seen |= {prompt_key("", [image]) for image in _row_images(dataset[i])[:1]}
        if len(seen) > 1:
            return True
    return False


def other_image(dataset: Any, image: Image.Image, seed: int) -> Image.Image:
    """An image of another row, drawn from the whole data set so that the draw does not depend on sharding.

    Raises:
        ValueError: when neither 100 draws nor the first 100 rows have an image with other pixels.
    """
    rng = np.random.default_rng(seed)
    draws = (int(rng.integers(len(dataset))) for _ in range(LOOKED_AT))
    for i in chain(draws, range(min(LOOKED_AT, len(dataset)))):
        candidates = _row_images(dataset[i])
        if candidates and prompt_key("", candidates[:1]) != prompt_key("", [image]):
            return candidates[0]
    raise ValueError(
        f"corruption 'other_image' found no other image in {LOOKED_AT} rows of the data set; choose another corruption"
    )


def _row_images(row: Any) -> list[Image.Image]:
    return column_images(row) or message_images(row["prompt"])


def grids(image_grid_thw: torch.Tensor | None, counts: Sequence[int]) -> list[list[list[int] | None]]:
    """The (t, h, w) grid of each image of each row, or None where the layout has no grids."""
    if image_grid_thw is None:
        return [[None] * count for count in counts]
    flat = iter(image_grid_thw.tolist())
    return [[next(flat) for _ in range(count)] for count in counts]
