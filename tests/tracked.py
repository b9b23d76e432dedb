"""Reads back what a run logged: TensorBoard's event files, trackio's database, wandb's offline run."""

import json
import sqlite3
import struct


def trackio_rows(folder):
    """(run name, step, metrics) of every row of the one project in trackio's folder, in the order of logging."""
    (database,) = folder.glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    return [(name, step, json.loads(metrics)) for name, step, metrics in rows]


def wandb_history(file):
    """The history rows of a .wandb file; a nested key stands as its parts joined by dots."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows = []
    for content in _log_records(file.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def _log_records(content):
    """Records of a LevelDB log: 32 KiB blocks of (checksum, length, type), a record in one piece or in several."""
    position, parts, whole, last = 7, [], 1, 4
    while position + 7 <= len(content):
        if position % 32768 > 32768 - 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (whole, last):
            yield b"".join(parts)
            parts = []
