"""What decides the replies of an evaluation, so that one which goes on goes on with the same."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from datasets import Dataset

from srpo.data.loading import content_keys

NAME = "identity.json"
_COLUMNS = ("id", "prompt", "question", "options", "answer", "alternatives", "task")


def data_digest(rows: Dataset) -> str:
    """A hash of questions, prompts, references and images (stored bytes by length and checksum, files by path)."""
    facts = rows.select_columns([name for name in _COLUMNS if name in rows.column_names])
    digest = hashlib.sha256()
    for row, key in zip(facts, content_keys(rows), strict=True):
        digest.update(json.dumps(row, sort_keys=True, default=str).encode() + key.encode())
    return digest.hexdigest()[:16]


def short_name(identity: dict[str, Any]) -> str:
    """Eight characters that tell identities apart."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:8]


def read(run: Path) -> dict[str, Any] | None:
    """The identity that a run directory keeps; None without one."""
    path = run / NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def differences(kept: dict[str, Any], identity: dict[str, Any], free: Collection[str] = ()) -> list[str]:
    """What differs from an identity that was kept, as "name: OLD there, NEW now"; [] for the same.

    Args:
        kept: the identity there.
        identity: the identity now.
        free: names that may differ.
    """
    now = json.loads(json.dumps(identity, default=str))
    names = sorted({*kept, *now} - set(free))
    return [
        f"{name}: {kept.get(name, 'by default')} there, {now.get(name, 'by default')} now"
        for name in names
        if kept.get(name) != now.get(name)
    ]
