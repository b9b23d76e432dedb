"""Image cells -> lists of {bytes, path}, without decoding anything; paths stay inside the data folder.

Storage is Arrow's: one list<struct<bytes, path>> per row, which is what `datasets` decodes lazily. Cells that already
hold bytes are wrapped without a copy, so that a large data set loads in seconds.
"""

import ast
import base64
import binascii
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Image
from PIL import Image as PILImage

from srpo.data.inspection import find_bad_images
from srpo.data.problems import REFUSED, RowProblem, summary
from srpo.data.schema import DataError
from srpo.data.values import is_blank, shorten

ENTRY = pa.struct({"bytes": pa.binary(), "path": pa.string()})
ENTRIES = pa.list_(ENTRY)
REFERENCE_LENGTH = 64  # VLMEvalKit: an image cell up to this length is the index of another row
IMAGE_FOLDER = "images"

Resolve = Callable[[str], str]
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")


def resolver(root: Path | None, bases: Sequence[Path] = ()) -> Resolve:
    """A function from an image path in the data to the file's full path.

    A path is looked for in each folder of `bases` (by default `root`), and there in `images`. It may not leave `root`,
    symbolic links followed. Without a root (data from the hub or from memory) paths are taken as they are.

    The function raises RowProblem for a URL, a path outside `root` and a missing file.
    """
    if root is None:
        return _trusted
    top = os.path.realpath(root)
    top_with_slash = os.path.join(top, "")
    folders = [os.path.join(folder, inner) for folder in bases or (root,) for inner in ("", IMAGE_FOLDER)]

    @lru_cache(maxsize=4096)
    def real_folder(folder: str) -> str:
        return os.path.realpath(folder)

    def place(folder: str, path: str) -> str:
        inner, file = os.path.split(os.path.join(folder, path))
        full = os.path.join(real_folder(inner), file)
        return os.path.realpath(full) if os.path.islink(full) or file in ("", ".", "..") else full

    def resolve(path: str) -> str:
        _refuse_url(path)
        try:
            return find(path)
        except RowProblem:
            if "\\" not in path:
                raise
            return find(path.replace("\\", "/"))

    def find(path: str) -> str:
        places = []
        for folder in folders if "\0" not in path else ():
            places.append(place(folder, path))
            if (places[-1] + os.sep).startswith(top_with_slash) and os.path.isfile(places[-1]):
                return places[-1]
        if places and not (places[0] + os.sep).startswith(top_with_slash):
            raise RowProblem(
                "image_outside",
                f"image path {shorten(path)} leaves the data folder {top}",
                "move the file or give image_root",
            )
        raise _missing(path, top)

    return resolve


def entries(cell: Any, resolve: Resolve) -> list[dict[str, Any]]:
    """The images of one cell.

    None, a path, bytes, base64 (also as a data: URL), {"bytes", "path"}, a PIL image, or a list of these, which may be
    written as text; a path may have backslashes. RowProblem for anything else, and for a list with empty elements.
    """
    if is_blank(cell):
        return []
    if isinstance(cell, (list, tuple)):
        return [entry for item in cell for entry in _filled(entries(item, resolve))]
    if isinstance(cell, str):
        return _entries_of_text(cell.strip(), resolve)
    if isinstance(cell, os.PathLike):
        return [{"bytes": None, "path": resolve(os.fspath(cell))}]
    if isinstance(cell, bytes):
        return [{"bytes": cell, "path": None}]
    if isinstance(cell, PILImage.Image):
        return [Image().encode_example(cell)]
    if isinstance(cell, Mapping) and isinstance(cell.get("bytes"), bytes):
        return [{"bytes": cell["bytes"], "path": cell.get("path")}]
    if isinstance(cell, Mapping) and isinstance(cell.get("path"), str) and cell["path"]:
        return [{"bytes": None, "path": resolve(cell["path"])}]
    if isinstance(cell, Mapping) and cell and all(value is None for value in cell.values()):
        return []
    raise RowProblem(
        "image_type", f"an image is a {type(cell).__name__}", "it must be a path, bytes, base64 or a PIL image"
    )


