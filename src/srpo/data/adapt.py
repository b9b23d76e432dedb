"""Raw rows -> the one row schema, without decoding an image."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features, List, Value
from datasets.table import InMemoryTable

from srpo.data import values
from srpo.data.choices import Choices, position_base
from srpo.data.decoding import RowImage
from srpo.data.images import resolver
from srpo.data.pictures import images_of
from srpo.data.presets import Preset
from srpo.data.problems import REFUSED, BadRow, RowProblem
from srpo.data.rows import AUTO, Reading, Row, prompt_of, read_choices, read_row
from srpo.data.schema import COLUMNS, MEDIA_COLUMNS, NOTHING, WORLD_COLUMNS, DataError, Found, find_columns
from srpo.data.sources import Source, cell_of, columns_of
from srpo.grading import parse_task

if TYPE_CHECKING:
    from srpo.roles import ResponseFormat

_TEXT = Value("string")
_FEATURES = {
    "prompt": List({"role": _TEXT, "content": List({"type": _TEXT, "text": _TEXT})}),
    "options": List(_TEXT),
    "alternatives": List(_TEXT),
}
_CHUNK = 1024  # rows whose prompts are Python objects at a time
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How rows are adapted; the meaning of each as in `srpo.data.load`."""

    columns: Mapping[str, str] | None = None
    preset: Preset | None = None
    task: str | None = None
    hint: str = AUTO
    response_format: "ResponseFormat | None" = None
    instruction: str = "system"
    image_root: str | Path | None = None
    max_pixels: int | None = None
    answer_base: int | None = None


@dataclass(frozen=True)
class Loaded:
    """Rows of the schema that can be used, and what is wrong with the others (or, as "noted", with some of these)."""

    dataset: Dataset
    bad: list[BadRow] = field(default_factory=list)

    @property
    def refused(self) -> list[BadRow]:
        """The finds for which rows were left out."""
        return [find for find in self.bad if find.severity == REFUSED]


def features(columns: Sequence[str] = COLUMNS, max_pixels: int | None = None) -> Features:
    """The types of the schema's columns; larger images are shrunk to `max_pixels` when they are read."""
    types = {**_FEATURES, "images": List(RowImage(max_pixels=max_pixels))}
    return Features({name: types.get(name, _TEXT) for name in columns})


def adapt(source: Source, options: Options) -> Loaded:
    """Raw rows -> the row schema, with a find for every row that cannot be used.

    Raises:
        DataError: for a source without rows, and for columns that are not there.
    """
    if len(source.rows) == 0 and not source.bad:
        raise DataError(f"{source.name} has no rows; give a data set with at least one")
    if len(source.rows) == 0:
        return Loaded(
            Dataset.from_dict({name: [] for name in COLUMNS}, features=features(max_pixels=options.max_pixels)),
            source.bad,
        )
    present, conversations = columns_of(source.rows.features if isinstance(source.rows, Dataset) else source.rows)
    reading = make_reading(source.name, present, conversations, options)
    kept = [column for column in WORLD_COLUMNS if column in present]
    cells = _cells(source.rows, _needed(reading, options.preset, kept, present))
    reading = fit_reading(source.name, cells, reading)
    bad = list(source.bad)
    ids = _ids(cells, reading.columns, source.ids, bad)
    rows = _read(ids, cells, reading, bad)
    root = Path(options.image_root).expanduser() if options.image_root is not None else source.root
    resolve = resolver(root, source.bases if options.image_root is None else ())
    pictures = images_of(source.rows, reading.columns.get("image", ()), ids, [row.held for row in rows], resolve, bad)
    refused = {find.row for find in bad if find.severity == REFUSED}
    table: dict[str, Any] = {"id": ids, "images": pictures}
    table["prompt"] = _prompts(ids, rows, pictures, reading, refused, bad)
    table |= {name: [getattr(row, name) for row in rows] for name in COLUMNS if name not in table}
    table |= {column: [values.to_text(cell) for cell in cells[column]] for column in kept}
    dataset = _dataset(table, [*COLUMNS, *kept], options.max_pixels)
    good = [i for i, row_id in enumerate(ids) if row_id not in refused]
    return Loaded(dataset if len(good) == len(ids) else dataset.select(good), bad)


def make_reading(name: str, present: Sequence[str], conversations: set[str], options: Options) -> Reading:
    """How the rows of a source with these columns are read."""
    preset = options.preset
    columns = dict(options.columns or {})
    for ours, theirs in (preset.columns if preset else {}).items():
        if ours not in columns and (theirs == NOTHING or set(theirs.split("+")) <= set(present)):
            columns[ours] = theirs
    task = options.task or (preset.task if preset else None)
    if task:
        try:
            parse_task(task)
        except ValueError as error:
            raise DataError(str(error)) from error
    if options.answer_base not in (None, 0, 1):
        raise DataError(f"answer_base {options.answer_base!r} must be 0 or 1, or be left out to go by the answers")
    return Reading(
        find_columns(name, present, columns, conversations=conversations),
        task=task,
        base=options.answer_base,
        prepare=preset.prepare if preset else None,
        blank_question=preset.blank_question if preset else "",
        hint=options.hint,
        set_hint=preset.hint if preset else "",
        response_format=options.response_format,
        instruction=options.instruction,
    )


