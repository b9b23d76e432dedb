"""Text on its way into a page: cut where it is too long, and written as JSON that no HTML parser can end early."""

import json
import math
import re
from typing import Any

LONGEST_TOKEN = 500  # characters
LONGEST_TEXT = 20_000
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