def entries_of_row(cells: Sequence[Any], resolve: Resolve) -> list[dict[str, Any]]:
    """The images of all image cells of a row, some of which may be empty. RowProblem as in `entries`."""
    return [entry for cell in cells for entry in entries(cell, resolve)]


def wraps(column: pa.ChunkedArray) -> bool:
    """Whether `wrap` takes an Arrow column: binaries, or structs that hold bytes wherever they hold a path."""
    kind = column.type.value_type if _is_list(column.type) else column.type
    parts = [chunk.values if _is_list(column.type) else chunk for chunk in column.chunks]
    if _is_list(column.type) and any(part.null_count for part in parts):
        return False
    if not pa.types.is_struct(kind):
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
    if kind.get_field_index("bytes") < 0:
        return False
    by_path = (pc.and_(part.is_valid(), pc.is_null(part.field("bytes"))) for part in parts)
    return not any(pc.any(mask).as_py() for mask in by_path)


def wrap(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column that `wraps` as lists of {bytes, path}, without a copy of the bytes."""
    return pa.chunked_array([_wrap_chunk(chunk) for chunk in column.chunks], type=ENTRIES)


def check_images(dataset: Dataset, *, decode: bool = False) -> None:
    """Look at every image's header (`decode=True`: at every pixel) and raise DataError for those that cannot be used.

    Pillow's limit against decompression bombs stays on.
    """
    bad = [find for find in find_bad_images(dataset, decode=decode) if find.severity == REFUSED]
    if bad:
        raise DataError(f"{summary(bad)}; srpo data check lists all of them")


def _wrap_chunk(chunk: pa.Array) -> pa.Array:
    if _is_list(chunk.type):
        return pa.ListArray.from_arrays(chunk.offsets.cast(pa.int32()), _structs(chunk.values))
    present = np.asarray(chunk.is_valid())
    offsets = np.concatenate(([0], np.cumsum(present))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), _structs(chunk if present.all() else chunk.drop_null()))


def _structs(values: pa.Array) -> pa.Array:
    if not pa.types.is_struct(values.type):
        data, path = values, pa.nulls(len(values))
    else:
        has_path = values.type.get_field_index("path") >= 0
        data, path = values.field("bytes"), values.field("path") if has_path else pa.nulls(len(values))
    return pa.StructArray.from_arrays([data.cast(pa.binary()), path.cast(pa.string())], fields=list(ENTRY))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _filled(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What an element of a list of images holds. RowProblem for nothing: the images behind would change places."""
    if not found:
        raise RowProblem("image_type", "a list of images has an empty element", "fill it in or remove the row")
    return found


def _trusted(path: str) -> str:
    if path.startswith(("http://", "https://")):
        _refuse_url(path)
    if "://" not in path and ("\0" in path or not os.path.isfile(path)):
        raise _missing(path, os.getcwd())
    return path


def _refuse_url(path: str) -> None:
    if "://" in path:
        raise RowProblem("image_url", f"image {shorten(path)} is a URL", "download it and name the local file")


def _missing(path: str, folder: str) -> RowProblem:
    return RowProblem(
        "image_missing", f"image {shorten(path)} does not exist in {folder}", "correct the path or give image_root"
    )


def _entries_of_text(text: str, resolve: Resolve) -> list[dict[str, Any]]:
    if text.startswith("["):
        return entries(_listed(text), resolve)
    if url := _DATA_URL.match(text):
        return [{"bytes": _decoded(text[url.end() :]), "path": None}]
    if len(text) > REFERENCE_LENGTH and _BASE64.fullmatch(text, 0, 1024):
        return [{"bytes": _decoded(text), "path": None}]
    if len(text) > 1024 or "\n" in text or (len(text) > REFERENCE_LENGTH and "." not in text[-6:]):
        raise RowProblem(
            "image_base64",
            f"the image is text that is neither a path nor base64 ({shorten(text)})",
            "encode the file again or name it by a path",
        )
    return [{"bytes": None, "path": resolve(text)}]


def _listed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise RowProblem(
                "image_type", f"the images are {shorten(text)}, which is no list", 'write them as ["a.png", "b.png"]'
            ) from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowProblem("image_base64", f"the image is not base64 ({error})", "encode the file again") from error
