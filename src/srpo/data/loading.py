"""Loading: any data set -> the one row schema, ready for SRPOTrainer; splits that every data set has."""

import hashlib
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from datasets import Dataset, IterableDataset

from srpo.data import mixture, sources, world
from srpo.data.adapt import Loaded, Options, adapt
from srpo.data.presets import PRESETS, Preset, find_preset
from srpo.data.problems import BadRow, kind_counts, summary
from srpo.data.rows import AUTO
from srpo.data.schema import DataError
from srpo.data.sources import Source
from srpo.data.streaming import stream

if TYPE_CHECKING:
    from srpo.roles import ResponseFormat

WORLD = "shapes"
WORLD_ROWS = {"train": 2048, "validation": 256, "test": 256}
HELD_OUT_SHARE = 0.1
HELD_OUT_MAX = 256
ON_BAD_ROWS = ("refuse", "skip")

Name: TypeAlias = str | Path | Dataset | Sequence[Mapping[str, Any]]
OnBadRows: TypeAlias = str | Callable[[list[BadRow]], None]
_logger = logging.getLogger(__name__)


def load(
    name: Name,
    split: str | None = None,
    *,
    rows: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    preset: str | None = None,
    task: str | None = None,
    hint: str = AUTO,
    response_format: "ResponseFormat | None" = None,
    instruction: str = "system",
    families: Sequence[str] | None = None,
    image_root: str | Path | None = None,
    max_pixels: int | None = None,
    answer_base: int | None = None,
    on_bad_rows: OnBadRows = "refuse",
    streaming: bool = False,
) -> Dataset:
    """Load one split of a data set in the row schema of `srpo.data.schema`. No image is decoded.

    Args:
        name: "shapes" (the built-in world; "shapes/pips,chain" picks families), a preset ("geometry3k"), a .jsonl,
            .json, .csv, .tsv or .parquet file, a folder of such files or of `save_to_disk`, a hub id ("org/set" or
            "org/set:config"), a .yaml file that mixes sets, or rows in memory.
        split: "train" (the default), "validation" or "test", or a split that the source has. A file, or a folder whose
            file names hold no split, is one "train" split.
        rows: how many rows from the beginning, bad ones among them; None for all (the world: 2048 for train, else 256).
        seed: seed of the built-in world and of mixtures.
        columns: source columns under other names than the usual ones, such as {"question": "problem"}.
        preset: read the data as this known set; where `name` is a preset it is its own.
        task: how answers are compared, for rows that do not say so and as far as it fits them.
        hint: sentence behind the questions; "auto" for the preset's, or what the task of a row calls for.
        response_format: tags that the instruction asks for.
        instruction: where the instruction goes: "system", "user" or "none".
        families: families of the built-in world.
        image_root: folder that image paths are relative to, instead of the data's own; paths may not leave it.
        max_pixels: larger images are shrunk to this many pixels when they are read, whatever the processor does.
        answer_base: 0 or 1 where whole numbers as answers are positions among the options, counted from there; None to
            go by the answers.
        on_bad_rows: "refuse" a set with rows that cannot be used, "skip" these and log them, or a function that is
            called with the finds of the rows that are left out.
        streaming: give a `datasets.IterableDataset` whose rows are read as they are asked for.

    Raises:
        DataError: for an unknown name, split or column, an empty data set, and rows that cannot be used.
    """
    if not callable(on_bad_rows) and on_bad_rows not in ON_BAD_ROWS:
        raise DataError(f"on_bad_rows {on_bad_rows!r} must be one of {', '.join(ON_BAD_ROWS)}")
    given: dict[str, Any] = {"rows": rows, "seed": seed, "families": families, "preset": preset, "columns": columns}
    given |= {"task": task, "hint": hint, "response_format": response_format, "instruction": instruction}
    given |= {"image_root": image_root, "max_pixels": max_pixels, "answer_base": answer_base}
    if streaming:
        return stream_rows(name, split, skip=on_bad_rows != "refuse", **given)  # type: ignore[return-value]
    return _checked(name, open_rows(name, split, **given), on_bad_rows)