def fit_reading(name: str, cells: Mapping[str, Sequence[Any]], reading: Reading) -> Reading:
    """Settle what only many rows show: whether answers are positions, and whether a column `task` holds tasks."""
    columns = reading.columns
    if columns.get("task") == ("task",) and not any(_is_task(cell) for cell in cells["task"]):
        _logger.warning("%s: column 'task' names no task of answers and is not read", name)
        columns = {ours: sources for ours, sources in columns.items() if ours != "task"}
    base = reading.base
    if base is None and "answer" in columns and "options" in columns:
        answers = zip(*(cells[column] for column in columns["answer"]), strict=True)
        choices = map(_choices, zip(*(cells[column] for column in columns["options"]), strict=True))
        base = position_base((cell[0] if len(cell) == 1 else cell for cell in answers), choices)
    return replace(reading, columns=columns, base=base)


def _is_task(cell: Any) -> bool:
    try:
        return bool(cell) and bool(parse_task(str(cell)))
    except ValueError:
        return False


def _choices(cells: Sequence[Any]) -> Choices:
    try:
        return read_choices(cells)
    except RowProblem:
        return Choices()


def _needed(reading: Reading, preset: Preset | None, kept: Sequence[str], present: Sequence[str]) -> list[str]:
    """The source columns of texts: all but those of images."""
    texts = [source for ours, sources in reading.columns.items() if ours != "image" for source in sources]
    media = [column for column in MEDIA_COLUMNS if column in present]
    return [*dict.fromkeys([*texts, *kept, *media, *(c for c in (preset.needs if preset else ()) if c in present)])]


def _cells(rows: list[dict[str, Any]] | Dataset, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Column name -> cells, for columns without images."""
    if not isinstance(rows, Dataset):
        return {column: [cell_of(row, column) for row in rows] for column in columns}
    outer = list(dict.fromkeys(c if c in rows.column_names else c.partition(".")[0] for c in columns))
    stored = rows.select_columns(outer).with_format("arrow")[:].to_pydict()
    for column in outer:
        names = getattr(rows.features[column], "names", None)
        if names:
            stored[column] = [None if cell is None or cell < 0 else names[cell] for cell in stored[column]]
    for column in columns:
        if column not in stored:
            stored[column] = [(cell or {}).get(column.partition(".")[2]) for cell in stored[column.partition(".")[0]]]
    return stored


def _ids(cells: Mapping[str, Sequence[Any]], columns: Found, names: Sequence[str], bad: list[BadRow]) -> list[str]:
    """The ids, with "#2", "#3" ... behind repeated ones and the position in place of empty ones."""
    if "id" not in columns:
        return list(names)
    seen: Counter[str] = Counter()
    ids = []
    for position, parts in enumerate(zip(*(cells[column] for column in columns["id"]), strict=True)):
        row_id = "-".join(filter(None, map(values.to_text, parts))) or f"row-{position}"
        seen[row_id] += 1
        ids.append(row_id if seen[row_id] == 1 else f"{row_id}#{seen[row_id]}")
        if seen[row_id] > 1:
            reason = f"an earlier row has the id {values.shorten(row_id)}"
            bad.append(BadRow(ids[-1], "id_repeated", reason, f"it is called {ids[-1]} here"))
    return ids


def _read(ids: Sequence[str], cells: Mapping[str, Sequence[Any]], reading: Reading, bad: list[BadRow]) -> list[Row]:
    """The values of every row, blank ones for a row that cannot be used."""
    rows = []
    for i, row_id in enumerate(ids):
        try:
            rows.append(read_row({column: column_cells[i] for column, column_cells in cells.items()}, reading))
        except RowProblem as problem:
            bad.append(problem.of(row_id))
            rows.append(Row())
    return rows


def _prompts(
    ids: Sequence[str],
    rows: Sequence[Row],
    pictures: pa.ChunkedArray,
    reading: Reading,
    refused: set[str],
    bad: list[BadRow],
) -> pa.ChunkedArray:
    """The prompts; a row whose prompt cannot be built is added to `refused` and `bad`."""
    kind = features().arrow_schema.field("prompt").type
    counts = [n or 0 for chunk in pictures.chunks for n in chunk.value_lengths().to_pylist()]
    chunks: list[pa.Array] = []
    prompts: list[list[dict[str, Any]]] = []
    for row_id, row, n_images in zip(ids, rows, counts, strict=True):
        try:
            prompts.append([] if row_id in refused else prompt_of(row, n_images, reading))
        except RowProblem as problem:
            bad.append(problem.of(row_id))
            refused.add(row_id)
            prompts.append([])
        if len(prompts) == _CHUNK:
            chunks.append(pa.array(prompts, kind))
            prompts = []
    return pa.chunked_array([*chunks, pa.array(prompts, kind)], type=kind)


def _dataset(
    table: Mapping[str, Sequence[Any] | pa.ChunkedArray], order: Sequence[str], max_pixels: int | None
) -> Dataset:
    types = features(order, max_pixels)
    schema = types.arrow_schema
    arrays = []
    digest = hashlib.sha256(",".join(order).encode())
    for name in order:
        cells = table[name]
        arrays.append(cells if isinstance(cells, pa.ChunkedArray) else pa.array(cells, schema.field(name).type))
        if name not in ("prompt", "images"):
            digest.update(repr(cells).encode())
    digest.update(repr(table["prompt"][:1].to_pylist()).encode())  # type: ignore[union-attr]
    return Dataset(
        InMemoryTable(pa.table(arrays, schema=schema)),
        info=DatasetInfo(features=types),
        fingerprint=digest.hexdigest()[:16],
    )
