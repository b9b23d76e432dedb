"""Units: their spellings, and which of them measure the same thing."""

import re
from fractions import Fraction

# unit = dimension size | other spellings. A plural s is understood.
# Case matters for M alone. A unit of its own dimension converts to no other.
_TABLE = r"""
mm = length 1/1000 | millimeter millimetre 毫米
cm = length 1/100 | centimeter centimetre 厘米
dm = length 1/10 | decimeter decimetre
Mm = length 1000000 | MM
m = length 1 | meter metre 米
km = length 1000 | kilometer kilometre 千米 公里
in = length 127/5000 | inch inches
ft = length 381/1250 | foot feet
yd = length 1143/1250 | yard
mi = length 201168/125 | mile
mg = mass 1/1000000 | milligram
Mg = mass 1000 | MG
g = mass 1/1000 | gram gramme 克
kg = mass 1 | kilogram 千克 公斤
lb = mass 45359237/100000000 | pound
oz = mass 45359237/1600000000 | ounce
ton = ton 1 | tonne
ms = time 1/1000 | millisecond
Ms = time 1000000 | MS
s = time 1 | sec second 秒
min = time 60 | minute 分钟
h = time 3600 | hr hour 小时
day = time 86400
week = time 604800
month = months 1
yr = months 12 | year
dollar = dollars 1 | usd $ us$
cent = dollars 1/100 | ¢
ml = length^3 1/1000000 | milliliter millilitre
ML = length^3 1000 | Ml
l = length^3 1/1000 | liter litre
mph = length/time 1397/3125
kph = length/time 5/18
° = angle 1 | deg degree 度
rad = radians 1 | radian
°c = celsius 1 | celsius
°f = fahrenheit 1 | fahrenheit
€ = euros 1 | eur euro
£ = pounds 1 | gbp
yuan = yuan 1 | ¥ rmb 元
newton = newtons 1
joule = joules 1
watt = watts 1
volt = volts 1
ohm = ohms 1
ampere = amperes 1 | amp
pa = pascals 1 | pascal
kpa = pascals 1000 | kilopascal
hz = hertz 1
unit = units 1 | 个"""
_POWERS = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cubed": "3", "平方": "2", "立方": "3"}

_SIZES: dict[str, tuple[str, Fraction]] = {}
_SPELLINGS: dict[str, str] = {}
for _name, _dimension, _size, _others in re.findall(r"(\S+) = (\S+) (\S+)(?: \| (.*))?", _TABLE):
    _SIZES[_name] = (_dimension, Fraction(_size))
    _SPELLINGS |= dict.fromkeys((_name, *_others.split()), _name)
_SPELLINGS |= {f"{name}s": unit for name, unit in _SPELLINGS.items() if len(name) > 1}

_WORD = "(?:" + "|".join(re.escape(name) for name in sorted(_SPELLINGS, key=len, reverse=True)) + ")"
_COMMAND_AT_END = re.compile(r"\\[a-z]+$", re.IGNORECASE)
_BEHIND_VALUE = re.compile(
    rf"(?<=[0-9.)}}\]a-z])(?P<gap>\s*)(?P<dimension>square |sq\.? |cubic |平方|立方)?(?P<unit>{_WORD})"
    rf"(?:\s*\^\{{(?P<power>[23])\}}| (?P<powered>squared|cubed))?"
    rf"(?:\s*(?:/|\bper\b)\s*(?P<per>{_WORD})(?:\^\{{(?P<per_power>2)\}})?)?$",
    re.IGNORECASE,
)
_COMPOUND = re.compile(r"(?P<unit>[^/^]+)(?:\^(?P<power>\d))?(?:/(?P<per>[^/^]+)(?:\^(?P<per_power>\d))?)?")


def find_unit(text: str) -> tuple[str, str, bool] | None:
    r"""Split "6\pi cm^{2}" into "6\pi" and "cm^2"; None where no known unit ends the text.

    The third value tells whether the unit is one letter that touches its value, as in "3m", which may be algebra.
    """
    match = next((unit for unit in _BEHIND_VALUE.finditer(text) if _ends_a_value(text[: unit.start()])), None)
    if match is None:
        return None
    power = match["power"] or _POWERS.get((match["dimension"] or match["powered"] or "").strip(" .").casefold(), "")
    per = f"/{_named(match['per'])}" if match["per"] else ""
    unit = _named(match["unit"]) + (f"^{power}" if power else "") + per
    unit += f"^{match['per_power']}" if match["per_power"] else ""
    touching = len(match["unit"]) == 1 and match["unit"].isalpha() and not match["gap"]
    return text[: match.start()].rstrip(), unit, touching


def _named(spelling: str) -> str:
    """The unit of a spelling: case matters only where it tells milli from mega."""
    return _SPELLINGS.get(spelling) or _SPELLINGS[spelling.casefold()]


def _ends_a_value(text: str) -> bool:
    return text[-1:] in tuple("0123456789.)}]") or _COMMAND_AT_END.search(text[-20:]) is not None


def conversion(unit: str, wanted: str) -> Fraction | None:
    """Return how many `wanted` one `unit` is: 1/10 for mm and cm, 1 where either is "", None for another quantity."""
    if not unit or not wanted or unit == wanted:
        return Fraction(1)
    first, second = _measure(unit), _measure(wanted)
    return first[1] / second[1] if first and second and first[0] == second[0] else None


def _measure(unit: str) -> tuple[dict[str, int], Fraction] | None:
    """Exponent of each dimension, and the size in the units of size 1; None for a counted noun."""
    match = _COMPOUND.fullmatch(unit)
    if match is None or match["unit"] not in _SIZES:
        return None
    dimensions: dict[str, int] = {}
    size = Fraction(1)
    for name, power in ((match["unit"], int(match["power"] or 1)), (match["per"], -int(match["per_power"] or 1))):
        if name is None:
            continue
        dimension, one = _SIZES[name]
        size *= one**power
        for part, sign in zip(dimension.split("/"), (power, -power), strict=False):
            base, _, exponent = part.partition("^")
            dimensions[base] = dimensions.get(base, 0) + sign * int(exponent or 1)
    return {base: exponent for base, exponent in dimensions.items() if exponent}, size