def open_rows(
    name: Name,
    split: str | None = None,
    *,
    rows: int | None = None,
    seed: int = 0,
    families: Sequence[str] | None = None,
    preset: str | None = None,
    **adapting: Any,
) -> Loaded:
    """The rows of a split that can be used, and a find for every other; arguments as in `load`.

    Raises:
        DataError: for an unknown name, split or column and for an empty data set, not for bad rows.
    """
    known = _preset(name, preset)
    _check(name, rows, families, known)
    if mixture.is_mixture(name):
        return _mixed(Path(str(name)), split, rows, seed, adapting)
    options = Options(preset=known, **adapting)
    if _is_world(name):
        return adapt(_world(str(name), split or "train", rows, seed, families), options)
    if isinstance(name, (str, Path)):
        place = sources.locate(str(name), split or _default_split(known), known)
        return adapt(sources.read(place, rows), options)
    return adapt(sources.from_memory(name, rows), options)


def stream_rows(
    name: Name,
    split: str | None = None,
    *,
    skip: bool = False,
    prefix: str = "",
    rows: int | None = None,
    seed: int = 0,
    families: Sequence[str] | None = None,
    preset: str | None = None,
    **adapting: Any,
) -> IterableDataset:
    """The rows of a split as a stream; arguments as in `load`. Bad rows raise DataError, or are skipped, when met."""
    known = _preset(name, preset)
    _check(name, rows, families, known)
    if mixture.is_mixture(name):
        parts = mixture.read_mixture(Path(str(name)))
        prefixes = mixture.prefixes_of([part.data for part in parts])
        shared = adapting | {"skip": skip, "seed": seed}
        streams = [
            stream_rows(part.data, part.split or split, prefix=start, **(shared | part.options))
            for part, start in zip(parts, prefixes, strict=True)
        ]
        mixed = mixture.mix_streams(streams, [part.weight for part in parts], seed)
        return mixed if rows is None else mixed.take(rows)
    place = None
    if isinstance(name, (str, Path)) and not _is_world(name):
        place = sources.locate(str(name), split or _default_split(known), known)
    if place is None or place.dataset is not None:
        loaded = open_rows(name, split, rows=rows, seed=seed, families=families, preset=preset, **adapting)
        dataset = _checked(name, loaded, "skip" if skip else "refuse")
        return mixture.schema_of(dataset, prefix).to_iterable_dataset()
    opened = stream(place, Options(preset=known, **adapting), skip=skip, prefix=prefix)
    return opened if rows is None else opened.take(rows)


def load_splits(
    name: Name, *, rows: int | None = None, eval_rows: int | None = None, **options: Any
) -> tuple[Dataset, Dataset | None]:
    """(train, eval) of a data set; `options` are those of `load`.

    eval is the validation split, else the test split. Where there is neither, 10 % of train (at most 256 rows) is held
    out by a hash of question and image: the choice depends on no seed, and equal questions on equal images stay
    together. From a stream nothing can be held out: eval is None then.
    """
    splits = splits_of(name, options.get("preset"))
    kinds = [sources.canonical_split(split) for split in splits]
    if "train" not in kinds and {"validation", "test"} & set(kinds):
        known = ", ".join(splits)
        raise DataError(f"{name} has no split to train on; it has {known}: name one of them (--dataset_train_split)")
    eval_split = next((s for s in ("validation", "test") if s in kinds), None)
    if eval_split is None and options.get("streaming"):
        return load(name, "train", rows=rows, **options), None
    if eval_split is None:
        train, held_out = hold_out(load(name, "train", **options))
        return _first(train, rows), _first(held_out, eval_rows)
    held_out_split = splits[kinds.index(eval_split or "train")]
    return load(name, "train", rows=rows, **options), load(name, held_out_split, rows=eval_rows, **options)


def splits_of(name: Name, preset: str | None = None) -> tuple[str, ...]:
    """The names of the splits that a data set has; a mixture and rows in memory are one train split."""
    if _is_world(name):
        return world.SPLITS
    if isinstance(name, (str, Path)) and not mixture.is_mixture(name):
        return sources.split_names(str(name), _preset(name, preset))
    return ("train",)


