"""The rows of an evaluation without their images."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def without_images(rows: Any) -> list[Row]:
    """The rows of a list or a data set without their images, none of which is decoded."""
    if hasattr(rows, "select_columns"):
        rows = rows.select_columns([name for name in rows.column_names if name != "images"])
    return [{name: cell for name, cell in row.items() if name != "images"} for row in rows]


def count_images(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many image parts a prompt has."""
    contents = [message["content"] for message in messages if not isinstance(message["content"], str)]
    return sum(part["type"] == "image" for content in contents for part in content)
