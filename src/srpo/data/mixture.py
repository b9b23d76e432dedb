"""Mixtures: a YAML file that names several data sets with weights -> one data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from datasets import Dataset, DatasetInfo, Features, IterableDataset, Value, interleave_datasets
from datasets.table import InMemoryTable

from srpo.data.schema import COLUMNS, WORLD_COLUMNS, DataError, parse_columns

SUFFIXES = (".yaml", ".yml")
_KEYS = ("data", "weight", "columns", "split", "preset", "image_root", "rows", "task", "hint", "answer_base")


@dataclass(frozen=True)
class Part:
    """One data set of a mixture: its name, its share, and the options of `load` that it sets itself."""

    data: str
    weight: float = 1.0
    split: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def is_mixture(name: Any) -> bool:
    """Whether a name is that of a mixture file."""
    return isinstance(name, (str, Path)) and Path(name).suffix.lower() in SUFFIXES


def read_mixture(path: Path) -> list[Part]:
    """The parts that a mixture file lists; relative paths are relative to the file, where something lies there.

    Raises:
        DataError: for a file that is no list of data sets, and for an entry with an unknown key or a bad weight.
    """
    try:
        content = yaml.safe_load(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"mixture {path} cannot be read ({error}); check the path") from error
    except yaml.YAMLError as error:
        raise DataError(f"mixture {path} is not YAML ({' '.join(str(error).split())}); correct it there") from error
    if not isinstance(content, list) or not content:
        raise DataError(f"mixture {path} must be a list of data sets; write lines such as '- data: geometry3k'")
    return [_part(path, number, entry) for number, entry in enumerate(content, 1)]


def mix(parts: Sequence[Dataset], names: Sequence[str], weights: Sequence[float], seed: int) -> Dataset:
    """The rows of all parts, each next row from a part drawn with its weight; it ends when the first part is used up.

    No row occurs twice. Where parts share an id, ids get their part's name in front.
    """
    ids = [set(part["id"]) for part in parts]
    shared = any(ids[i] & ids[j] for i in range(len(ids)) for j in range(i))
    extra = [column for column in WORLD_COLUMNS if any(column in part.column_names for part in parts)]
    prefixes = prefixes_of(names) if shared else [""] * len(parts)
    aligned = [_aligned(part, extra, prefix) for part, prefix in zip(parts, prefixes, strict=True)]
    return interleave_datasets(aligned, probabilities=_shares(weights), seed=seed)


def mix_streams(parts: Sequence[IterableDataset], weights: Sequence[float], seed: int) -> IterableDataset:
    """The same for streams; their ids carry the names of their parts already."""
    return interleave_datasets(list(parts), probabilities=_shares(weights), seed=seed)


def schema_of(dataset: Dataset, prefix: str) -> Dataset:
    """A data set with the columns of the schema alone and `prefix` in front of its ids."""
    return _aligned(dataset, (), prefix)


def prefixes_of(names: Sequence[str]) -> list[str]:
    """ "name/" of every part, numbered where two parts have the same name."""
    stems = [Path(name).stem if Path(name).suffix else Path(name).name for name in names]
    return [f"{stem}-{i}/" if stems.count(stem) > 1 else f"{stem}/" for i, stem in enumerate(stems, 1)]


def _part(path: Path, number: int, entry: Any) -> Part:
    place = f"mixture {path}, entry {number}"
    if not isinstance(entry, Mapping) or "data" not in entry:
        raise DataError(f"{place} names no data set; write for example 'data: geometry3k'")
    for key in entry:
        if key not in _KEYS:
            raise DataError(f"{place} has an unknown key {key!r}; the keys are {', '.join(_KEYS)}")
    weight = entry.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < float("inf"):
        raise DataError(f"{place} has weight {weight!r}; it must be a positive number")
    data, columns = str(entry["data"]), entry.get("columns")
    if is_mixture(data):
        raise DataError(f"{place} is a mixture itself ({data}); list its data sets here")
    own = ("preset", "image_root", "rows", "task", "hint", "answer_base")
    options = {key: entry[key] for key in own if key in entry}
    if columns is not None:
        options["columns"] = columns if isinstance(columns, Mapping) else parse_columns(str(columns))
    if "image_root" in options:
        options["image_root"] = _beside(path, str(options["image_root"]))
    return Part(_beside(path, data), float(weight), entry.get("split"), options)


def _beside(path: Path, name: str) -> str:
    beside = path.expanduser().parent / name
    return str(beside) if beside.exists() else name


def _shares(weights: Sequence[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def _aligned(part: Dataset, extra: Sequence[str], prefix: str) -> Dataset:
    """A part with the extra columns of the built-in world, and `prefix` in front of its ids; pictures stay in place."""
    table: pa.Table = part.data.table
    if prefix:
        ids = pc.binary_join_element_wise(prefix, table["id"], "")
        table = table.set_column(table.column_names.index("id"), "id", ids)
    for column in extra:
        if column not in table.column_names:
            table = table.append_column(column, pa.array([""] * len(table)))
    table = table.select([*COLUMNS, *extra])
    types = Features({name: part.features.get(name, Value("string")) for name in table.column_names})
    return Dataset(
        InMemoryTable(table.cast(types.arrow_schema)), DatasetInfo(features=types), indices_table=part._indices
    )
