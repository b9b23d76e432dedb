"""Replies on disk: drawn in fixed batches, each a file of its own, so that a stopped evaluation loses one batch.

parts/VARIANT-000012.parquet  one finished batch, while the evaluation runs
replies.parquet               all of them at the end; the parts go
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

AS_IS = "as_is"
SCHEMA = pa.schema(
    [
        ("variant", pa.string()),
        ("row", pa.int64()),
        ("row_id", pa.string()),
        ("question", pa.string()),
        ("reference", pa.string()),
        ("task", pa.string()),
        ("family", pa.string()),
        ("sample", pa.int32()),
        ("prefix", pa.string()),
        ("text", pa.string()),
        ("answer", pa.string()),
        ("ended", pa.bool_()),
        ("tokens", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("score", pa.float64()),
        ("right", pa.bool_()),
        ("structured", pa.bool_()),
        ("format", pa.float64()),
        ("perception_precision", pa.float64()),
        ("perception_recall", pa.float64()),
        ("perception_needed", pa.float64()),
        ("seconds", pa.float64()),
    ]
)
_COMPLETE = b"srpo.batches"


@dataclass(frozen=True)
class ScoredReply:
    """One reply and its scores: a row of replies.parquet.

    Attributes:
        variant: what was asked: "as_is", or a variant of the audit.
        row: index of the question among the rows.
        row_id: its name.
        question: its text.
        reference: the right answer.
        task: how answers are compared.
        family: of the built-in world, "" elsewhere.
        sample: which of the k replies to the question.
        prefix: text of the reply that was given.
        text: the whole reply, prefix included.
        answer: content of its last answer block, None without one.
        ended: did it end by itself?
        tokens: length of what was sampled.
        token_ids: what was sampled.
        score: accuracy reward.
        right: is the score at least one half?
        structured: does the reply hold all blocks, in order, closed?
        format: format reward.
        perception_precision: right facts among the stated; this and the next two are None where the truth is unknown
            and for a reply that is not structured.
        perception_recall: stated facts among the true.
        perception_needed: 1.0 where the stated facts that the answer rests on are exactly the true ones, else 0.0.
        seconds: its share of the time that its batch took.
    """

    variant: str
    row: int
    row_id: str
    question: str
    reference: str
    task: str
    family: str
    sample: int
    prefix: str
    text: str
    answer: str | None
    ended: bool
    tokens: int
    token_ids: list[int]
    score: float
    right: bool
    structured: bool
    format: float
    perception_precision: float | None = None
    perception_recall: float | None = None
    perception_needed: float | None = None
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Batch:
    """Replies that are drawn together: their indices among the requests of the variant."""

    variant: str
    number: int
    indices: tuple[int, ...]

    def seed(self, run_seed: int) -> str:
        """The seed of its draws."""
        return f"{run_seed}/{self.variant}/{self.number}"


def plan_batches(variant: str, indices: Sequence[int], batch_size: int) -> list[Batch]:
    """The indices in order, cut into batches.

    A plan depends on nothing but its arguments, so that an evaluation which goes on draws what it would have drawn, in
    the batches in which it would have drawn it.
    """
    starts = range(0, len(indices), batch_size)
    return [Batch(variant, i, tuple(indices[start : start + batch_size])) for i, start in enumerate(starts)]


class ReplyStore:
    """The replies of one run directory."""

    def __init__(self, run: Path) -> None:
        self.run, self.parts, self.whole = run, run / "parts", run / "replies.parquet"

    def missing(self, batches: Sequence[Batch]) -> list[Batch]:
        """The batches of one variant that no finished draw has written yet."""
        if not batches or batches[0].variant in self.complete_variants():
            return []
        written = set(self.written(batches[0].variant))
        return [batch for batch in batches if batch.number not in written]

    def write(self, batch: Batch, replies: Sequence[ScoredReply]) -> None:
        """Keep a finished batch, through a neighbouring file, so that half a batch never counts as one."""
        self.parts.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist([asdict(reply) for reply in replies], schema=SCHEMA)
        _write(self._part(batch.variant, batch.number), table)

    def read(self, variant: str) -> list[ScoredReply]:
        """All replies of a variant that were written, by row and sample."""
        replies = [ScoredReply(**record) for record in self._table(variant).to_pylist()]
        return sorted(replies, key=lambda reply: (reply.row, reply.sample))

    def written(self, variant: str) -> list[int]:
        """The numbers of the batches that lie in parts/, whichever process wrote them."""
        return [int(path.stem.rpartition("-")[2]) for path in self.parts.glob(f"{variant}-*.parquet")]

    def holds(self, variant: str) -> bool:
        """Is there any reply of a variant?"""
        return variant in self.complete_variants() or bool(self.written(variant))

    def complete_variants(self) -> list[str]:
        """The variants in replies.parquet."""
        if not self.whole.exists():
            return []
        return list(json.loads((pq.read_schema(self.whole).metadata or {}).get(_COMPLETE, b"[]")))

    def finish(self, variants: Sequence[str]) -> None:
        """Join finished variants, and those that were joined before, in replies.parquet; their parts go."""
        names = list(dict.fromkeys([*self.complete_variants(), *variants]))
        table = pa.concat_tables([SCHEMA.empty_table(), *map(self._table, names)])
        _write(self.whole, table.replace_schema_metadata({_COMPLETE: json.dumps(names).encode()}))
        shutil.rmtree(self.parts, ignore_errors=True)

    def _table(self, variant: str) -> pa.Table:
        if variant in self.complete_variants():
            return pq.read_table(self.whole, schema=SCHEMA, filters=[("variant", "=", variant)])
        parts = [pq.read_table(path, schema=SCHEMA) for path in sorted(self.parts.glob(f"{variant}-*.parquet"))]
        return pa.concat_tables([SCHEMA.empty_table(), *parts])

    def _part(self, variant: str, number: int) -> Path:
        return self.parts / f"{variant}-{number:06d}.parquet"


def _write(path: Path, table: pa.Table) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)
