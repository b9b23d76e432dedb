"""Folders of data files -> the files of every split, and a sentence for each file that is not read."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from srpo.data.files import SUFFIXES, rows_of_document, starts_as_document
from srpo.data.schema import USUAL_NAMES, DataError

SPLIT_WORDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "eval"),
    "test": ("test", "testing"),
}
_NOT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_REPORT_KEYS = {"bad_rows", "splits"}

Splits = dict[str, list[Path]]


def canonical_split(split: str) -> str:
    """ "validation" for "val", "dev" and the like, "train" for "training"; other names as they are."""
    return next((name for name, words in SPLIT_WORDS.items() if split.lower() in words), split)


def find_splits(folder: Path, names: Mapping[str, str]) -> tuple[Splits, list[str]]:
    """(split -> its data files, one sentence for each file that is left out).

    Files lie in the folder, in its `data`, or in folders of either that are called like splits. In one folder, file
    names choose the split; where no name holds one, all files are the split "train".

    Args:
        folder: where to look.
        names: our split -> a word for it in file names, besides the usual ones.

    Raises:
        DataError: for a folder without data files, and for a file name that holds words of two splits.
    """
    words = {**SPLIT_WORDS, **{ours: (theirs,) for ours, theirs in names.items()}}
    for place in (folder, folder / "data"):
        if files := _data_files(place):
            return _by_file_name(files, words)
    for place in (folder, folder / "data"):
        if splits := _by_folder_name(place, words):
            return splits, []
    raise DataError(f"folder {folder} holds no data file; put one in it that ends in {', '.join(SUFFIXES)}")


def _data_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (Path(entry.path) for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith("."))
    return sorted(file for file in found if file.suffix.lower() in SUFFIXES and file.name not in _NOT_DATA)


def _by_file_name(files: Sequence[Path], words: Mapping[str, Sequence[str]]) -> tuple[Splits, list[str]]:
    rows = [file for file in files if len(files) == 1 or _holds_rows(file)] or list(files)
    notes = [f"{file.name} is not read: it holds no rows" for file in files if file not in rows]
    splits: Splits = {}
    for file in rows:
        for split in _splits_of_name(file, words):
            splits.setdefault(split, []).append(file)
    if not splits:
        return {"train": rows}, notes
    named = next(iter(splits.values()))[0].name
    read = {file for of_split in splits.values() for file in of_split}
    notes += [f"{f.name} is not read: its name holds no split, as {named} does" for f in rows if f not in read]
    return splits, notes


def _splits_of_name(file: Path, words: Mapping[str, Sequence[str]]) -> list[str]:
    parts = {*re.split(r"[^a-z]+", file.stem.lower()), *re.split(r"[^a-z0-9_]+", file.stem.lower())}
    found = {split: parts & set(words[split]) for split in words if parts & set(words[split])}
    if len(found) > 1 and not set.intersection(*found.values()):
        said = ", ".join(word for split in found for word in sorted(found[split]))
        raise DataError(f"{file} names two splits ({said}); rename it, or give the file itself as the data set")
    return list(found)


def _by_folder_name(folder: Path, words: Mapping[str, Sequence[str]]) -> Splits:
    splits: Splits = {}
    inner = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir()) if folder.is_dir() else []
    for place in map(Path, inner):
        for split in (split for split in words if place.name.lower() in words[split]):
            splits.setdefault(split, []).extend(_data_files(place))
    return {split: files for split, files in splits.items() if files}


def _holds_rows(file: Path) -> bool:
    """Whether a data file can hold rows: False for a JSON file of settings, or a report, among the data files."""
    if file.suffix.lower() != ".json":
        return True
    try:
        with file.open("rb") as opened:
            as_document = starts_as_document(file, opened)
            content = opened.read() if as_document else opened.readline()
            follows = b"" if as_document else opened.readline()
        value = json.loads(content.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return True  # its faults are told where it is read
    if not isinstance(value, dict) or follows.strip():
        return True
    if not as_document:
        return not _REPORT_KEYS & set(value) and any(name in value for name in USUAL_NAMES["question"])
    rows = rows_of_document(value)
    return bool(rows) and all(isinstance(row, dict) for row in rows)
