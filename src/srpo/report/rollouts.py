"""The rollout files of a run, whatever state they are in: those that can be read, and a sentence on each other one.

Axes: T tokens of a reply.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from srpo.report.text import decoded, finite, step_number

ROLES = {1: "perception", 2: "reasoning"}
_ACCURACY, _FORMAT, _PERCEPTION = "accuracy_reward", "format_reward", "perception"


@dataclass(frozen=True)
class Rollout:
    """One reply.

    Attributes:
        rewards: by reward function.
        advantage: None where it is unknown.
        ended: did it end by itself? None where it is unknown.
        tokens: T texts.
        roles: (T,) 0 neutral, 1 perception, 2 reasoning.
        gaps: (T,) nats; None where none was measured.
        weights: (T,).
    """

    rewards: dict[str, float | None]
    advantage: float | None
    ended: bool | None
    tokens: list[str]
    roles: np.ndarray
    gaps: np.ndarray | None
    weights: np.ndarray

    @property
    def structured(self) -> bool:
        """Does it follow the response format?"""
        return bool(self.roles.any())

    @property
    def right(self) -> bool | None:
        """Is its accuracy reward, or the only reward that there is beside format and perception, at least 1?"""
        others = [name for name in self.rewards if name not in (_FORMAT, _PERCEPTION)]
        name = _ACCURACY if _ACCURACY in self.rewards else others[0] if len(others) == 1 else None
        reward = None if name is None else self.rewards[name]
        return None if reward is None else reward >= 1

    @property
    def lucky(self) -> bool | None:
        """Is it right although what it saw is not?"""
        seen = self.rewards.get(_PERCEPTION)
        return None if seen is None or self.right is None else self.right and seen < 1

    @property
    def largest_weight(self) -> float | None:
        """Of all tokens; None for a reply that was not scored."""
        known = self.weights[np.isfinite(self.weights)]
        return float(known.max()) if self.gaps is not None and known.size else None


@dataclass
class Group:
    """The replies to one prompt at one step.

    Attributes:
        image: bytes of a picture file, None for a text prompt.
        corrupted: the same of its corrupted twin, None where there is none.
        corruption: what was done to it.
        number: of the prompt among those of its step.
    """

    step: int
    row_id: str
    question: str
    reference: str
    options: list[str]
    task: str
    image: bytes | None
    corrupted: bytes | None
    corruption: str
    number: int = 0
    replies: list[Rollout] = field(default_factory=list)


def read_groups(run: Path, missing: list[str], *, measured: bool = True) -> Iterator[Group]:
    """The prompts of all rollout files of a run, file by file.

    Args:
        run: the run directory.
        missing: gets a sentence on each file that cannot be read.
        measured: whether the credit measures gaps; earlier versions saved zeros where it does not.
    """
    numbers: Counter[int] = Counter()
    folder = run / "rollouts"
    for path in sorted(folder.glob("*.part")):
        missing.append(f"rollouts/{path.name} was not finished and is left out.")
    for path in sorted(folder.glob("*.parquet")):
        try:
            rows = _rows(path)
            groups = list(_grouped(rows))
        except (OSError, pa.ArrowException, ValueError, TypeError, KeyError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "it is damaged or was cut short"
            missing.append(f"rollouts/{path.name} cannot be read ({reason}) and is left out.")
            continue
        for group in groups:
            group.number = numbers[group.step]
            numbers[group.step] += 1
            if not measured:
                group.replies = [replace(reply, gaps=None) for reply in group.replies]
            yield group


def _rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file; text stays bytes, because one bad byte would keep Arrow from giving any."""
    with path.open("rb") as file:  # Arrow opens no path that is not UTF-8
        table = pq.read_table(file)
    for name in ("completion", "alternatives"):
        if name in table.column_names:
            table = table.drop_columns(name)
    schema = pa.schema([(column.name, _as_bytes(column.type)) for column in table.schema])
    return table.cast(schema, safe=False).to_pylist()


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_map(kind):
        return pa.map_(_as_bytes(kind.key_type), _as_bytes(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    return pa.binary() if pa.types.is_string(kind) or pa.types.is_large_string(kind) else kind


def _grouped(rows: Iterable[Mapping[str, Any]]) -> Iterator[Group]:
    """Neighbouring rows of one prompt together; a picture stands in the first row of its prompt only."""
    group: Group | None = None
    before: tuple[Any, ...] | None = None
    for row in rows:
        prompt = tuple(row.get(name) for name in ("step", "row_id", "question", "reference"))
        if group is None or prompt != before or row.get("image"):
            if group is not None:
                yield group
            group = _group(row)
        before = prompt
        group.replies.append(_rollout(row))
    if group is not None:
        yield group


def _group(row: Mapping[str, Any]) -> Group:
    return Group(
        step=step_number(row.get("step") or 0),
        row_id=decoded(row.get("row_id")),
        question=decoded(row.get("question")),
        reference=decoded(row.get("reference")),
        task=decoded(row.get("task")),
        corruption=decoded(row.get("corruption")),
        options=[decoded(option) for option in row.get("options") or []],
        image=row.get("image"),
        corrupted=row.get("corrupted"),
    )


def _rollout(row: Mapping[str, Any]) -> Rollout:
    tokens = [decoded(token) for token in row["tokens"] or []]
    return Rollout(
        rewards={decoded(name): finite(value) for name, value in dict(row.get("rewards") or ()).items()},
        advantage=finite(row.get("advantage")),
        ended=row.get("ended"),
        tokens=tokens,
        roles=_of_tokens(row.get("roles"), len(tokens), 0, np.int8) % 3,
        gaps=None if row.get("gaps") is None else _of_tokens(row["gaps"], len(tokens), np.nan),
        weights=_of_tokens(row.get("weights"), len(tokens), 1.0),
    )


def _of_tokens(values: Any, count: int, other: float, kind: Any = np.float32) -> np.ndarray:
    """(T,) values, one a token; `other` where they are too few."""
    found: np.ndarray = np.full(count, other, dtype=kind)
    given = [other if value is None else value for value in values or []][:count]
    found[: len(given)] = given
    return found
