"""What is wrong with a picture: one look at the header, or at every pixel. Nothing here raises, whatever the bytes."""

import contextlib
import hashlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset
from datasets.utils.file_utils import is_local_path, xopen
from PIL import Image, UnidentifiedImageError

from srpo.data.decoding import SIDEWAYS, open_image, turn_of
from srpo.data.problems import ASPECT_MAX, GIANT_PIXELS, GIANT_SIDE, TINY_SIDE, BadRow, RowProblem
from srpo.data.schema import DataError

BATCH = 64  # rows whose pictures are read while those of as many others are looked at
THREADS = 8  # Pillow decodes outside Python's lock
_LFS = "version https://git-lfs"
_REPLACE = "replace the file or remove the row"
_SHRINK = "make the image smaller or remove the row"


@dataclass(frozen=True)
class Inspection:
    """One picture: its problems, and what is known of it (empty where it cannot be opened).

    digest: hash of the file's bytes; "" unless asked for.
    """

    problems: list[RowProblem] = field(default_factory=list)
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    digest: str = ""


def image_problems(entry: Mapping[str, Any], *, decode: bool) -> list[RowProblem]:
    """The problems of one {"bytes", "path"}: of its header, or with `decode` of every pixel. Never raises."""
    return inspect_image(entry, decode=decode).problems


def find_bad_images(dataset: Dataset, *, decode: bool, progress: Callable[[int], Any] | None = None) -> list[BadRow]:
    """The problems of all pictures of a loaded data set, in the order of its rows.

    Args:
        dataset: rows of the schema.
        decode: read every pixel (finds truncated and broken pictures), not only the headers.
        progress: called with the number of rows that were looked at since the last call.

    Raises:
        DataError: for a data set without a column images.
    """
    inspected = inspect_rows(dataset, decode=decode, progress=progress)
    return [problem.of(row) for row, pictures in inspected for picture in pictures for problem in picture.problems]


def inspect_rows(
    dataset: Dataset, *, decode: bool, digest: bool = False, progress: Callable[[int], Any] | None = None
) -> Iterator[tuple[str, list[Inspection]]]:
    """(id, one Inspection a picture) of every row, on several threads with 2 * BATCH rows in memory at a time."""
    if "images" not in dataset.column_names:
        raise DataError("the data set has no column images; load it with srpo.data.load")
    table = dataset.select_columns(["id", "images"]).with_format("arrow")
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about what is reported here
        ahead: deque[list[tuple[str, list[Future[Inspection]]]]] = deque()
        for batch in table.iter(batch_size=BATCH):
            cells = zip(batch["id"].to_pylist(), batch["images"].to_pylist(), strict=True)
            ahead.append([(row, _submitted(pool, cell or [], decode, digest)) for row, cell in cells])
            if len(ahead) > 1:
                yield from _finished(ahead.popleft(), progress)
        for rows in ahead:
            yield from _finished(rows, progress)


def _submitted(
    pool: ThreadPoolExecutor, cell: Sequence[Mapping[str, Any]], decode: bool, digest: bool
) -> list["Future[Inspection]"]:
    return [
        pool.submit(inspect_image, entry, decode=decode, digest=digest, name=name)
        for entry, name in zip(cell, _names(cell), strict=True)
    ]


def _finished(
    rows: Sequence[tuple[str, list["Future[Inspection]"]]], progress: Callable[[int], Any] | None
) -> Iterator[tuple[str, list[Inspection]]]:
    for row, pictures in rows:
        inspected = [picture.result() for picture in pictures]
        if progress is not None:
            progress(1)
        yield row, inspected


def inspect_image(
    entry: Mapping[str, Any], *, decode: bool, digest: bool = False, name: str | None = None
) -> Inspection:
    """One {"bytes", "path"} as an Inspection; `name` is what reasons call it."""
    name = name or _names([entry])[0]
    try:
        _check_presence(entry, name)
        if digest and entry["bytes"] is None:
            entry = {**entry, "bytes": _read(entry["path"], name)}
        mark = hashlib.blake2b(entry["bytes"], digest_size=16).hexdigest() if digest else ""
        with _opened(entry, name) as image:
            return _inspect(image, decode, mark, name)
    except RowProblem as problem:
        return Inspection([problem])


