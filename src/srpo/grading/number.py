r"""Plain numbers with their units, compared exactly and without a computer algebra system."""

import re
from dataclasses import dataclass
from fractions import Fraction

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
_MIXED = re.compile(r"(?P<whole>[0-9]+)\s+(?P<top>[0-9]+)\s*/\s*(?P<bottom>[0-9]+)")
_PERCENT = re.compile(r"(?P<value>.*?)\s*(?:%|per ?cent|percentage points?)", re.IGNORECASE)
_CURRENCY = re.compile(r"(?P<unit>[€£])\s*(?P<value>.+)")

# each unit, then its other spellings; a plural s is understood
_UNITS = """mm millimeter millimetre|cm centimeter centimetre|dm decimeter decimetre|m meter metre
km kilometer kilometre|in inch inches|ft foot feet|yd yard|mi mile|mg milligram|g gram gramme|kg kilogram
ton tonne|lb pound|oz ounce|ms millisecond|s sec second|min minute|h hr hour|day|week|month|yr year
ml milliliter millilitre|l liter litre|° deg degree|°c celsius|°f fahrenheit|dollar usd|cent|€ eur euro|£ gbp
unit|mph|kph|hz|rad radian"""
_SPELLINGS = {name: group.split()[0] for group in re.split(r"[|\n]", _UNITS) for name in group.split()}
_SPELLINGS |= {f"{name}s": unit for name, unit in _SPELLINGS.items() if len(name) > 1}
_WORD = "(?:" + "|".join(re.escape(name) for name in sorted(_SPELLINGS, key=len, reverse=True)) + ")"
_UNIT = re.compile(
    rf"(?P<value>.*?(?:[0-9.)}}\]]|\\[a-z]+))(?P<gap>\s*)(?P<dimension>square |sq\.? |cubic )?(?P<unit>{_WORD})"
    rf"(?:\s*\^\{{(?P<power>[23])\}}| (?P<powered>squared|cubed))?"
    rf"(?:\s*(?:/|\bper\b)\s*(?P<per>{_WORD})(?:\^\{{2\}})?)?",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"(?P<value>.*[0-9])\s+(?P<noun>[a-z]{3,}(?: [a-z]{3,})?)", re.IGNORECASE)
_NOT_A_NOUN = re.compile(
    r"\b(?:and|not|nor|but|than|more|less|fewer|minus|plus|times|over|half|double|twice|divided|squared|cubed|mod|hundred"
    r"|thousand|[mb]illion|trillion|dozen|pairs?|per|point|sqrt|sin|cos|tan|cot|log|exp|max|min|maybe|perhaps|possibly"
    r"|either|neither|instead|wrong|false|except)\b",
    re.IGNORECASE,
)
_POWERS = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cubed": "3"}


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
    units, counted nouns ("6 cubes"). `glued_units=False` reads "3m" as algebra, "3 m" as metres.
    """
    if percentage := _PERCENT.fullmatch(text):
        parsed = _parse_number(percentage.group("value"))
        return Quantity(parsed.value, percent=True, decimal=parsed.decimal) if parsed else None
    if currency := _CURRENCY.fullmatch(text):
        text = f"{currency.group('value')} {currency.group('unit')}"
    value, unit = split_unit(text, glued_units=glued_units)
    if not unit and (counted := _COUNTED.fullmatch(text)) and not _NOT_A_NOUN.search(counted["noun"]):
        value, unit = counted["value"], counted["noun"].casefold().removesuffix("s")
    parsed = _parse_number(value)
    return Quantity(parsed.value, unit, decimal=parsed.decimal) if parsed else None


def split_unit(text: str, *, glued_units: bool = True) -> tuple[str, str]:
    r"""Split "6\pi cm^{2}" into "6\pi" and "cm^2"; the unit is "" where none is known."""
    match = _UNIT.fullmatch(text)
    if match is None:
        return text, ""
    one_letter = len(match["unit"]) == 1 and match["unit"].isalpha() and not match["gap"]
    if one_letter and (not glued_units or _parse_number(match["value"]) is None):
        return text, ""
    unit = _SPELLINGS[match["unit"].casefold()]
    power = match["power"] or _POWERS.get((match["dimension"] or match["powered"] or "").strip(" .").casefold(), "")
    per = f"/{_SPELLINGS[match['per'].casefold()]}" if match["per"] else ""
    return match["value"].rstrip(), unit + (f"^{power}" if power else "") + per


def units_agree(first: str, second: str) -> bool:
    """Return whether two units are the same; an omitted unit agrees with any."""
    return not first or not second or first == second


def quantities_equal(reference: Quantity, reply: Quantity) -> bool:
    """Return whether two numbers are equal.

    Equality is exact, but 0.333333 equals 1/3 (relative difference up to 1e-6 between a decimal and a ratio), and p %
    equals p/100 and, as "20" for "20%" is common, p itself from 1 on. A unit may be left out, not changed.
    """
    if not units_agree(reference.unit, reply.unit):
        return False
    difference = abs(reference.value - reply.value)
    if reference.percent != reply.percent:
        share, plain = (reference.value, reply.value) if reference.percent else (reply.value, reference.value)
        return share == plain * 100 or (share == plain and abs(plain) >= 1)
    if reference.decimal != reply.decimal and 1 not in (reference.value.denominator, reply.value.denominator):
        return difference <= RELATIVE_TOLERANCE * abs(reference.value)
    return difference == 0


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