def load_questions(name: Name, *, rows: int | None = None, **options: Any) -> tuple[Dataset, str]:
    """The rows to evaluate on, and what they are called: the test split, else validation, else the part of train that
    `hold_out` keeps from training; a set with one other split is that split. `options` are those of `load`.
    """
    splits = splits_of(name, options.get("preset"))
    kinds = [sources.canonical_split(split) for split in splits]
    found = next((splits[kinds.index(kind)] for kind in ("test", "validation") if kind in kinds), None)
    if found is None and "train" not in kinds:
        if len(splits) > 1:
            raise DataError(f"{name} has neither test nor validation nor train; name one of {', '.join(splits)}")
        found = splits[0]
    if found is not None:
        return load(name, found, rows=rows, **options), found
    held_out = hold_out(load(name, "train", **options))[1]
    return _first(held_out, rows), "held-out part of train"


def hold_out(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """(train, eval): the rows with the lowest hashes of question and image are held out, 10 % and at most 256."""
    keys = content_keys(dataset)
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


def _checked(name: Name, loaded: Loaded, on_bad_rows: OnBadRows) -> Dataset:
    """The rows; DataError for refused ones, or a warning that lists them, or a call with them."""
    refused = loaded.refused
    label = name if isinstance(name, (str, Path)) else "the data set"
    if refused and on_bad_rows == "refuse":
        raise DataError(
            f"{summary(refused)}; srpo data check lists every such row of {label}, --on_bad_rows skip leaves them out"
        )
    if callable(on_bad_rows):
        on_bad_rows(refused)
    elif refused:
        counts = ", ".join(f"{count} {kind}" for kind, count in kind_counts(refused).items())
        _logger.warning("%s: %d bad rows are left out (%s)", label, len({find.row for find in refused}), counts)
        for find in refused:
            _logger.warning("%s", find)
    if len(loaded.dataset) == 0:
        raise DataError(f"{label} has no row that can be used: {summary(refused)}")
    return loaded.dataset


def _mixed(path: Path, split: str | None, rows: int | None, seed: int, adapting: Mapping[str, Any]) -> Loaded:
    parts = mixture.read_mixture(path)
    opened = [open_rows(p.data, p.split or split, **({**adapting, "seed": seed} | p.options)) for p in parts]
    for part, loaded in zip(parts, opened, strict=True):
        if len(loaded.dataset) == 0:
            raise DataError(f"{part.data} has no row that can be used: {summary(loaded.refused)}")
    names = [part.data for part in parts]
    dataset = mixture.mix([loaded.dataset for loaded in opened], names, [part.weight for part in parts], seed)
    return Loaded(_first(dataset, rows), [find for loaded in opened for find in loaded.bad])


def _preset(name: Name, preset: str | None) -> Preset | None:
    if preset is not None:
        return find_preset(preset)
    return PRESETS.get(name) if isinstance(name, str) else None


def _default_split(preset: Preset | None) -> str:
    return "train" if preset is None or "train" in preset.splits else next(iter(preset.splits))


def _check(name: Name, rows: int | None, families: Sequence[str] | None, preset: Preset | None) -> None:
    if rows is not None and rows < 1:
        raise DataError(f"rows is {rows}; it must be at least 1; leave it out for all")
    if families and not _is_world(name):
        raise DataError(f"families are given, but only the built-in world {WORLD!r} has families; leave them out")
    if preset is not None and (_is_world(name) or mixture.is_mixture(name)):
        raise DataError(f"preset {preset.name!r} is given, and {name} is no data set of its kind; leave the preset out")


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


def content_keys(dataset: Dataset) -> list[str]:
    """A hash of question and images for every row: the path of a file, length and checksum of stored bytes."""
    keys = []
    for batch in dataset.select_columns(["question", "images"]).with_format("arrow").iter(batch_size=256):
        for question, pictures in zip(batch["question"].to_pylist(), batch["images"].to_pylist(), strict=True):
            marks = [f"{len(p['bytes'])} {zlib.crc32(p['bytes'])}" if p["bytes"] else p["path"] for p in pictures]
            keys.append(hashlib.sha256(repr((question, marks)).encode()).hexdigest())
    return keys
