"""Image cells -> lists of {bytes, path}, without decoding anything; paths stay inside the data folder.

Storage is Arrow's: one list<struct<bytes, path>> per row, which is what `datasets` decodes lazily. Cells that already
hold bytes are wrapped without a copy, so that a large data set loads in seconds.
"""

import io
import os
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Image
from PIL import Image as PILImage

from srpo.data.schema import DataError

ENTRY = pa.struct({"bytes": pa.binary(), "path": pa.string()})
ENTRIES = pa.list_(ENTRY)


def resolver(root: Path | None) -> Callable[[str], str]:
    """A function from an image path in the data to the file's full path.

    Raises ValueError for a URL, a path outside `root` (symbolic links followed) and a missing file. Without a root
    (data from the hub or from memory) paths are taken as they are.
    """
    if root is None:
        return lambda path: path
    base = os.path.realpath(root)

    @lru_cache(maxsize=4096)
    def real_folder(folder: str) -> str:
        return os.path.realpath(folder)

    def resolve(path: str) -> str:
        if "://" in path:
            raise ValueError(f"image {path!r} is a URL; download it and name the local file")
        folder, file = os.path.split(os.path.join(base, path))
        full = os.path.join(real_folder(folder), file)
        if os.path.islink(full) or file in ("", ".", ".."):
            full = os.path.realpath(full)
        if os.path.commonpath((base, full)) != base:
            raise ValueError(f"image path {path!r} leaves the data folder {base}; move the file or give image_root")
        if not os.path.isfile(full):
            raise ValueError(f"image {path!r} does not exist in {base}; correct the path or give image_root")
        return full

    return resolve


def entries(cell: Any, resolve: Callable[[str], str]) -> list[dict[str, Any]]:
    """The images of one cell: None, a path, bytes, {"bytes", "path"}, a PIL image, or a list of these."""
    if cell is None or cell == "" or (isinstance(cell, float) and np.isnan(cell)):
        return []
    if isinstance(cell, (list, tuple)):
        return [entry for item in cell for entry in entries(item, resolve)]
    if isinstance(cell, (str, os.PathLike)):
        return [{"bytes": None, "path": resolve(os.fspath(cell))}]
    if isinstance(cell, bytes):
        return [{"bytes": cell, "path": None}]
    if isinstance(cell, PILImage.Image):
        return [Image().encode_example(cell)]
    if isinstance(cell, Mapping) and isinstance(cell.get("bytes"), bytes):
        return [{"bytes": cell["bytes"], "path": cell.get("path")}]
    if isinstance(cell, Mapping) and cell.get("path"):
        return [{"bytes": None, "path": resolve(cell["path"])}]
    raise ValueError(f"an image is a {type(cell).__name__}; it must be a path, bytes, or a PIL image")


def holds_paths(kind: pa.DataType) -> bool:
    """Whether an Arrow column of this type holds image paths as text, or nothing at all."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return holds_paths(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)


def wrap(column: pa.ChunkedArray, resolve: Callable[[str], str]) -> pa.ChunkedArray:
    """An Arrow column of binaries, {bytes, path} structs or lists of either, as lists of {bytes, path}, without a copy.

    Raises ValueError for another type and for what `resolve` refuses.
    """
    return pa.chunked_array([_wrap_chunk(chunk, resolve) for chunk in column.chunks], type=ENTRIES)


def _wrap_chunk(chunk: pa.Array, resolve: Callable[[str], str]) -> pa.Array:
    if pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type):
        return pa.ListArray.from_arrays(chunk.offsets.cast(pa.int32()), _structs(chunk.values, resolve))
    structs = _structs(chunk, resolve)
    present = np.asarray(structs.is_valid())
    offsets = np.concatenate(([0], np.cumsum(present))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), structs if present.all() else structs.filter(pa.array(present)))


def _structs(values: pa.Array, resolve: Callable[[str], str]) -> pa.Array:
    """{bytes, path} structs, null where there is no image."""
    if pa.types.is_struct(values.type):
        names = {values.type.field(i).name for i in range(values.type.num_fields)}
        data = values.field("bytes") if "bytes" in names else pa.nulls(len(values))
        path = values.field("path") if "path" in names else pa.nulls(len(values))
        absent = np.asarray(values.is_null())
    elif pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        data, path, absent = values, pa.nulls(len(values)), np.zeros(len(values), dtype=bool)
    else:
        raise ValueError(f"the image column is of type {values.type}; it must hold images, bytes or paths")
    data, path = data.cast(pa.binary()), path.cast(pa.string())
    by_path = np.asarray(data.is_null()) & np.asarray(path.is_valid()) & ~absent
    if by_path.any():
        resolved = [resolve(p) if wanted else None for p, wanted in zip(path.to_pylist(), by_path, strict=True)]
        path = pc.if_else(pa.array(by_path), pa.array(resolved, pa.string()), path)
    absent |= np.asarray(data.is_null()) & np.asarray(path.is_null())
    return pa.StructArray.from_arrays([data, path], fields=list(ENTRY), mask=pa.array(absent))


def check_images(dataset: Dataset, *, decode: bool = False) -> None:
    """Open every image's header (`decode=True`: every pixel) and raise DataError for the first that cannot be read.

    Pillow's limit against decompression bombs stays on, and its warning counts as an error.
    """
    if "images" not in dataset.column_names:
        raise DataError("the data set has no column images; load it with srpo.data.load")
    table = dataset.select_columns(["id", "images"]).with_format("arrow")
    for batch in table.iter(batch_size=256):
        for row_id, images in zip(batch["id"].to_pylist(), batch["images"].to_pylist(), strict=True):
            for image in images or ():
                _check_image(row_id, image, decode)


def _check_image(row_id: str, image: Mapping[str, Any], decode: bool) -> None:
    place = image["path"] or "stored in the data set"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PILImage.DecompressionBombWarning)
            with PILImage.open(io.BytesIO(image["bytes"]) if image["bytes"] is not None else image["path"]) as opened:
                if decode:
                    opened.load()
    except (
        OSError,
        SyntaxError,
        ValueError,
        PILImage.DecompressionBombError,
        PILImage.DecompressionBombWarning,
    ) as error:
        raise DataError(
            f"row {row_id}: image {place} cannot be read ({error}); replace the file or remove the row"
        ) from error
