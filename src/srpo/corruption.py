"""Image -> corrupted image, for the perception contrast (docs/method.md, section 2).

W, H: width and height of an image in pixels. A corrupted image is a new RGB image of the same size; the input is never
written to. All randomness comes from the seed.
"""

import hashlib
import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

Corruption = Callable[..., Image.Image]
PatchSize = float | tuple[float, float]

CORRUPTIONS: dict[str, Corruption] = {}
_ROUNDING = 1e-9  # a pixel that starts where a cell starts lies in it, whatever the last bit of the quotient says


def register(kind: str) -> Callable[[Corruption], Corruption]:
    """Decorator: make function (RGB image, rng, *, options) -> RGB image of the same size available as `kind`."""

    def add(function: Corruption) -> Corruption:
        CORRUPTIONS[kind] = function
        return function

    return add


def corrupt(image: Image.Image, kind: str = "patch_mask", *, seed: int, **options: Any) -> Image.Image:
    """A corrupted copy of an image: RGB, same size; a function of (image, kind, seed, options) alone.

    Args:
        image: PIL image of any mode; transparency is put on white, as transformers' image processors do.
        kind: a name in `CORRUPTIONS`.
        seed: non-negative integer; see `corruption_seed`.
        options: options of the kind, documented at its function.

    Raises:
        TypeError: when `image` is not a PIL image.
        ValueError: for an image without pixels, an unknown kind or option, or a value out of range.
    """
    if not isinstance(image, Image.Image):
        raise TypeError(f"image is a {type(image).__name__} but must be a PIL image; open or convert it first")
    if 0 in image.size:
        raise ValueError(f"image of size {image.size} must have at least one pixel; drop the row")
    if kind not in CORRUPTIONS:
        raise ValueError(f"corruption {kind!r} must be one of {', '.join(CORRUPTIONS)}; choose one of these")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed {seed!r} must be a non-negative integer; take one from corruption_seed")
    known = [name for name, p in inspect.signature(CORRUPTIONS[kind]).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise ValueError(f"option {name!r} must be an option of corruption {kind!r} ({allowed}); remove it")
    corrupted = CORRUPTIONS[kind](to_rgb(image), np.random.default_rng(seed), **options)
    # EXIF orientation included: a loader that turns the original upright must turn its corrupted twin as well
    corrupted.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return corrupted


def corruption_seed(run_seed: int, step: int, prompt_key: bytes | str) -> int:
    """A seed in [0, 2^63) from run, optimizer step and prompt; the same on every rank, machine and Python process.

    seed = blake2b("run_seed:step:" + prompt_key, 8 bytes, big-endian) >> 1
    """
    key = prompt_key.encode("utf-8", "surrogatepass") if isinstance(prompt_key, str) else prompt_key
    digest = hashlib.blake2b(f"{int(run_seed)}:{int(step)}:".encode() + key, digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def to_rgb(image: Image.Image) -> Image.Image:
    """A new RGB image with the colours that transformers' image processors see: transparency on white."""
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


@register("patch_mask")
def patch_mask(
    image: Image.Image, rng: np.random.Generator, *, ratio: float = 0.6, patch_size: PatchSize = 14
) -> Image.Image:
    """Black squares on a random choice of cells of a grid, drawn without replacement.

    n = ceil(W / w) * ceil(H / h) cells; round(ratio * n) are masked, at least one, and all only if ratio or n is 1.
    Source: PAPO (2507.06448), random masking with ratio 0.6; the exact count and the cell size are a [choice].

    Args:
        ratio: share of the cells, in (0, 1].
        patch_size: side of a cell, or its (w, h), in pixels of this image; fractions are fine, less than 1 counts as 1.
    """
    _require("ratio", ratio, 0 < _number(ratio) <= 1, "in (0, 1]", "0.6")
    width, height = _patch(patch_size)
    column = np.floor(np.arange(image.width) / width + _ROUNDING).astype(int)  # (W,)
    row = np.floor(np.arange(image.height) / height + _ROUNDING).astype(int)  # (H,)
    cells = (int(column[-1]) + 1) * (int(row[-1]) + 1)
    most = cells if ratio == 1 or cells == 1 else cells - 1
    masked = np.zeros(cells, dtype=bool)
    masked[rng.permutation(cells)[: min(max(round(ratio * cells), 1), most)]] = True
    pixels = np.array(image)
    pixels[masked[row[:, None] * (column[-1] + 1) + column]] = 0
    return Image.fromarray(pixels)


@register("patch_shuffle")
def patch_shuffle(image: Image.Image, rng: np.random.Generator, *, patch_size: PatchSize = 14) -> Image.Image:
    """The full cells of a grid exchanged along one random cycle, so that none stays; strips at the border do. [choice]

    Args:
        patch_size: side of a cell, or its (w, h), in pixels of this image, rounded; the longer side is halved until
            there are two full cells. An image of one pixel has none to exchange and stays as it is.
    """
    width, height = (min(max(round(side), 1), full) for side, full in zip(_patch(patch_size), image.size, strict=True))
    while (columns := image.width // width) * (rows := image.height // height) < 2 and (width > 1 or height > 1):
        width, height = (width // 2, height) if width >= height else (width, height // 2)
    pixels = np.array(image)
    inner = pixels[: rows * height, : columns * width]
    cells = inner.reshape(rows, height, columns, width, 3).swapaxes(1, 2).reshape(rows * columns, height, width, 3)
    cycle = rng.permutation(rows * columns)
    shuffled = np.empty_like(cells)
    shuffled[cycle] = cells[np.roll(cycle, 1)]
    inner[:] = shuffled.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(inner.shape)
    return Image.fromarray(pixels)


@register("gaussian_noise")
def gaussian_noise(image: Image.Image, rng: np.random.Generator, *, std: float = 0.5) -> Image.Image:
    """Independent noise on every channel of every pixel: clip(x + 255 * std * N(0, 1), 0, 255). [choice]

    Args:
        std: standard deviation as a share of the full range, > 0.
    """
    _require("std", std, 0 < _number(std) < math.inf, "above 0 and finite", "0.5")
    noise = rng.standard_normal((image.height, image.width, 3)) * (255 * std)
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).round().astype(np.uint8))


@register("gaussian_blur")
def gaussian_blur(image: Image.Image, rng: np.random.Generator, *, radius: float = 0.05) -> Image.Image:
    """Convolution with a Gaussian of standard deviation max(1, radius * min(W, H)) pixels; not random. [choice]

    Args:
        radius: standard deviation as a share of the shorter side, > 0.
    """
    _require("radius", radius, 0 < _number(radius) < math.inf, "above 0 and finite", "0.05")
    return image.filter(ImageFilter.GaussianBlur(max(1.0, radius * min(image.size))))


@register("blank")
def blank(image: Image.Image, rng: np.random.Generator, *, color: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """One colour everywhere; not random. Black, as PAPO's masked squares. [choice]

    Args:
        color: red, green and blue, integers in [0, 255].
    """
    if not isinstance(color, (tuple, list)) or len(color) != 3 or not all(c in range(256) for c in color):
        raise ValueError(f"color {color!r} must be three integers in [0, 255]; write black as (0, 0, 0)")
    return Image.new("RGB", image.size, tuple(int(c) for c in color))


@register("downsample")
def downsample(
    image: Image.Image, rng: np.random.Generator, *, factor: float = 8.0, resample: str = "bilinear"
) -> Image.Image:
    """Averaged down to (round(W / factor), round(H / factor)) pixels, at least one, and back up; not random. [choice]

    Args:
        factor: reduction of each side, > 1.
        resample: way back up, "bilinear" or "nearest".
    """
    ways = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}
    _require("factor", factor, 1 < _number(factor) < math.inf, "above 1 and finite", "8")
    if resample not in ways:
        raise ValueError(f"resample {resample!r} must be one of {', '.join(ways)}; choose one of these")
    small = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, ways[resample])


@register("other_image")
def other_image(image: Image.Image, rng: np.random.Generator, *, other: Image.Image | None = None) -> Image.Image:
    """Another image, resized to the size of this one; not random. [choice]

    Args:
        other: the other image, required.
    """
    if not isinstance(other, Image.Image) or 0 in other.size:
        raise ValueError(f"other is {other!r} but must be a PIL image with pixels; pass an image of another row")
    return to_rgb(other).resize(image.size, Image.Resampling.BICUBIC)


def _patch(patch_size: PatchSize) -> tuple[float, float]:
    """Width and height of a cell in pixels, at least 1."""
    sides = tuple(patch_size) if isinstance(patch_size, (tuple, list)) else (patch_size, patch_size)
    valid = len(sides) == 2 and all(0 < _number(side) < math.inf for side in sides)
    _require("patch_size", patch_size, valid, "of pixels above 0, or two (width, height)", "14")
    return max(1.0, float(sides[0])), max(1.0, float(sides[1]))


def _number(value: Any) -> float:
    """The value, or NaN, which lies in no range, for what is not a real number."""
    return float(value) if isinstance(value, Real) else math.nan


def _require(name: str, value: Any, valid: bool, rule: str, example: str) -> None:
    if not valid:
        raise ValueError(f"{name} {value!r} must be a number {rule}; choose one such as {example}")


def check_ratio(ratio: float) -> None:
    """Raise ValueError (value, rule, remedy) unless `ratio` can be the share that patch_mask masks."""
    if not 0 < ratio <= 1:
        raise ValueError(
            f"corruption_ratio {ratio} must lie in (0, 1]; it is the share of the image that is masked, 0.6 by default"
        )
