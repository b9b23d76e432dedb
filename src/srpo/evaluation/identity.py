"""What decides the replies of an evaluation, so that one which goes on goes on with the same."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from datasets import Dataset

from srpo.data.loading import content_keys
from srpo.evaluation.checkpoint import Checkpoint

NAME = "identity.json"
_ASKED = ("id", "prompt", "question", "options", "answer", "alternatives", "task")
_GRADED = ("id", "truth", "family")
_LATER = {"commit", "files", "truth"}  # a folder that was written without them goes on with those of now


def of_inputs(checkpoint: Checkpoint, revision: str | None, rows: Dataset) -> dict[str, Any]:
    """Which model and which data.

    weights: a hash of the files of weights, by samples of them; the name of a hub id.
    commit: what the revision of a hub id stands for, "" for a folder.
    files/NAME: a hash of each file of config, chat template, processor and tokenizer in a folder.
    data: a hash of questions, prompts, references and images (stored bytes by length and checksum, files by path).
    truth: a hash of true perceptions and families.
    """
    keys = content_keys(rows)
    return {
        "weights": checkpoint.digest() or checkpoint.model,
        "commit": checkpoint.commit(revision),
        **{f"files/{name}": digest for name, digest in checkpoint.files().items()},
        "data": _digest(rows, _ASKED, keys),
        "truth": _digest(rows, _GRADED, [""] * len(keys)),
    }


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
    later = () if "truth" in kept else _LATER
    names = [name for name in {*kept, *now} - set(free) if name.partition("/")[0] not in later]
    changed = sorted(name for name in names if kept.get(name) != now.get(name))
    return [f"{name}: {_said(kept, name)} there, {_said(now, name)} now" for name in changed]


def _said(identity: dict[str, Any], name: str) -> Any:
    return identity.get(name, "none" if "/" in name else "by default")


def _digest(rows: Dataset, columns: Collection[str], keys: Collection[str]) -> str:
    facts = rows.select_columns([name for name in columns if name in rows.column_names])
    digest = hashlib.sha256()
    for row, key in zip(facts, keys, strict=True):
        digest.update(json.dumps(row, sort_keys=True, default=str).encode() + key.encode())
    return digest.hexdigest()[:16]
