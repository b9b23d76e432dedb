"""Streams: rows of the schema that are read as they are asked for, for sets that are too large to be opened at once."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Features, IterableDataset, Value
from datasets.exceptions import DatasetsError

from srpo.data.adapt import Options, features, fit_reading, make_reading
from srpo.data.images import Resolve, entries_of_row, resolver
from srpo.data.pictures import find
from srpo.data.problems import BadRow, RowProblem
from srpo.data.rows import Reading, prompt_of, read_row
from srpo.data.schema import COLUMNS, DataError
from srpo.data.sources import Place, cell_of, columns_of
from srpo.data.values import is_blank, to_text

HEAD = 256  # rows that show the columns and how answers are written
_BATCH = 16
_logger = logging.getLogger(__name__)


@dataclass
class RowAdapter:
    """Raw row -> row of the schema, or None for one that is skipped. Picklable, for the workers of a data loader.

    Args:
        name: how messages call the data set.
        reading: how its rows are read.
        root: the folder that image paths may not leave.
        bases: the folders that they are relative to.
        skip: leave bad rows out, with a warning that counts them, instead of raising DataError.
        prefix: put in front of ids.
        present: columns that are known already: those of the first rows, and later ones that change nothing.
        find_late: all columns -> the source columns that would be read from them.
    """

    name: str
    reading: Reading
    root: Path | None
    bases: tuple[Path, ...]
    skip: bool
    prefix: str = ""
    present: tuple[str, ...] = ()
    find_late: Callable[[Sequence[str]], set[str]] | None = None
    skipped: int = field(default=0, init=False)

    @cached_property
    def _resolve(self) -> Resolve:
        return resolver(self.root, self.bases)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_resolve"}

    def __call__(self, row_id: str, cells: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row in the schema, images as {bytes, path}. DataError for a bad row that is not skipped."""
        columns = self.reading.columns
        row_id = "-".join(filter(None, (to_text(cell_of(cells, c)) for c in columns.get("id", ())))) or row_id
        self._refuse_late_columns(row_id, cells)
        try:
            wanted = {source: cell_of(cells, source) for sources in columns.values() for source in sources}
            row = read_row({**cells, **wanted}, self.reading)
            images = entries_of_row(row.held or [wanted[source] for source in columns.get("image", ())], self._resolve)
            prompt = [_full(message) for message in prompt_of(row, len(images), self.reading)]
        except (RowProblem, OSError) as error:
            self.refuse(find(row_id, error))
            return None
        values = {**row.__dict__, "id": self.prefix + row_id, "images": images, "prompt": prompt}
        return {column: values[column] for column in COLUMNS}

    def _refuse_late_columns(self, row_id: str, cells: Mapping[str, Any]) -> None:
        """DataError for a row that fills a column which the first rows lack, and which loading would have read."""
        if self.find_late is None or all(key in self.present and not isinstance(cells[key], dict) for key in cells):
            return
        late = [column for column in columns_of([cells])[0] if column not in self.present]
        late = [column for column in late if _is_filled(cell_of(cells, column))]
        if not late:
            return
        before, self.present = self.find_late(self.present), (*self.present, *late)
        if used := self.find_late(self.present) - before:
            column = next(column for column in self.present if column in used)
            raise DataError(
                f"{self.name}, row {row_id} has a column {column!r} that none of the first {HEAD} rows has, so the "
                "stream would not read it; put a row that has it first, or load the set without streaming"
            )

    def refuse(self, bad: BadRow) -> None:
        """Count a bad row, or raise DataError for it."""
        if not self.skip:
            raise DataError(
                f"{self.name}, {bad}; srpo data check lists all such rows, --on_bad_rows skip leaves them out"
            )
        self.skipped += 1
        _logger.warning("%s, %s; skipped, the %d. bad row of this stream", self.name, bad, self.skipped)

    def batch(self, cells: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        """The same for a batch of columns, as `IterableDataset.map` hands it over."""
        rows = [self(f"row-{i}", {name: cells[name][k] for name in cells}) for k, i in enumerate(indices)]
        return {column: [row[column] for row in rows if row is not None] for column in COLUMNS}


def _is_filled(cell: Any) -> bool:
    return not is_blank(cell) and cell != [] and cell != {}


def _full(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message whose image parts have an empty text, as in a table."""
    return {**message, "content": [{"text": None, **part} for part in message["content"]]}


def stream(place: Place, options: Options, *, skip: bool = False, prefix: str = "") -> IterableDataset:
    """The rows of a place in the schema, read as they are asked for.

    The first rows show the columns and how answers are written. Ids are not made unique.

    Raises:
        DataError: at once for a source that is not there or lacks a column; for bad rows when they are met.
    """
    if place.hub is not None or place.parquet:
        return _mapped(place, options, skip, prefix)
    head = [item for _, item in islice(place.items(), HEAD)]
    adapter = _adapter(place, [item for item in head if isinstance(item, dict)], options, skip, prefix)
    types = features(max_pixels=options.max_pixels)
    return IterableDataset.from_generator(_rows, features=types, gen_kwargs={"place": place, "adapter": adapter})


def _rows(place: Place, adapter: RowAdapter) -> Iterator[dict[str, Any]]:
    for row_id, item in place.items():
        if isinstance(item, BadRow):
            adapter.refuse(item)
        elif (row := adapter(row_id, item)) is not None:
            yield row


def _mapped(place: Place, options: Options, skip: bool, prefix: str) -> IterableDataset:
    """A stream of parquet files or of the hub."""
    try:
        if place.hub is not None:
            dataset_id, config, split = place.hub
            raw = datasets.load_dataset(dataset_id, config, split=split, streaming=True)
        else:
            raw = datasets.load_dataset("parquet", data_files=place.parquet, split="train", streaming=True)
        raw = raw.decode(False) if raw.features else raw
        head = list(raw.take(HEAD))
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(f"{place.name} cannot be streamed ({' '.join(str(error).split())}); check its name") from error
    labels = {column: kind.names for column, kind in (raw.features or {}).items() if isinstance(kind, ClassLabel)}
    if labels:
        raw = raw.map(_named, fn_kwargs={"labels": labels}, features=_unlabelled(raw.features))
        head = [{**row, **_named(row, labels)} for row in head]
    adapter = _adapter(place, head, options, skip, prefix)
    adapted = raw.map(adapter.batch, with_indices=True, batched=True, batch_size=_BATCH, remove_columns=list(head[0]))
    types = features(max_pixels=options.max_pixels)
    return adapted.cast(types)  # given to `map`, the features would be taken as decoded already


def _named(row: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """The names of class labels, which a stream holds as numbers."""
    return {c: None if row[c] is None or row[c] < 0 else names[row[c]] for c, names in labels.items()}


def _unlabelled(types: Features) -> Features:
    return Features({name: Value("string") if isinstance(kind, ClassLabel) else kind for name, kind in types.items()})


def _adapter(place: Place, head: Sequence[Mapping[str, Any]], options: Options, skip: bool, prefix: str) -> RowAdapter:
    if not head:
        raise DataError(f"{place.name} has no readable row at its beginning; give a data set with at least one")
    present, conversations = columns_of(head)
    reading = make_reading(place.name, present, conversations, options)
    late = partial(_sources_of, place.name, conversations, options)
    texts = [source for ours, sources in reading.columns.items() if ours != "image" for source in sources]
    cells = {source: [cell_of(row, source) for row in head] for source in texts}
    root = Path(options.image_root).expanduser() if options.image_root is not None else place.root
    bases = place.bases if options.image_root is None else ()
    reading = fit_reading(place.name, cells, reading)
    return RowAdapter(place.name, reading, root, bases, skip, prefix, tuple(present), late)


def _sources_of(name: str, conversations: set[str], options: Options, present: Sequence[str]) -> set[str]:
    """The source columns that are read of those that are there."""
    columns = make_reading(name, present, conversations, options).columns
    return {source for sources in columns.values() for source in sources}
