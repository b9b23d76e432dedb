"""Names of data sets -> raw rows: files, folders, `save_to_disk` folders, packages and the Hugging Face hub."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, DatasetDict, Features
from datasets.exceptions import DatasetsError

from srpo.data.files import SUFFIXES, Item, iter_file
from srpo.data.folders import canonical_split, find_splits
from srpo.data.presets import Preset
from srpo.data.problems import BadRow
from srpo.data.questions import is_conversation
from srpo.data.schema import DataError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where one split of a data set lies: as files, rows, a Dataset, or at the hub (id, config, split).

    root: the folder that image paths may not leave, None where paths are trusted as they are; bases: the folders that
    they are relative to.
    """

    name: str
    split: str
    files: tuple[Path, ...] = ()
    rows: Sequence[dict[str, Any]] = ()
    dataset: Dataset | None = None
    hub: tuple[str, str | None, str] | None = None
    root: Path | None = None
    bases: tuple[Path, ...] = ()

    @property
    def parquet(self) -> list[str]:
        """The files, where they are parquet files."""
        return [str(file) for file in self.files if file.suffix.lower() == ".parquet"]

    def items(self) -> Iterator[tuple[str, Item]]:
        """(id, row or BadRow) of the rows that are given, and of those in files that are no parquet."""
        for i, row in enumerate(self.rows):
            yield f"{self.split}-{i}", row
        for file in self.files:
            for i, item in enumerate(iter_file(file)):
                yield f"{file.stem}-{i}", item


@dataclass(frozen=True)
class Source:
    """Raw rows of one split.

    rows: a list of dicts or a Dataset; ids: names for rows that have none; bad: rows that could not be read at all.
    """

    name: str
    rows: list[dict[str, Any]] | Dataset
    ids: list[str]
    root: Path | None = None
    bases: tuple[Path, ...] = ()
    bad: list[BadRow] = field(default_factory=list)


def from_memory(rows: Dataset | Sequence[Mapping[str, Any]], limit: int | None = None) -> Source:
    """Rows that are in memory already."""
    if not isinstance(rows, Dataset):
        rows = [dict(row) for row in rows]
    return _first(Source("the data set", rows, [f"row-{i}" for i in range(len(rows))]), limit)


def split_names(name: str, preset: Preset | None = None) -> tuple[str, ...]:
    """The splits of a file, folder or hub data set; DataError where there is no such thing."""
    path = Path(name).expanduser()
    if path.exists():
        return tuple(_local_splits(path, preset))
    if preset is not None and name == preset.name:
        return tuple(preset.splits)
    _refuse_missing_path(name)
    dataset_id, config = _hub_id(name)
    try:
        return tuple(datasets.get_dataset_split_names(dataset_id, config))
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(_not_on_hub(name, error)) from error


def left_out(name: str, preset: Preset | None = None) -> list[str]:
    """A sentence for each data file of a folder that is not read; [] for any other data set."""
    path = Path(name).expanduser()
    if not path.is_dir() or _is_saved(path):
        return []
    return find_splits(path, preset.splits if preset else {})[1]


def locate(name: str, split: str, preset: Preset | None = None) -> Place:
    """Where one split of a file, folder, preset or hub data set lies; DataError for an unknown name or split."""
    path = Path(name).expanduser()
    if path.exists():
        return _locate_local(name, path, split, preset)
    if preset is not None and name == preset.name:
        if preset.package is not None:
            rows, folder = preset.package(preset.split(split))
            return Place(name, split, rows=rows, root=folder)
        return Place(name, split, hub=(preset.hub, preset.config, preset.split(split)))
    _refuse_missing_path(name)
    dataset_id, config = _hub_id(name)
    return Place(name, split, hub=(dataset_id, config, preset.split(split) if preset else split))


def read(place: Place, limit: int | None = None) -> Source:
    """The first `limit` raw rows (all for None) of a place."""
    if place.hub is not None:
        rows = _load_hub(place)
        return _first(Source(place.name, rows, [f"{place.split}-{i}" for i in range(len(rows))]), limit)
    if place.dataset is not None:
        rows = place.dataset
        ids = [f"{place.split}-{i}" for i in range(len(rows))]
        return _first(Source(place.name, rows, ids, place.root, place.bases), limit)
    if place.parquet:
        rows = _load_parquet(place)
        ids = [f"{place.files[0].stem}-{i}" for i in range(len(rows))]
        return _first(Source(place.name, rows, ids, place.root, place.bases), limit)
    source = Source(place.name, [], [], place.root, place.bases)
    for row_id, item in islice(place.items(), limit):
        if isinstance(item, BadRow):
            source.bad.append(item)
        else:
            source.ids.append(row_id)
            source.rows.append(item)  # type: ignore[union-attr]
    return source


