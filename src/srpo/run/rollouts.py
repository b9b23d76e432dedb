"""Sampled rollouts, token by token, as parquet."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from srpo.metrics import CreditBatch
from srpo.roles import token_spans

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
        ("completion", pa.string()),
        ("rewards", pa.map_(pa.string(), pa.float32())),
        ("advantage", pa.float32()),
        ("tokens", pa.list_(pa.string())),
        ("roles", pa.list_(pa.int8())),
        ("gaps", pa.list_(pa.float32())),
        ("weights", pa.list_(pa.float32())),
    ]
)


class RolloutFile:
    """Observer of `SRPOTrainer` that saves rollouts of some steps to rollouts/step_N.parquet.

    One row per rollout: what `srpo rewards explain` needs of the data row, the first image (PNG, in the first rollout
    of its prompt only), the reply, its rewards and advantage, and for each token its text, role (0 neutral, 1
    perception, 2 reasoning), gap in nats and weight. Gaps are null in a rollout without an advantage, which is not
    scored.

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
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = [self._row(credit, i) for i in range(min(self.count, len(credit.rows)))]
        path = self.folder / f"step_{credit.step:06d}.parquet"
        partial = path.with_suffix(".part")
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial, compression="zstd")
        partial.replace(path)

    def _row(self, credit: CreditBatch, i: int) -> dict[str, Any]:
        row = credit.rows[i]
        length = int(credit.batch["completion_mask"][i].sum())
        ids = credit.batch["completion_ids"][i, :length].tolist()
        text, spans = token_spans(ids, self.tokenizer)
        first = i == 0 or credit.rows[i - 1].get("id") != row.get("id")
        return {
            "step": credit.step,
            "row_id": str(row.get("id", "")),
            "question": str(row.get("question", "")),
            "reference": str(row.get("answer", "")),
            "alternatives": _texts(row.get("alternatives")),
            "options": _texts(row.get("options")),
            "task": str(row.get("task") or ""),
            "image": _png(row) if first else None,
            "completion": text,
            "rewards": [(name, values[i]) for name, values in credit.rewards.items() if values[i] is not None],
            "advantage": float(credit.advantages[i]),
            "tokens": [text[start:end] for start, end in spans],
            "roles": credit.roles[i, :length].tolist(),
            "gaps": credit.gaps[i, :length].tolist() if credit.learns[i] else None,
            "weights": credit.weights[i, :length].tolist(),
        }


def _texts(values: Any) -> list[str]:
    return [str(value) for value in values or ()]


def _png(row: dict[str, Any]) -> bytes | None:
    images = row.get("images") or []
    if not images:
        return None
    buffer = io.BytesIO()
    picture = images[0].convert("RGB")
    picture.thumbnail((512, 512))
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
