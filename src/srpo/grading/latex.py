"""Mathematical notation in one form: plain, unicode and LaTeX spellings of a thing become one LaTeX string."""

import re

_SYMBOLS = str.maketrans(
    {
        "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "√": r"\sqrt",
        "±": r"\pm ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
        "∞": r"\infty ", "≈": r"\approx ", "∘": "°", "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
        "∠": r"\angle ",
    }
)  # fmt: skip
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:text|textbf|textrm|mathrm|mathbf|mathit|operatorname|mbox|rm)\s*\{([^{}]*)\}", r" \1 "),
        (r"\\(?:left|right|bigg?[lr]?|Bigg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])", ""),
        (r"\{,\}", ""),
        (r"\\!", ""),
        (r"(?<!\\)\\(?:[,;: ]|quad(?![a-z])|qquad(?![a-z]))|(?<!^)~", " "),
        (r"^\$?\s*\\textdollar(?![a-z])\s*([0-9.][^$]*)\$?$|^\\?\$\s*([0-9.][^$]*)$", r"\1\2 dollar"),
        (r"\\textdollar(?![a-z])|\\?\$", ""),
        (r"(?<![A-Za-z\\])frac(?=\s*\{)", r"\\frac"),
        (r"^\(([^|()]+)\|([^|()]+)\)$", r"(\1,\2)"),
        (r"\\%", "%"),
        (r"\\[dtc]frac(?![a-z])", r"\\frac"),
        (r"\\frac\s*([0-9])\s*([0-9])(?![0-9])", r"\\frac{\1}{\2}"),
        (r"\\frac\s*([0-9])\s*\{", r"\\frac{\1}{"),
        (r"\s*\^\s*(?:\\circ(?![a-z])|\{\s*\\circ\s*\})|\\degree(?![a-z])", "°"),
        (r"\\leq(?![a-z])|<=", r"\\le "),
        (r"\\geq(?![a-z])|>=", r"\\ge "),
        (r"\*\*", "^"),
        (r"\*", r"\\cdot "),
        (r"\^\s*\(([^()]*)\)", r"^{\1}"),
        (r"\^\s*(-?[0-9]+)", r"^{\1}"),
        (r"\\?sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\sqrt\s*([0-9]+)", r"\\sqrt{\1}"),
        (r"(?<![A-Za-z\\])(pi|sqrt|sin|cos|tan|log|ln)(?![A-Za-z])", r"\\\1 "),
    )
)
_COMMAND = re.compile(r"\\(?:begin|end)\{[a-z]+\}|\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{3,}|\b(?:or|no|is|if|of|to|in|at|on|be|by)\b", re.IGNORECASE)
_SEQUENCE = re.compile(r"[0-9]+(?:-[0-9]+){2,}|[0-9]+(?:/[0-9]+){2,}")
_FOREIGN = re.compile(r"[^A-Za-z0-9\s\\{}()\[\]+\-*/^_=<>!|.,:;&%°']")
_NAME = re.compile(r"\\?[A-Za-z]{1,10}(?:_\{?\w\}?)?|[a-z]\([a-z]\)")
_ORDER = re.compile(r"\\(?:le|ge)(?![a-z])|[<>]")
_TURNED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
_TIMES = re.compile(r"\s*\\(?:times|cdot)(?![a-z])\s*")
_JOINED = re.compile(r"[0-9.)}!]\s*[-+*]\s*[-0-9.({\\]")
_TWO_NUMBERS = re.compile(r"(?<![0-9._^])[0-9.]++\s*[-+*]\s*[0-9.]++(?!\s*[\\A-Za-z({^])")
_SEPARATE_NUMBERS = re.compile(r"[0-9]\s+[0-9.]")


