"""Text on its way into a page: cut where it is too long, and written as JSON that no HTML parser can end early."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

LONGEST_TOKEN = 500  # characters
LONGEST_TEXT = 20_000
LARGEST_INTEGER = 2**53  # that every number of a page can hold
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """A text, or its beginning and its length where it has more than `longest` characters."""
    if len(text) <= longest:
        return text
    note = f" […, {len(text):,} characters in all]"
    return text[: longest - len(note)] + note


def finite(value: Any, digits: int = 17) -> float | None:
    """A number in so many significant digits; None for what is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    except OverflowError:  # an integer that no float can hold
        return None


def step_number(value: Any) -> int:
    """A count of optimizer steps.

    Raises:
        ValueError: for what is no whole number in [0, 2^53).
    """
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or not 0 <= value < LARGEST_INTEGER:
        raise ValueError(f"step {value!r:.80} must be a whole number of 0 or more")
    return int(value)


def plain(value: Any, room: int = 10_000) -> Any:
    """A value as JSON knows it, no deeper and no longer than a page can bear; "…" stands for the rest.

    Args:
        value: what YAML or JSON gave; aliases may make it far larger than its file.
        room: entries in all; a long text counts as several.
    """
    return _plain(value, 6, [room])


def _plain(value: Any, depth: int, room: list[int]) -> Any:
    room[0] -= 1
    nested = isinstance(value, (Mapping, list, tuple))
    if room[0] < 0 or (nested and not depth):
        return "…"
    if isinstance(value, Mapping):
        items = list(value.items())[:500]
        return {str(_plain(name, 0, room))[:200]: _plain(item, depth - 1, room) for name, item in items}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth - 1, room) for item in value[:500]]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < LARGEST_INTEGER else _digits(value)
    if isinstance(value, float):
        return finite(value)
    text = shortened(str(value), 2_000)
    room[0] -= len(text) // 100
    return text


def _digits(value: int) -> str:
    """A large integer as text; Python refuses to write thousands of decimal digits."""
    return str(value) if abs(value) < 10**100 else shortened(hex(value), 100)


def decoded(value: Any) -> str:
    """Text from bytes that should be UTF-8; what is not, shows as U+FFFD."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def page_json(value: Any) -> str:
    """JSON for a script element: "<", ">", "&", line separators and lone surrogates stand as escapes.

    Raises:
        ValueError: for NaN and infinities, which JSON does not have.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
