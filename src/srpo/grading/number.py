r"""Plain numbers with their units, compared exactly and without a computer algebra system."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from srpo.grading.task import EXACT, Tolerance
from srpo.grading.units import conversion, find_unit
from srpo.grading.words import SCALES, digits_for_words

RELATIVE_TOLERANCE = Fraction(1, 10**6)

_NUMBER = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?: [0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
_DECIMAL = re.compile(rf"(?P<mantissa>{_NUMBER})(?:[eE](?P<exponent>[+-]?[0-9]{{1,3}}))?")
_SCIENTIFIC = re.compile(
    rf"(?P<mantissa>{_NUMBER})\s*(?:\\times|\\cdot|x)\s*10\s*\^\s*\{{(?P<exponent>-?[0-9]{{1,3}})\}}"
)
_RATIO = re.compile(rf"(?P<whole>)(?P<top>{_NUMBER})\s*/\s*(?P<bottom>{_NUMBER})")
_FRAC = re.compile(
    rf"(?P<whole>(?:[0-9]+\s*)?)\\frac\s*\{{\s*(?P<top>-?{_NUMBER})\s*\}}\s*\{{\s*(?P<bottom>{_NUMBER})\s*\}}"
)
_MIXED = re.compile(r"(?P<whole>[0-9]+)\s+(?:and\s+)?(?P<top>[0-9]+)\s*/\s*(?P<bottom>[0-9]+)")
_PERCENT = re.compile(r"(?<!\s)\s*(?:%|per ?cent|percentage points?)$", re.IGNORECASE)
_CURRENCY = re.compile(r"(?P<unit>[€£¥$]|usd|us\$)\s*(?P<value>[0-9.].*)", re.IGNORECASE)
_SCALED = re.compile(rf"(?P<value>.*[0-9])\s+(?P<scale>{'|'.join(SCALES)})s?(?P<unit>\s+\S.*)?", re.IGNORECASE)
_DURATION = re.compile(
    r"(?P<hours>[0-9]{1,6})\s*(?:h|hrs?|hours?)\s*(?:and\s+|,\s*)?(?P<minutes>[0-9]{1,6})\s*(?:m|mins?|minutes?)",
    re.IGNORECASE,
)
_WITH_BASE = re.compile(
    r"\(?(?P<digits>[0-9]+)\)?\s*(?:_\s*\{?\s*|\(?base\s+)(?P<base>[0-9]{1,2})\s*[})]?", re.IGNORECASE
)
MAX_DIGITS = 400

_COUNTED = re.compile(r"(?P<value>.*[0-9])\s+(?P<noun>[a-z]{3,}(?: [a-z]{3,})?)", re.IGNORECASE)
_NOT_A_NOUN = re.compile(
    r"\b(?:and|not|nor|but|than|more|less|fewer|minus|plus|times|over|half|double|twice|divided|squared|cubed|mod|hundred"
    r"|thousand|[mb]illion|trillion|dozen|pairs?|per|point|sqrt|sin|cos|tan|cot|log|exp|max|min|maybe|perhaps|possibly"
    r"|either|neither|instead|wrong|false|except)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Quantity:
    """An exact number. `unit` is "" when none was written; `decimal` tells 0.333333 from 1/3."""

    value: Fraction
    unit: str = ""
    percent: bool = False
    decimal: bool = False


def parse_quantity(text: str, *, glued_units: bool = True) -> Quantity | None:
    """Return the number that `text` is (in the form `latex.tidy` gives), None when it is anything else.

    Known: signs, thousands separators, decimals, 1e3, scientific notation, a/b, \\frac, mixed numbers, per cent,
    units, counted nouns ("6 cubes"), number words, "1.5 million", "2h 48m", "1011_2" (the base is a unit).
    `glued_units=False` reads "3m" as algebra, "3 m" as metres.
    """
    if len(text) > MAX_DIGITS:
        return None
    text = digits_for_words(text)
    if duration := _DURATION.fullmatch(text):
        return Quantity(Fraction(int(duration["hours"]) * 60 + int(duration["minutes"])), "min")
    if based := _WITH_BASE.fullmatch(text):
        return Quantity(Fraction(int(based["digits"])), f"base {based['base']}")
    if scaled := _SCALED.fullmatch(text):
        parsed = parse_quantity(f"{scaled['value']}{scaled['unit'] or ''}", glued_units=glued_units)
        size = SCALES[scaled["scale"].casefold()]
        return replace(parsed, value=parsed.value * size) if parsed else None
    if percentage := _PERCENT.search(text):
        parsed = _parse_number(text[: percentage.start()])
        return Quantity(parsed.value, percent=True, decimal=parsed.decimal) if parsed else None
    if currency := _CURRENCY.fullmatch(text):
        text = f"{currency['value']} {currency['unit'].casefold()}"
    value, unit = split_unit(text, glued_units=glued_units)
    if not unit and (counted := _COUNTED.fullmatch(text)) and not _NOT_A_NOUN.search(counted["noun"]):
        noun = counted["noun"]
        mixed = not (noun[1:].islower() or noun.isupper())  # MPa is not mPa
        value, unit = counted["value"], noun if mixed else noun.casefold().removesuffix("s")
    parsed = _parse_number(value)
    return Quantity(parsed.value, unit, decimal=parsed.decimal) if parsed else None


def split_unit(text: str, *, glued_units: bool = True) -> tuple[str, str]:
    r"""Split "6\pi cm^{2}" into "6\pi" and "cm^2"; the unit is "" where none is known."""
    found = find_unit(text)
    if found is None:
        return text, ""
    value, unit, touching = found
    if touching and (not glued_units or _parse_number(value) is None):
        return text, ""
    return value, unit


def quantities_equal(reference: Quantity, reply: Quantity, tolerance: Tolerance = EXACT) -> bool:
    """Return whether two numbers are equal, or as near as the tolerance allows.

    Equality is exact, but 0.333333 equals 1/3 (relative difference up to 1e-6 between a decimal and a ratio), and p %
    equals p/100 and, as "20" for "20%" is common, p itself from 1 on. A unit may be left out, or be another one of the
    same quantity (60 mm for 6 cm).
    """
    factor = conversion(reply.unit, reference.unit)
    if factor is None:
        return False
    wanted, given = reference.value, reply.value * factor
    if reference.percent != reply.percent:
        plain = given if reference.percent else wanted
        scaled = (wanted, given * 100) if reference.percent else (wanted * 100, given)
        return tolerance.allows(*scaled) or (abs(plain) >= 1 and tolerance.allows(wanted, given))
    if reference.decimal != reply.decimal and 1 not in (wanted.denominator, given.denominator):
        tolerance = Tolerance(tolerance.absolute, max(tolerance.relative, RELATIVE_TOLERANCE))
    return tolerance.allows(wanted, given)


def _parse_number(text: str) -> Quantity | None:
    sign, text = (-1, text[1:].lstrip()) if text[:1] == "-" else (1, text.removeprefix("+").lstrip())
    if match := _DECIMAL.fullmatch(text) or _SCIENTIFIC.fullmatch(text):
        exponent = int(match["exponent"] or 0)
        value = _fraction(match["mantissa"]) * Fraction(10) ** exponent
        return Quantity(sign * value, decimal="." in text or exponent < 0)
    if match := _RATIO.fullmatch(text) or _FRAC.fullmatch(text) or _MIXED.fullmatch(text):
        bottom = _fraction(match["bottom"])
        if bottom == 0:
            return None
        return Quantity(sign * (_fraction(match["whole"] or "0") + _fraction(match["top"]) / bottom))
    return None


def _fraction(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").replace(" ", ""))
