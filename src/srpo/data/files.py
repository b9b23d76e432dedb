"""Data files -> rows as dicts, one at a time: JSON (lines or an array), CSV and TSV."""

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from srpo.data.problems import BadRow
from srpo.data.questions import is_conversation
from srpo.data.schema import DataError
from srpo.data.values import shorten

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")

Item = dict[str, Any] | BadRow
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what the error handler "surrogateescape" makes of such bytes


def iter_file(path: Path) -> Iterator[Item]:
    """The rows of a .json, .jsonl, .csv or .tsv file, a BadRow in place of each that cannot be read.

    Lines are read as they are asked for; only a JSON array is read as a whole. DataError where nothing can be read.
    """
    try:
        with path.open("rb") as file:
            if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise DataError(f"{path} is written in UTF-16; save it as UTF-8")
            file.seek(0)
            yield from (
                _rows_of_table(path, file) if path.suffix.lower() in (".csv", ".tsv") else _rows_of_json(path, file)
            )
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); it must be a readable file") from error


def starts_as_document(path: Path, file: BinaryIO) -> bool:
    """Whether a JSON file is one array or one object of rows, not an object a line. Seeks to its start."""
    start = file.read(4096).decode("utf-8-sig", "replace").lstrip()
    file.seek(0)
    if start.startswith("["):
        return True
    if path.suffix.lower() != ".json" or not start.startswith("{"):
        return False
    line = file.readline().decode("utf-8-sig", "replace").rstrip()
    file.seek(0)
    return line.endswith(("{", "[", ",", ":")) or (line.endswith("]}") and _wraps_rows(line))


def rows_of_document(content: Any) -> list[Any]:
    """The rows of an array, of an object with one key that holds them, or of one whose values they are (keys: ids)."""
    if not isinstance(content, dict):
        return list(content)
    if len(content) == 1 and _is_rows(*content.values()):
        return list(*content.values())
    return [{"id": key, **row} if isinstance(row, dict) else row for key, row in content.items()]


def _wraps_rows(line: str) -> bool:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and len(content) == 1 and _is_rows(*content.values())


def _is_rows(cell: Any) -> bool:
    """Whether a cell is a list of objects that are no messages."""
    is_list = isinstance(cell, list) and bool(cell) and all(isinstance(row, dict) for row in cell)
    return is_list and not is_conversation(cell)


def _rows_of_json(path: Path, file: BinaryIO) -> Iterator[Item]:
    if starts_as_document(path, file):
        yield from _rows_of_document(path, file)
        return
    for number, line in enumerate(file, 1):
        if line.strip():
            yield _row_of_line(f"{path.name}, line {number}", line)


def _row_of_line(place: str, line: bytes) -> Item:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return BadRow(place, "line", f"it is not UTF-8 ({error})", "save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        return BadRow(place, "line", f"it is not valid JSON ({error})", "write one object per line, or one array")
    if not isinstance(row, dict):
        return BadRow(place, "line", f"it is a {type(row).__name__}", "write an object with named columns")
    return row


def _rows_of_document(path: Path, file: BinaryIO) -> Iterator[Item]:
    try:
        rows = rows_of_document(json.loads(file.read().decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}); correct it at that place") from error
    for i, row in enumerate(rows):
        if isinstance(row, dict):
            yield row
        else:
            reason = f"it is a {type(row).__name__} ({shorten(row)})"
            yield BadRow(f"{path.name}, element {i}", "line", reason, "write an object with named columns")


def _rows_of_table(path: Path, file: BinaryIO) -> Iterator[Item]:
    """Rows of a table with a header; cells may be as long as a picture in base64."""
    separator = _separator(path, file)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    limit = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(text, delimiter=separator)
    header: list[str] | None = None
    try:
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(
                    f"{path.name}, line {reader.line_num}", "line", f"it cannot be read ({error})", "correct it"
                )
                continue
            if header is None:
                header = cells
                _check_header(path, header)
            elif cells:
                yield _row_of_cells(f"{path.name}, line {reader.line_num}", header, cells)
    finally:
        csv.field_size_limit(limit)


def _separator(path: Path, file: BinaryIO) -> str:
    """What parts the cells: as the suffix says, else what a header holds that would be one cell."""
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    line = file.readline().decode("utf-8-sig", "replace")
    file.seek(0)
    return usual if usual in line else next((other for other in ";\t," if other in line), usual)


def _check_header(path: Path, header: list[str]) -> None:
    repeated = next((name for i, name in enumerate(header) if name and name in header[:i]), None)
    if repeated is not None:
        raise DataError(f"{path} has two columns {repeated!r}; give each a name of its own")


def _row_of_cells(place: str, header: list[str], cells: list[str]) -> Item:
    if len(cells) != len(header):
        remedy = "quote cells that hold the separator" if len(cells) > len(header) else "write empty cells too"
        return BadRow(place, "line", f"it has {len(cells)} cells and the header {len(header)}", remedy)
    if any(not cell.isascii() and _NOT_UTF8.search(cell) for cell in cells):
        return BadRow(place, "line", "it is not UTF-8", "save the file as UTF-8")
    return dict(zip(header, cells, strict=True))