def tidy(text: str) -> str:
    r"""Return `text` in the one notation: "2*√3", "2 \cdot \sqrt 3" and "2·sqrt(3)" become the same string."""
    text = text.translate(_SYMBOLS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return " ".join(text.split()).rstrip(" .")


def is_expression(text: str) -> bool:
    """Return whether tidy `text` is mathematics and nothing but mathematics.

    Prose, dates and sequences ("5-4-3-2-1"), bare words and several numbers in a row are not: a computer algebra system
    reads "not 3" as n·o·t·3 and "3 4" as 3 + 4.
    """
    bare = _COMMAND.sub(" ", text)
    if _WORD.search(bare) or _FOREIGN.search(text) or _SEQUENCE.fullmatch(text) or _SEPARATE_NUMBERS.search(text):
        return False
    return bool(
        re.search(r"[0-9]|\\[A-Za-z]", text) or (re.search(r"[A-Za-z]", text) and re.search(r"[-+*/^=<>()!]", text))
    )


def before_rounding(text: str) -> str:
    r"""Return the exact side of "\sqrt{40} \approx 6.32", and the value of "x \approx 4.8"."""
    exact, sign, rounded = (part.strip() for part in text.partition(r"\approx "))
    if not sign or r"\approx" in rounded:
        return text
    return rounded if not exact or _NAME.fullmatch(exact) else exact


def as_interval(text: str) -> str | None:
    r"""Return "[0,5)" for "0 \le x < 5" and "(-\infty,3]" for "x \le 3", None for anything but an inequality."""
    sides = [side.strip() for side in _ORDER.split(text)]
    signs = [sign.strip() for sign in _ORDER.findall(text)]
    if len(sides) == 3 and _NAME.fullmatch(sides[1]):
        low, _, high = sides
        first, second = signs
        if first[0] == ">" or first == r"\ge":
            low, high, first, second = high, low, second, first
        return f"{'(' if first in '<>' else '['}{low},{high}{')' if second in '<>' else ']'}"
    if len(sides) == 2 and _NAME.fullmatch(sides[1]) and not _NAME.fullmatch(sides[0]):
        sides, signs = sides[::-1], [_TURNED[signs[0]]]
    if len(sides) != 2 or not _NAME.fullmatch(sides[0]) or not sides[1]:
        return None
    if signs[0] in ("<", r"\le"):
        return rf"(-\infty,{sides[1]}{')' if signs[0] == '<' else ']'}"
    return rf"{'(' if signs[0] == '>' else '['}{sides[1]},\infty)"


def both_signs(text: str) -> str:
    r"""Return "3, -3" for "\pm 3" and "2+\sqrt{3}, 2-\sqrt{3}" for "2 \pm \sqrt{3}"."""
    if text.count(r"\pm") != 1 or "," in text or "=" in text:
        return text
    return ", ".join(re.sub(r"\\pm(?![a-z])\s*", sign, text) for sign in ("+", "-"))


def left_as_arithmetic(text: str) -> bool:
    r"""Return whether tidy `text` joins plain numbers by +, - or times: "3+4", "1-\frac{1}{3}", "\sqrt{9+16}".

    Powers, roots, fractions and multiples of \pi are values: "2^{10}", "2\sqrt{3}", "1+\sqrt{5}".
    """
    text = _TIMES.sub("*", text)
    rational = not re.search(r"\\|[A-Za-z]", text.replace(r"\frac", ""))
    return bool((_JOINED if rational else _TWO_NUMBERS).search(text))


def only_case_differs(first: str, second: str) -> bool:
    """Return whether a variable of one text is in the other in the other case only: x and X."""
    letters, others = (set(re.findall("[A-Za-z]", _COMMAND.sub(" ", text))) for text in (first, second))
    return any(letter.swapcase() in others - letters for letter in letters - others)


def braces_balance(text: str) -> bool:
    r"""Return whether every { of a text has its }, \{ and \} apart."""
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def split_top_level(text: str, separator: re.Pattern[str]) -> list[str]:
    """Split `text` at the matches of `separator` that stand outside all brackets."""
    parts, start, depth, position = [], 0, 0, 0
    while position < len(text):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if depth == 0 and (match := separator.match(text, position)) and match.end() > position:
            parts.append(text[start:position].strip())
            start = position = match.end()
            continue
        position += 1
    return [*parts, text[start:].strip()]


def bracketed(text: str) -> tuple[str, str, str] | None:
    r"""Return (opening, content, closing) where one pair of brackets encloses the whole of `text`, else None.

    "(3,-4)" gives ("(", "3,-4", ")"); "(1,2),(3,4)" gives None. Half-open intervals such as "[0,1)" count.
    """
    text = text.replace(r"\{", "{").replace(r"\}", "}")
    if len(text) < 2 or text[0] not in "([{" or text[-1] not in ")]}":
        return None
    depth = 0
    for position, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and position < len(text) - 1:
            return None
    return (text[0], text[1:-1].strip(), text[-1]) if depth == 0 else None
