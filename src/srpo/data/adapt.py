"""Raw rows -> the one row schema, without decoding an image."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features, Image, List, Value
from datasets.table import InMemoryTable

from srpo.data import images as image_cells
from srpo.data import values
from srpo.data.schema import COLUMNS, TASKS, WORLD_COLUMNS, DataError, find_columns
from srpo.data.sources import Source

if TYPE_CHECKING:
    from srpo.roles import ResponseFormat

_TEXT = Value("string")
_FEATURES = {
    "prompt": List({"role": _TEXT, "content": List({"type": _TEXT, "text": _TEXT})}),
    "images": List(Image(mode="RGB")),
    "options": List(_TEXT),
}


def adapt(
    source: Source,
    columns: Mapping[str, str] | None = None,
    response_format: "ResponseFormat | None" = None,
    instruction: str = "system",
    image_root: str | Path | None = None,
) -> Dataset:
    """Raw rows -> the row schema; arguments and errors as in `load`."""
    if len(source.rows) == 0:
        raise DataError(f"{source.name} has no rows; give a data set with at least one")
    found = find_columns(source.name, source.columns, columns)
    kept = [c for c in WORLD_COLUMNS if c in source.columns]
    texts = _cells(source.rows, [c for ours, c in found.items() if ours != "image"] + kept)
    ids = _unique([values.to_text(c) for c in texts[found["id"]]]) if "id" in found else source.ids
    table: dict[str, list[Any]] = {"id": ids}
    for key, cells in _values(ids, {ours: texts[c] for ours, c in found.items() if ours != "image"}).items():
        table[key] = cells
    root = Path(image_root).expanduser() if image_root is not None else source.root
    pictures = _images(source, found.get("image"), ids, image_cells.resolver(root))
    table["prompt"] = _prompts(table, pictures, response_format, instruction)
    for column in kept:
        table[column] = [values.to_text(cell) for cell in texts[column]]
    return _dataset(table, pictures, [*COLUMNS, *kept])


def _cells(rows: list[dict[str, Any]] | Dataset, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Column name -> cells, for columns without images."""
    if not isinstance(rows, Dataset):
        return {column: [row.get(column) for row in rows] for column in columns}
    cells = rows.select_columns(list(dict.fromkeys(columns))).with_format("arrow")[:].to_pydict()
    for column in columns:
        names = getattr(rows.features[column], "names", None)
        if names:
            cells[column] = [None if cell is None or cell < 0 else names[cell] for cell in cells[column]]
    return cells


def _unique(ids: Sequence[str]) -> list[str]:
    """The ids, with "#2", "#3" ... behind repeated ones and the position in place of empty ones."""
    seen: Counter[str] = Counter()
    unique = []
    for position, row_id in enumerate(ids):
        row_id = row_id or f"row-{position}"
        seen[row_id] += 1
        unique.append(row_id if seen[row_id] == 1 else f"{row_id}#{seen[row_id]}")
    return unique


def _values(ids: Sequence[str], cells: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """question, options, answer, perception and task of every row."""
    out: dict[str, list[Any]] = {key: [] for key in ("question", "options", "answer", "perception", "task")}
    nothing = [None] * len(ids)
    options_cells, perceptions, tasks = (cells.get(key, nothing) for key in ("options", "perception", "task"))
    rows = zip(ids, cells["question"], options_cells, cells["answer"], perceptions, tasks, strict=True)
    for row_id, question, options_cell, answer_cell, perception, task in rows:
        try:
            options = values.to_options(options_cell)
            answer = values.to_answer(answer_cell, options)
            out["question"].append(values.to_question(question))
        except ValueError as error:
            raise DataError(f"row {row_id}: {error}") from error
        out["options"].append(options)
        out["answer"].append(answer)
        out["perception"].append(values.to_text(perception))
        out["task"].append(task if task in TASKS else values.task_of(answer, options))
    return out


def _images(source: Source, column: str | None, ids: Sequence[str], resolve: Callable[[str], str]) -> pa.ChunkedArray:
    """The image lists of every row."""
    if column is None:
        return pa.chunked_array([pa.array([[]] * len(ids), image_cells.ENTRIES)])
    cells: Sequence[Any]
    if isinstance(source.rows, Dataset):
        stored = source.rows.select_columns([column]).with_format("arrow")[:][column]
        if not image_cells.holds_paths(stored.type):
            try:
                return image_cells.wrap(stored, resolve)
            except (ValueError, pa.ArrowException) as error:
                raise DataError(f"{source.name}, column {column!r}: {error}") from error
        cells = stored.to_pylist()
    else:
        cells = [row.get(column) for row in source.rows]
    pictures = []
    for row_id, cell in zip(ids, cells, strict=True):
        try:
            pictures.append(image_cells.entries(cell, resolve))
        except (ValueError, OSError) as error:
            raise DataError(f"row {row_id}: {error}") from error
    return pa.chunked_array([pa.array(pictures, image_cells.ENTRIES)])


def _prompts(
    table: Mapping[str, Sequence[Any]], pictures: pa.ChunkedArray, response_format: "ResponseFormat | None", style: str
) -> list[list[dict[str, Any]]]:
    """The prompt messages of every row, every content a list of parts."""
    from srpo.prompts import build_prompt
    from srpo.roles import ResponseFormat

    response_format = response_format or ResponseFormat()
    counts = [n or 0 for chunk in pictures.chunks for n in chunk.value_lengths().to_pylist()]
    prompts = []
    for row_id, question, options, n_images in zip(
        table["id"], table["question"], table["options"], counts, strict=True
    ):
        try:
            messages = build_prompt(
                question, n_images, options=options, response_format=response_format, style=style, structured=True
            )
        except ValueError as error:
            message = str(error)
            raise DataError(f"row {row_id}{message[3:] if message.startswith('row ') else f': {message}'}") from error
        prompts.append(messages)
    return prompts


def _dataset(table: Mapping[str, list[Any]], pictures: pa.ChunkedArray, order: Sequence[str]) -> Dataset:
    features = Features({name: _FEATURES.get(name, _TEXT) for name in order})
    schema = features.arrow_schema
    arrays = [pictures if name == "images" else pa.array(table[name], schema.field(name).type) for name in order]
    digest = hashlib.sha256(repr([table[name] for name in order if name != "images"]).encode())
    return Dataset(
        InMemoryTable(pa.table(arrays, schema=schema)),
        info=DatasetInfo(features=features),
        fingerprint=digest.hexdigest()[:16],
    )
