"""Drawing primitives of the visual world: 96 x 96 RGB pictures on a 3 x 3 grid of 32-pixel cells.

Shapes are drawn once at eight times their size, reduced, and kept as sprites, so that a picture is a few pastes.
"""

import random
from functools import lru_cache

from PIL import Image, ImageDraw

SIZE = 96
CELL = 32
SPRITE = 28
_OVERSAMPLING = 8

RGB = {
    "red": (217, 45, 48),
    "blue": (36, 98, 219),
    "green": (28, 148, 72),
    "yellow": (246, 190, 12),
    "white": (255, 255, 255),
}
INK = (40, 44, 52)
SHADES = (-14, -7, 0, 7, 14)

_LOW, _MID, _HIGH = 0.25, 0.5, 0.75
_PIPS = {
    1: ((_MID, _MID),),
    2: ((_LOW, _HIGH), (_HIGH, _LOW)),
    3: ((_LOW, _HIGH), (_MID, _MID), (_HIGH, _LOW)),
    4: ((_LOW, _LOW), (_LOW, _HIGH), (_HIGH, _LOW), (_HIGH, _HIGH)),
    5: ((_LOW, _LOW), (_LOW, _HIGH), (_MID, _MID), (_HIGH, _LOW), (_HIGH, _HIGH)),
    6: ((_LOW, _LOW), (_LOW, _MID), (_LOW, _HIGH), (_HIGH, _LOW), (_HIGH, _MID), (_HIGH, _HIGH)),
}


def shaded(color: str, shade: int) -> tuple[int, int, int]:
    """The colour with every channel moved by `shade`, within 0 to 255."""
    red, green, blue = (min(255, max(0, channel + shade)) for channel in RGB[color])
    return red, green, blue


def outline(color: str) -> tuple[int, int, int]:
    """A darker relative of the colour, for edges."""
    if color == "white":
        return INK
    red, green, blue = (channel * 2 // 3 for channel in RGB[color])
    return red, green, blue


def background(rng: random.Random) -> Image.Image:
    """A blank light picture whose tint varies a little."""
    grey = rng.randint(241, 250)
    return Image.new("RGB", (SIZE, SIZE), (grey, grey, min(255, grey + rng.randint(0, 4))))


def place(image: Image.Image, sprite: Image.Image, cell: int, rng: random.Random) -> None:
    """Paste a sprite into a cell of the 3 x 3 grid (0 to 8, reading order), up to 1 pixel off its centre."""
    x = cell % 3 * CELL + (CELL - SPRITE) // 2 + rng.randint(-1, 1)
    y = cell // 3 * CELL + (CELL - SPRITE) // 2 + rng.randint(-1, 1)
    image.paste(sprite, (x, y), sprite)


def shade(rng: random.Random) -> int:
    """One of the shades."""
    return rng.choice(SHADES)


@lru_cache(maxsize=256)
def tile(color: str, pips: int, shade: int) -> Image.Image:
    """A rounded tile with 1 to 6 pips, as on dice; pips are white, dark on white and yellow tiles."""
    n = SPRITE * _OVERSAMPLING
    image = Image.new("RGBA", (n, n), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, n - 1, n - 1), n // 6, shaded(color, shade), outline(color), n // 20)
    ink = INK if color in ("white", "yellow") else (255, 255, 255)
    radius = n * 0.105
    for x, y in _PIPS[pips]:
        pen.ellipse((x * n - radius, y * n - radius, x * n + radius, y * n + radius), ink)
    return image.reduce(_OVERSAMPLING)


@lru_cache(maxsize=256)
def shape(color: str, kind: str, shade: int) -> Image.Image:
    """A filled circle, square or triangle."""
    n = SPRITE * _OVERSAMPLING
    image = Image.new("RGBA", (n, n), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    fill, edge, width = shaded(color, shade), outline(color), n // 20
    low, high = n * 0.1, n * 0.9
    if kind == "circle":
        pen.ellipse((low * 0.8, low * 0.8, n - low * 0.8, n - low * 0.8), fill, edge, width)
    elif kind == "square":
        pen.rectangle((low * 1.2, low * 1.2, n - low * 1.2, n - low * 1.2), fill, edge, width)
    else:
        pen.polygon(((n / 2, low * 0.6), (high, high), (low, high)), fill, edge, width)
    return image.reduce(_OVERSAMPLING)