def columns_of(rows: Sequence[Mapping[str, Any]] | Features) -> tuple[list[str], set[str]]:
    """(all columns, nested ones as "outer.inner", in order of first appearance; those that hold conversations)."""
    names: dict[str, None] = {}
    conversations: set[str] = set()
    if isinstance(rows, Features):
        for key, kind in rows.items():
            names[key] = None
            names |= dict.fromkeys(f"{key}.{inner}" for inner in kind) if isinstance(kind, dict) else {}
            element = getattr(kind, "feature", None)
            if isinstance(element, dict) and {"role", "from"} & set(element):
                conversations.add(key)
        return list(names), conversations
    for row in rows:
        for key, cell in row.items():
            if key not in names or isinstance(cell, dict):
                names[key] = None
                names |= dict.fromkeys(f"{key}.{inner}" for inner in cell) if isinstance(cell, dict) else {}
            if key not in conversations and is_conversation(cell):
                conversations.add(key)
    return list(names), conversations


def cell_of(row: Mapping[str, Any], column: str) -> Any:
    """The cell of a column, "outer.inner" being one inside a dict."""
    if column in row or "." not in column:
        return row.get(column)
    outer, _, inner = column.partition(".")
    nested = row.get(outer)
    return nested.get(inner) if isinstance(nested, Mapping) else None


def _first(source: Source, limit: int | None) -> Source:
    if limit is None or limit >= len(source.rows):
        return source
    kept = source.rows.select(range(limit)) if isinstance(source.rows, Dataset) else source.rows[:limit]
    return Source(source.name, kept, source.ids[:limit], source.root, source.bases)


def _locate_local(name: str, path: Path, split: str, preset: Preset | None) -> Place:
    splits = _local_splits(path, preset)
    for sentence in left_out(name, preset):
        _logger.warning("%s: %s", name, sentence)
    if preset is not None and list(splits) == ["train"] and list(preset.splits) == [split]:
        splits = {split: splits["train"]}  # files whose names say nothing are the only split that the set has
    wanted = next((s for s in (split, canonical_split(split)) if s in splits), None)
    if wanted is None:
        known = ", ".join(splits)
        raise DataError(f"{name} has no split {split!r}; it has {known}: name one of them (--dataset_train_split)")
    content = splits[wanted]
    root = path if path.is_dir() else path.parent
    if isinstance(content, Dataset):
        return Place(name, wanted, dataset=content, root=root)
    place = Place(name, wanted, tuple(content), root=root, bases=tuple(dict.fromkeys((content[0].parent, root))))
    if place.parquet and len(place.parquet) < len(place.files):
        raise DataError(f"{name} mixes parquet with other files; keep one kind or name one file")
    return place


def _is_saved(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _local_splits(path: Path, preset: Preset | None) -> dict[str, Any]:
    """Split name -> Dataset of a `save_to_disk` folder, or the list of files that hold it."""
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path} is no data file; give one that ends in {', '.join(SUFFIXES)}, or a folder of them")
        return {"train": [path]}
    if _is_saved(path):
        try:
            saved = datasets.load_from_disk(str(path))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path} cannot be read as a saved data set ({error}); save it again") from error
        return {canonical_split(k): v for k, v in saved.items()} if isinstance(saved, DatasetDict) else {"train": saved}
    return find_splits(path, preset.splits if preset else {})[0]


def _load_parquet(place: Place) -> Dataset:
    try:
        return Dataset.from_parquet(place.parquet)
    except (OSError, ValueError, DatasetsError) as error:
        cause = error.__cause__ or error
        raise DataError(f"{place.name} cannot be read as parquet ({cause}); write the file again") from error


def _load_hub(place: Place) -> Dataset:
    assert place.hub is not None
    dataset_id, config, split = place.hub
    try:
        return datasets.load_dataset(dataset_id, config, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(_not_on_hub(place.name, error)) from error


def _hub_id(name: str) -> tuple[str, str | None]:
    """("org/set", "config") of "org/set:config"."""
    dataset_id, _, config = name.partition(":")
    return dataset_id, config or None


def _refuse_missing_path(name: str) -> None:
    """DataError for a name that is meant as a path: nothing can be at the hub under it."""
    if name.startswith((".", "/", "~")) or Path(name).suffix.lower() in SUFFIXES or name.count("/") > 1:
        raise DataError(f"there is no file or folder {name!r}; correct the path (you are in {os.getcwd()})")


def _not_on_hub(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".")
    return (
        f"{name!r} is no built-in world, file or folder, and the Hugging Face hub did not give it ({reason}); "
        "correct the name or the split, or download the data and name its folder"
    )
