"""Sampled rollouts, token by token, as parquet."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from srpo.corruption import to_rgb
from srpo.metrics import CreditBatch
from srpo.roles import token_spans
from srpo.vision import column_images, message_images

SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("row_id", pa.string()),
        ("question", pa.string()),
        ("reference", pa.string()),
        ("alternatives", pa.list_(pa.string())),
        ("options", pa.list_(pa.string())),
        ("task", pa.string()),
        ("image", pa.binary()),
        ("corrupted", pa.binary()),
        ("corruption", pa.string()),
        ("completion", pa.string()),
        ("ended", pa.bool_()),
        ("rewards", pa.map_(pa.string(), pa.float32())),
        ("advantage", pa.float32()),
        ("tokens", pa.list_(pa.string())),
        ("roles", pa.list_(pa.int8())),
        ("gaps", pa.list_(pa.float32())),
        ("weights", pa.list_(pa.float32())),
    ]
)
LONGEST_SIDE = 512  # of a saved image, in pixels


class RolloutFile:
    """Observer of `SRPOTrainer` that saves rollouts of some steps to rollouts/step_N.parquet, a `rollout_record` each.

    Args:
        run: the run directory.
        tokenizer: of the policy.
        every: optimizer steps between files.
        count: rollouts per file.
    """

    def __init__(self, run: Path, tokenizer: Any, *, every: int, count: int) -> None:
        self.folder = run / "rollouts"
        self.tokenizer, self.every, self.count = tokenizer, every, count
        self.next_step = 0

    def __call__(self, credit: CreditBatch) -> None:
        if credit.step < self.next_step:
            return
        self.next_step = credit.step + self.every
        records = [rollout_record(credit, i, self.tokenizer) for i in range(min(self.count, len(credit.rows)))]
        write_rollouts(self.folder / f"step_{credit.step:06d}.parquet", records)


def write_rollouts(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records of `SCHEMA` through a neighbouring file, so that a reader never sees half of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:  # Arrow opens no path that is not UTF-8
        pq.write_table(pa.Table.from_pylist(list(records), schema=SCHEMA), file, compression="zstd")
    partial.replace(path)


def rollout_record(credit: CreditBatch, i: int, tokenizer: Any) -> dict[str, Any]:
    """Rollout i of a batch as a row of `SCHEMA`.

    It holds what `srpo rewards explain` needs of the data row, the first image and its corrupted twin (PNG, in the
    first rollout of its prompt only), the reply, whether it ended by itself, its rewards and advantage, and for each
    token its text, role (0 neutral, 1 perception, 2 reasoning), gap in nats and weight. Gaps are null where none was
    measured: in a rollout without an advantage, and throughout for a credit that compares nothing.
    """
    row = credit.rows[i]
    length = int(credit.batch["completion_mask"][i].sum())
    ids = credit.batch["completion_ids"][i, :length].tolist()
    text, spans = token_spans(ids, tokenizer)
    first = i == 0 or any(credit.rows[i - 1].get(name) != row.get(name) for name in ("id", "prompt"))
    images = _images(row) if first else []
    twins = credit.corrupted(i) if images and credit.corruption else []
    return {
        "step": credit.step,
        "row_id": str(row.get("id", "")),
        "question": str(row.get("question", "")),
        "reference": str(row.get("answer", "")),
        "alternatives": _texts(row.get("alternatives")),
        "options": _texts(row.get("options")),
        "task": str(row.get("task") or ""),
        "image": _png(images),
        "corrupted": _png(twins),
        "corruption": credit.corruption,
        "completion": text,
        "ended": bool(ids) and ids[-1] in credit.eos,
        "rewards": [(name, values[i]) for name, values in credit.rewards.items() if values[i] is not None],
        "advantage": float(credit.advantages[i]),
        "tokens": [text[start:end] for start, end in spans],
        "roles": credit.roles[i, :length].tolist(),
        "gaps": credit.gaps[i, :length].tolist() if credit.measures and credit.learns[i] else None,
        "weights": credit.weights[i, :length].tolist(),
    }


def _images(row: dict[str, Any]) -> list[Image.Image]:
    return column_images(row) or message_images(row.get("prompt") or [])


def _texts(values: Any) -> list[str]:
    return [str(value) for value in values or ()]


def _png(images: list[Image.Image]) -> bytes | None:
    """The first of some images, made smaller if need be."""
    if not images:
        return None
    buffer = io.BytesIO()
    picture = to_rgb(images[0])
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