def _read(path: str, name: str) -> bytes:
    try:
        with xopen(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise RowProblem("image_unreadable", f"{name} cannot be read ({error.strerror or error})", _REPLACE) from error


def _names(cell: Sequence[Mapping[str, Any]]) -> list[str]:
    plain = ["its image"] if len(cell) == 1 else [f"its image {i + 1}" for i in range(len(cell))]
    return [f"image {entry['path']}" if entry["path"] else name for entry, name in zip(cell, plain, strict=True)]


def _check_presence(entry: Mapping[str, Any], name: str) -> None:
    data, path = entry["bytes"], entry["path"]
    if data is None and not path:
        raise RowProblem("image_empty", f"{name} has neither bytes nor a path", "fill the cell or remove the row")
    if data is None and is_local_path(path) and not os.path.exists(path):
        raise RowProblem("image_missing", f"{name} does not exist", "correct the path or give image_root")
    if len(data) == 0 if data is not None else (os.path.isfile(path) and os.path.getsize(path) == 0):
        raise RowProblem("image_empty", f"{name} has no bytes", _REPLACE)


@contextlib.contextmanager
def _opened(entry: Mapping[str, Any], name: str) -> Iterator[Image.Image]:
    """The opened picture; whatever Pillow raises inside the block becomes a RowProblem."""
    try:
        with open_image(entry) as image:
            yield image
    except RowProblem:
        raise
    except UnidentifiedImageError as error:
        is_pointer = _LFS in str(error)
        remedy = "fetch the files with git lfs pull" if is_pointer else "save it as PNG or JPEG, or remove the row"
        raise RowProblem("image_unreadable", f"{name} cannot be read ({error})", remedy) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RowProblem("image_bomb", f"{name} unpacks to too many pixels ({error})", _SHRINK) from error
    except Exception as error:  # a broken file may raise anything inside Pillow's plugins
        reason = " ".join(str(error).split()) or type(error).__name__
        if "truncated" in reason.lower():
            raise RowProblem("image_truncated", f"{name} ends early ({reason})", _REPLACE) from error
        raise RowProblem("image_unreadable", f"{name} cannot be decoded ({reason})", _REPLACE) from error


def _inspect(image: Image.Image, decode: bool, digest: str, name: str) -> Inspection:
    known: dict[str, Any] = {"format": image.format or "", "mode": image.mode, "digest": digest}
    width, height = image.size[::-1] if turn_of(image) in SIDEWAYS else image.size
    problems = _size_problems(name, width, height)
    if {"image_bomb", "image_giant"} & {problem.kind for problem in problems}:
        return Inspection(problems, **known, width=width, height=height)  # never unpacked
    problems += _colour_problems(image, name)
    if decode:
        image.draft(None, (1, 1))  # JPEG: all of the file is read, at an eighth of its size and twice the speed
        image.load()
        if _is_transparent(image):
            problems.append(RowProblem("image_alpha", f"{name} has transparent pixels", "they are laid on white"))
    if image.format != "MPO" and getattr(image, "is_animated", False):
        problems.append(RowProblem("image_animated", f"{name} has several frames", "the first one is used"))
    return Inspection(problems, **known, width=width, height=height)


def _size_problems(name: str, width: int, height: int) -> list[RowProblem]:
    pixels, limit = width * height, Image.MAX_IMAGE_PIXELS
    size = f"{name} has {width} x {height} pixels"
    found = []
    if limit is not None and pixels > limit:
        found.append(RowProblem("image_bomb", f"{size}, more than Pillow's limit of {limit:,}", _SHRINK))
    elif pixels > GIANT_PIXELS or max(width, height) > GIANT_SIDE:
        rule = f"more than {GIANT_PIXELS:,} or a side above {GIANT_SIDE:,}"
        found.append(RowProblem("image_giant", f"{size}, {rule}", _SHRINK))
    if max(width, height) > ASPECT_MAX * min(width, height):
        rule = f"one side more than {ASPECT_MAX} times the other"
        found.append(RowProblem("image_aspect", f"{size}, {rule}", "crop or pad the image, or remove the row"))
    if min(width, height) < TINY_SIDE:
        found.append(RowProblem("image_tiny", f"{size}, a side of fewer than {TINY_SIDE}", _REPLACE))
    return found


def _colour_problems(image: Image.Image, name: str) -> list[RowProblem]:
    """What the header says of colours; asked before decoding, which forgets how the file stores them."""
    found = []
    if image.mode == "CMYK":
        found.append(RowProblem("image_cmyk", f"{name} is in CMYK colours", "they are converted to RGB"))
    stored = [str(part) for tile in getattr(image, "tile", []) for part in _arguments(tile)]
    if image.mode.startswith(("I", "F")) or any(";16" in part for part in stored):
        found.append(RowProblem("image_16bit", f"{name} has more than 8 bits a channel", "they are scaled to 8"))
    return found


def _arguments(tile: Any) -> Sequence[Any]:
    """What a plugin tells its decoder: a raw mode such as "RGB;16B", alone or first of several."""
    return tile[3] if isinstance(tile[3], (list, tuple)) else [tile[3]]


def _is_transparent(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
    return lowest < 255  # type: ignore[operator]
