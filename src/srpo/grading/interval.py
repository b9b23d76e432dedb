"""Ranges of right numbers: "3.5..4.5", "[3.5, 4.5]", "4 ± 0.5"."""

import re
from fractions import Fraction

_NUMBER = r"([+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}))"
_UNIT = r"\s*(?P<unit>[^0-9\s.,\[\]()±].{0,30})?"
_BETWEEN = re.compile(rf"\[?\s*{_NUMBER}\s*(?:\.\.\.?|,)\s*{_NUMBER}\s*\]?{_UNIT}")
_AROUND = re.compile(rf"{_NUMBER}\s*(?:±|\+/-|\\pm)\s*{_NUMBER}{_UNIT}")


def parse_interval(text: str) -> tuple[Fraction, Fraction, str]:
    """Return (middle, half the width, unit) of a range; `text` has been through `clean`.

    Raises:
        ValueError: for anything else.
    """
    if around := _AROUND.fullmatch(text):
        middle, half = Fraction(around[1]), Fraction(around[2])
        return middle, half, around["unit"] or ""
    between = _BETWEEN.fullmatch(text)
    if between and text.startswith("[") == ("]" in text) and (text.startswith("[") or "," not in text):
        low, high = Fraction(between[1]), Fraction(between[2])
        if low <= high:
            return (low + high) / 2, (high - low) / 2, between["unit"] or ""
    raise ValueError(
        f"reference {text!r} must be a range from low to high; write '3.5..4.5', '[3.5, 4.5]' or '4 ± 0.5'"
    )
