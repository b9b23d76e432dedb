"""The images of every row of a source, as one Arrow column, and a find for each cell that holds none."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from datasets import Dataset

from srpo.data import images as image_cells
from srpo.data.images import ENTRIES, REFERENCE_LENGTH, Resolve
from srpo.data.problems import REFUSED, BadRow, RowProblem
from srpo.data.sources import cell_of

CHUNK = 256  # rows whose images are Python objects at a time


def images_of(
    rows: list[dict[str, Any]] | Dataset,
    columns: Sequence[str],
    ids: Sequence[str],
    held: Sequence[Sequence[Any]],
    resolve: Resolve,
    bad: list[BadRow],
) -> pa.ChunkedArray:
    """The image lists of every row, [] for a row whose cell cannot be used, which is added to `bad`.

    Args:
        rows: the raw rows. Cells of dicts are given up as they are read, so that no picture is in memory twice.
        columns: the source columns of images; images of several follow one another.
        ids: the rows' names.
        held: images inside each row's conversation; they take the place of its columns.
        resolve: image path -> full path.
        bad: finds are added here.
    """
    if isinstance(rows, Dataset) and len(columns) == 1 and not any(held):
        stored = rows.select_columns([columns[0]]).with_format("arrow")[:][columns[0]]
        if image_cells.wraps(stored):
            wrapped = image_cells.wrap(stored)
            _note_missing(ids, wrapped, bad)
            return wrapped
    chunks: list[pa.Array] = []
    chunk: list[list[dict[str, Any]]] = []
    for row_id, inside, cells in zip(ids, held, _cells(rows, columns, ids), strict=True):
        try:
            chunk.append(image_cells.entries_of_row(inside or cells, resolve))
        except (RowProblem, OSError) as error:
            bad.append(find(row_id, error))
            chunk.append([])
        if len(chunk) == CHUNK:
            chunks.append(pa.array(chunk, ENTRIES))
            chunk = []
    found = pa.chunked_array([*chunks, pa.array(chunk, ENTRIES)], type=ENTRIES)
    _note_missing(ids, found, bad)
    return found


def find(row_id: str, error: RowProblem | OSError) -> BadRow:
    """The find for an image cell that could not be read."""
    if isinstance(error, RowProblem):
        return error.of(row_id)
    return BadRow(row_id, "image_unreadable", f"its image cannot be read ({error})", "replace it or remove the row")


def _note_missing(ids: Sequence[str], found: pa.ChunkedArray, bad: list[BadRow]) -> None:
    """Add a find for every row without an image, in a set where some have one; refused rows have none to tell of."""
    counts = [count or 0 for chunk in found.chunks for count in chunk.value_lengths().to_pylist()]
    if not any(counts):
        return
    refused = {find.row for find in bad if find.severity == REFUSED}
    reason = "it has no image, and other rows of the set have some"
    remedy = "it is used as a row of text only: remove it if its question needs an image"
    missing = (row_id for row_id, count in zip(ids, counts, strict=True) if not count and row_id not in refused)
    bad.extend(BadRow(row_id, "image_none", reason, remedy) for row_id in missing)


def _cells(rows: list[dict[str, Any]] | Dataset, columns: Sequence[str], ids: Sequence[str]) -> Iterator[list[Any]]:
    """The image cells of every row."""
    if isinstance(rows, Dataset):
        yield from _cells_of_dataset(rows, columns)
        return
    references = _references(rows, columns, ids)
    needed_later = set(references.values())
    for i, row in enumerate(rows):
        source = rows[references[i]] if i in references else row
        yield [cell_of(source, column) for column in columns]
        for column in columns if i not in needed_later else ():
            row.pop(column, None)


def _cells_of_dataset(rows: Dataset, columns: Sequence[str]) -> Iterator[list[Any]]:
    if not columns:
        yield from ([] for _ in range(len(rows)))
        return
    outer = list(
        dict.fromkeys(column if column in rows.column_names else column.partition(".")[0] for column in columns)
    )
    for batch in rows.select_columns(outer).with_format("arrow").iter(batch_size=CHUNK):
        for row in batch.to_pylist():
            yield [cell_of(row, column) for column in columns]


def _references(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], ids: Sequence[str]) -> dict[int, int]:
    """Row -> row whose image it shares: VLMEvalKit writes that row's index in place of a repeated base64 image."""
    if len(columns) != 1:
        return {}
    cells = [cell_of(row, columns[0]) for row in rows]
    holders = {
        row_id: i
        for i, (row_id, cell) in enumerate(zip(ids, cells, strict=True))
        if isinstance(cell, str) and len(cell) > REFERENCE_LENGTH
    }
    return {
        i: holders[cell]
        for i, cell in enumerate(cells)
        if isinstance(cell, str) and len(cell) <= REFERENCE_LENGTH and cell in holders
    }
