"""Numbers in words: "twenty-one", "two thirds", "1.5 million", "六"."""

import re
from fractions import Fraction

_ONE_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    "|eighteen|nineteen"
)
_TEN_WORDS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_ONES = {word: value for value, word in enumerate(_ONE_WORDS.split("|"))}
_TENS = {word: 10 * value for value, word in enumerate(_TEN_WORDS.split("|"), start=2)}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
SCALES = {
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
_CHINESE = {char: value for value, char in enumerate("零一二三四五六七八九十")} | {"两": 2}

_NEGATIVE = re.compile(r"(?:minus|negative)\s+", re.IGNORECASE)
_LEADING = re.compile(
    rf"(?:(?P<ten>{_TEN_WORDS})(?:[- ](?P<unit>{_ONE_WORDS}))?|(?P<one>{_ONE_WORDS}))(?![\w-])", re.IGNORECASE
)
_FRACTION = re.compile(
    rf"(?:(?P<top>{_ONE_WORDS}|an?)[- ])?(?P<bottom>{'|'.join(_PARTS)})s?(?:\s+of\s+[a-z ]{{1,60}})?", re.IGNORECASE
)


def digits_for_words(text: str) -> str:
    """Return `text` with a number word at its start in digits: "twenty-one cubes" gives "21 cubes"."""
    if negative := _NEGATIVE.match(text):
        rest = digits_for_words(text[negative.end() :])
        return f"-{rest}" if rest[:1].isdigit() else text
    if text in _CHINESE:
        return str(_CHINESE[text])
    if (fraction := _FRACTION.fullmatch(text)) and (fraction["top"] or fraction["bottom"].casefold() == "half"):
        top = _ONES.get((fraction["top"] or "one").casefold(), 1)
        return str(Fraction(top, _PARTS[fraction["bottom"].casefold()]))
    found = _LEADING.match(text)
    if found is None:
        return text
    value = _ONES[(found["one"] or found["unit"] or "zero").casefold()] + _TENS.get((found["ten"] or "").casefold(), 0)
    return str(value) + text[found.end() :]
