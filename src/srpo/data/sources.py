"""Names of data sets -> raw rows: files, folders, `save_to_disk` folders and the Hugging Face hub."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, DatasetDict
from datasets.exceptions import DatasetsError

from srpo.data.files import SUFFIXES, read_file
from srpo.data.schema import DataError

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "eval"),
    "test": ("test", "testing"),
}
_NOT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


@dataclass(frozen=True)
class Source:
    """Raw rows of one split.

    name: how messages call it; rows: a list of dicts or a datasets.Dataset; ids: names for rows that have none;
    root: the folder that image paths are relative to and may not leave, None where paths are trusted as they are.
    """

    name: str
    rows: list[dict[str, Any]] | Dataset
    ids: list[str]
    root: Path | None = None

    @property
    def columns(self) -> list[str]:
        """The column names, in order of first appearance."""
        if isinstance(self.rows, Dataset):
            return self.rows.column_names
        return list(dict.fromkeys(key for row in self.rows for key in row))

    def first(self, rows: int | None) -> "Source":
        """The first `rows` rows (all for None)."""
        if rows is None or rows >= len(self.rows):
            return self
        kept = self.rows.select(range(rows)) if isinstance(self.rows, Dataset) else self.rows[:rows]
        return Source(self.name, kept, self.ids[:rows], self.root)


def canonical_split(split: str) -> str:
    """ "validation" for "val", "dev" and the like, "train" for "training"; other names as they are."""
    return next((name for name, words in _SPLIT_WORDS.items() if split.lower() in words), split)


def from_memory(rows: Dataset | Sequence[Mapping[str, Any]]) -> Source:
    """Rows that are in memory already."""
    if not isinstance(rows, Dataset):
        rows = [dict(row) for row in rows]
    return Source("the data set", rows, [f"row-{i}" for i in range(len(rows))])


def split_names(name: str) -> tuple[str, ...]:
    """The splits of a file, folder or hub data set; DataError where there is no such thing."""
    path = Path(name).expanduser()
    if path.exists():
        return tuple(_local_splits(path))
    _refuse_missing_path(name)
    dataset_id, config = _hub_id(name)
    try:
        return tuple(datasets.get_dataset_split_names(dataset_id, config))
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(_not_on_hub(name, error)) from error


def read(name: str, split: str) -> Source:
    """The raw rows of one split of a file, folder or hub data set; DataError for an unknown name or split."""
    path = Path(name).expanduser()
    if not path.exists():
        _refuse_missing_path(name)
        return _read_hub(name, split)
    splits = _local_splits(path)
    wanted = split if split in splits else canonical_split(split)
    if wanted not in splits:
        raise DataError(f"{name} has no split {split!r}; it has {', '.join(splits)}")
    root = path if path.is_dir() else path.parent
    content = splits[wanted]
    if isinstance(content, Dataset):
        return Source(name, content, [f"{wanted}-{i}" for i in range(len(content))], root)
    return _read_files(name, content)


def _local_splits(path: Path) -> dict[str, Any]:
    """Split name -> Dataset of a `save_to_disk` folder, or the list of files that hold it."""
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path} is no data file; give one that ends in {', '.join(SUFFIXES)}, or a folder of them")
        return {"train": [path]}
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        try:
            saved = datasets.load_from_disk(str(path))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path} cannot be read as a saved data set ({error}); save it again") from error
        return {canonical_split(k): v for k, v in saved.items()} if isinstance(saved, DatasetDict) else {"train": saved}
    files = _data_files(path) or _data_files(path / "data")
    if not files:
        raise DataError(f"folder {path} holds no data file; put one in it that ends in {', '.join(SUFFIXES)}")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        words = re.split(r"[^a-z]+", file.stem.lower())
        for split in (s for s in _SPLIT_WORDS if set(words) & set(_SPLIT_WORDS[s])):
            by_split.setdefault(split, []).append(file)
    return by_split or {"train": files}


def _data_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (Path(entry.path) for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith("."))
    return sorted(file for file in found if file.suffix.lower() in SUFFIXES and file.name not in _NOT_DATA)


def _read_files(name: str, files: Sequence[Path]) -> Source:
    root = files[0].parent
    parquet = [str(file) for file in files if file.suffix.lower() == ".parquet"]
    if parquet and len(parquet) < len(files):
        raise DataError(f"{name} mixes parquet with other files; keep one kind or name one file")
    if parquet:
        try:
            table = Dataset.from_parquet(parquet)
        except (OSError, ValueError, DatasetsError) as error:
            cause = error.__cause__ or error
            raise DataError(f"{name} cannot be read as parquet ({cause}); write the file again") from error
        return Source(name, table, [f"{files[0].stem}-{i}" for i in range(len(table))], root)
    rows: list[dict[str, Any]] = []
    ids: list[str] = []
    for file in files:
        of_file = read_file(file)
        rows += of_file
        ids += [f"{file.stem}-{i}" for i in range(len(of_file))]
    return Source(name, rows, ids, root)


def _read_hub(name: str, split: str) -> Source:
    dataset_id, config = _hub_id(name)
    try:
        rows = datasets.load_dataset(dataset_id, config, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(_not_on_hub(name, error)) from error
    return Source(name, rows, [f"{split}-{i}" for i in range(len(rows))])


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
