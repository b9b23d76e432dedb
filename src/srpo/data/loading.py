"""Loading: any data set -> the one row schema, ready for SRPOTrainer; splits that every data set has."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from datasets import Dataset

from srpo.data import sources, world
from srpo.data.adapt import adapt
from srpo.data.schema import DataError
from srpo.data.sources import Source

if TYPE_CHECKING:
    from srpo.roles import ResponseFormat

WORLD = "shapes"
WORLD_ROWS = {"train": 2048, "validation": 256, "test": 256}
HELD_OUT_SHARE = 0.1
HELD_OUT_MAX = 256

Name: TypeAlias = str | Path | Dataset | Sequence[Mapping[str, Any]]


def load(
    name: Name,
    split: str = "train",
    *,
    rows: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    response_format: "ResponseFormat | None" = None,
    instruction: str = "system",
    families: Sequence[str] | None = None,
    image_root: str | Path | None = None,
) -> Dataset:
    """Load one split of a data set in the row schema of `srpo.data.schema`. No image is decoded.

    Args:
        name: "shapes" (the built-in world; "shapes/pips,chain" picks families), a .jsonl, .json, .csv, .tsv or
            .parquet file, a folder of such files or of `save_to_disk`, a hub id ("org/set" or "org/set:config"), or
            rows in memory.
        split: "train", "validation" or "test", or a split that the source has. A file, or a folder whose file names
            hold no split, is one "train" split.
        rows: how many rows from the beginning; None for all (the world: 2048 for train, else 256).
        seed: seed of the built-in world.
        columns: source columns under other names than the usual ones, such as {"question": "problem"}.
        response_format: tags that the instruction asks for.
        instruction: where the instruction goes: "system", "user" or "none".
        families: families of the built-in world.
        image_root: folder that image paths are relative to, instead of the data's own; paths may not leave it.

    Raises:
        DataError: for an unknown name, split or column, an empty data set, and a row that cannot be used.
    """
    if rows is not None and rows < 1:
        raise DataError(f"rows is {rows}; it must be at least 1, or None for all")
    if _is_world(name):
        source = _world(str(name), split, rows, seed, families)
    elif families:
        raise DataError(f"families are given, but only the built-in world {WORLD!r} has families; leave them out")
    elif isinstance(name, (str, Path)):
        source = sources.read(str(name), split)
    else:
        source = sources.from_memory(name)
    return adapt(source.first(rows), columns, response_format, instruction, image_root)


def load_splits(
    name: Name, *, rows: int | None = None, eval_rows: int | None = None, **options: Any
) -> tuple[Dataset, Dataset]:
    """(train, eval) of a data set; `options` are those of `load`.

    eval is the validation split, else the test split. Where there is neither, 10 % of train (at most 256 rows) is held
    out by a hash of question and image: the choice depends on no seed, and equal questions on equal images stay
    together.
    """
    splits: tuple[str, ...] = world.SPLITS if _is_world(name) else ("train",)
    if isinstance(name, (str, Path)) and not _is_world(name):
        splits = sources.split_names(str(name))
    eval_split = next((s for s in ("validation", "test") if s in map(sources.canonical_split, splits)), None)
    if eval_split is None:
        train, held_out = hold_out(load(name, "train", **options))
        return _first(train, rows), _first(held_out, eval_rows)
    eval_split = next(s for s in splits if sources.canonical_split(s) == eval_split)
    return load(name, "train", rows=rows, **options), load(name, eval_split, rows=eval_rows, **options)


def hold_out(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """(train, eval): the rows with the lowest hashes of question and image are held out, 10 % and at most 256."""
    keys = _content_keys(dataset)
    wanted = min(HELD_OUT_MAX, max(1, round(HELD_OUT_SHARE * len(keys))))
    copies = Counter(keys)
    chosen: set[str] = set()
    taken = 0
    for key in sorted(copies):
        if taken and taken + copies[key] > wanted:
            break
        chosen.add(key)
        taken += copies[key]
        if taken >= wanted:
            break
    if taken == len(keys):
        raise DataError(
            f"none of {len(keys)} rows can be held out for evaluation; give more rows or a validation split"
        )
    held_out = [i for i, key in enumerate(keys) if key in chosen]
    kept = [i for i, key in enumerate(keys) if key not in chosen]
    return dataset.select(kept), dataset.select(held_out)


def _is_world(name: Name) -> bool:
    return isinstance(name, str) and (name == WORLD or name.startswith(f"{WORLD}/"))


def _world(name: str, split: str, rows: int | None, seed: int, families: Sequence[str] | None) -> Source:
    """Rows of the built-in world, of the families that "shapes/..." or `families` pick, else of all."""
    picked = [part.strip() for part in name[len(WORLD) + 1 :].split(",") if part.strip()]
    if picked and families:
        raise DataError(f"{name!r} and families={', '.join(families)} both pick families; use one of them")
    split = sources.canonical_split(split)
    drawn = world.generate(split, rows=rows or WORLD_ROWS.get(split, 1), seed=seed, families=picked or families)
    return Source(name, drawn, [row["id"] for row in drawn])


def _first(dataset: Dataset, rows: int | None) -> Dataset:
    return dataset if rows is None or rows >= len(dataset) else dataset.select(range(rows))


def _content_keys(dataset: Dataset) -> list[str]:
    """A hash of question and images for every row: the path of a file, length and checksum of stored bytes."""
    keys = []
    for batch in dataset.select_columns(["question", "images"]).with_format("arrow").iter(batch_size=256):
        for question, pictures in zip(batch["question"].to_pylist(), batch["images"].to_pylist(), strict=True):
            marks = [f"{len(p['bytes'])} {zlib.crc32(p['bytes'])}" if p["bytes"] else p["path"] for p in pictures]
            keys.append(hashlib.sha256(repr((question, marks)).encode()).hexdigest())
    return keys
