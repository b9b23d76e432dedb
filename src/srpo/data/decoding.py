"""Images as the model sees them: every picture that Pillow reads -> upright, opaque RGB of 8 bits a channel."""

import io
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.utils.file_utils import is_local_path, xopen
from PIL import ExifTags, Image, UnidentifiedImageError

from srpo.data.schema import DataError

# Raster formats that Pillow decodes itself; others run programs (EPS), draw text, or hold no picture.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "TGA", "QOI")
HEAD = 32  # bytes that a message shows of what is no picture
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8])  # turns that exchange width and height
_WHITE = (255, 255, 255, 255)


@dataclass
class RowImage(datasets.Image):
    """A column of images that decodes with `to_rgb`; it is saved as a plain `datasets.Image`, readable anywhere.

    Only the first frame of an animation is read. Formats other than FORMATS are refused. A picture of more than
    `max_pixels` is shrunk to that many, its shape kept.
    """

    max_pixels: int | None = None

    def __post_init__(self) -> None:
        self.mode = "RGB"  # as a default of the field it would not be written when the features are saved

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> Image.Image:
        """{"bytes", "path"} -> upright RGB image; an image is returned as it is.

        Raises:
            DataError: for a picture that cannot be read; the message names it.
        """
        if not self.decode or not isinstance(value, Mapping):
            return super().decode_example(value, token_per_repo_id)
        place = value["path"] or "stored in the data set"
        try:
            if value["bytes"] is None and value["path"] and not is_local_path(value["path"]):
                remote = datasets.Image().decode_example(value, token_per_repo_id)  # in a streamed hub set
                return shrunk(to_rgb(remote), self.max_pixels)
            with open_image(value) as image:
                return shrunk(to_rgb(image), self.max_pixels)
        except Exception as error:  # a broken file may raise anything inside Pillow's plugins
            raise DataError(
                f"image {place} cannot be read ({error or type(error).__name__}); replace the file or remove the row: "
                "srpo data check finds all such rows"
            ) from error


def open_image(entry: Mapping[str, Any]) -> Image.Image:
    """Open {"bytes", "path"} without decoding it; bytes win over a path, which may be of a streamed hub set.

    Raises:
        UnidentifiedImageError: for what is no picture of FORMATS, with the first bytes of it.
        Exception: whatever else Pillow's plugins raise.
    """
    data, path = entry["bytes"], entry["path"]
    if data is None and not path:
        raise ValueError("the cell has neither bytes nor a path")
    if data is None and not is_local_path(path):
        with xopen(path, "rb") as file:
            data = file.read()
    try:
        return Image.open(path if data is None else io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        if data is None:
            with Path(path).open("rb") as file:
                data = file.read(HEAD)
        raise UnidentifiedImageError(f"no picture that can be read begins with {data[:HEAD]!r}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened picture -> RGB: turned as its EXIF orientation says, transparency on white, 16 bits scaled to 8.

    Values of 16 bits are divided by 257; 32-bit integers and floats by what maps the smallest of the full scales 1
    (floats), 255, 65,535 and 2^32 - 1 that holds the largest value to 255. CMYK and other colours are converted by
    Pillow.
    """
    image.load()
    turn = turn_of(image)
    image = image if turn is None else image.transpose(turn)
    if image.mode.startswith(("I", "F")):
        image = _to_eight_bits(image)
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, _WHITE), picture).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def shrunk(image: Image.Image, max_pixels: int | None) -> Image.Image:
    """The picture, scaled down to at most `max_pixels` (None: any number) with its shape kept."""
    size = shrunk_size(image.width, image.height, max_pixels)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def shrunk_size(width: int, height: int, max_pixels: int | None) -> tuple[int, int]:
    """Width and height of a picture that `shrunk` has seen."""
    if max_pixels is None or width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """How the EXIF orientation says to turn the picture; None for not at all and for EXIF that cannot be read."""
    if image.format == "TIFF":  # Pillow has turned it already
        return None
    try:  # PNG's own getexif would decode the picture
        return _TURNS.get(Image.Image.getexif(image).get(ExifTags.Base.Orientation))  # type: ignore[arg-type]
    except (SyntaxError, ValueError, TypeError, LookupError, OSError, ArithmeticError, struct.error):
        return None


def _to_eight_bits(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0).clip(min=0)
    largest = values.max(initial=0.0)
    scales = [65535] if image.mode.startswith("I;16") else [255, 65535, 2**32 - 1]
    scales = [1, *scales] if image.mode == "F" else scales
    full = next((scale for scale in scales if largest <= scale), largest)
    return Image.fromarray((values * (255 / full) + 0.5).astype(np.uint8))
