"""Data files -> rows as dicts: JSON (lines or an array), CSV and TSV."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from srpo.data.schema import DataError

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


def read_file(path: Path) -> list[dict[str, Any]]:
    """The rows of a .json, .jsonl, .csv or .tsv file; DataError with file and line for what cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); it must be a readable UTF-8 file") from error
    if path.suffix.lower() in (".csv", ".tsv"):
        return _rows_of_table(path, text, "\t" if path.suffix.lower() == ".tsv" else ",")
    return _rows_of_array(path, text) if text.lstrip().startswith("[") else _rows_of_lines(path, text)


def _rows_of_array(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); correct it at that place") from error
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{path}: element {i} is a {type(row).__name__}; each must be an object with named columns")
    return rows


def _rows_of_lines(path: Path, text: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{path}, line {number} is not valid JSON ({error}); write one object per line, or one array"
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number} is a {type(row).__name__}; it must be an object with named columns")
        rows.append(row)
    return rows


def _rows_of_table(path: Path, text: str, delimiter: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[dict[str, Any]] = []
    try:
        for row in reader:
            if None in row:
                raise DataError(f"{path}, line {reader.line_num} has more cells than the header; quote the separator")
            rows.append(row)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num} cannot be read ({error}); correct it") from error
    return rows
