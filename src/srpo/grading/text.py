"""Cleaning an answer and comparing answers as text."""

import re
import unicodedata

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_DASHES_AND_QUOTES = str.maketrans(
    {
        **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
        **dict.fromkeys("‘’‚‛′", "'"),
        **dict.fromkeys("“”„‟«»″", '"'),
        "。": ".",
        "、": ",",
    }
)
_TAG = re.compile(r"</?(?:b|strong|em|br|span)\s*/?>")
_HEADING = re.compile(r"^[^\S\n]*#{1,6}[^\S\n]+", re.MULTILINE)
_BOLD = re.compile(r"(?<![\w)*])\*\*(?=[^\s*])([^*]{1,200})(?<=[^\s*])\*\*(?![\w(*])")
_WRAPPERS = (
    re.compile(r"\*\*(?P<inner>[^*]+)\*\*"),
    re.compile(r"\*(?P<inner>[^*]+)\*"),
    re.compile(r"__(?P<inner>[^_]+)__"),
    re.compile(r"`+(?P<inner>[^`]+)`+"),
    re.compile(r'"(?P<inner>[^"]+)"'),
    re.compile(r"'(?P<inner>[^']+)'"),
    re.compile(r"\$\$?(?P<inner>[^$]+)\$\$?"),
    re.compile(r"\\\((?P<inner>.+)\\\)"),
    re.compile(r"\\\[(?P<inner>.+)\\\]"),
    re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{(?P<inner>[^{}]+)\}"),
)
_LEAD_IN = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?\**(?:(?:final|correct|right)\s+)?(?:answers?|ans|result)\**"
    r"(?:\s*(?:is\s*:?|are\s*:?|:|=)\**\s*|\s+(?=[0-9]))|(?:所以|因此)?,?(?:正确|最终)?答案(?:是|为)?\s*:?\s*|=\s*(?=[^=])",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{|(?<![A-Za-z\\])boxed\{")
_BOXED_TOKEN = re.compile(r"\\boxed\s+([0-9A-Za-z]{1,20})")
_ARTICLE = re.compile(
    r"(?:(?:an|the)\s+(?=\S)|a\s+(?=[^\W\d_]{2}))"
)  # "A 12" and "A B" begin with a label, not an article
_CLOSING = re.compile(r"(?:[.,;:?\s]|(?<![0-9)}!])!+)+$")  # the mark of a factorial stays
_HYPHEN = re.compile(r"(?<=[^\W\d_]{3})-(?=[^\W\d_]{3})")
_SPACE_BESIDE_SYMBOL = re.compile(r"\s*([^\w\s])\s*")
_SPACE_BEFORE_UNIT = re.compile(r"(?<=[0-9])\s+(?=[A-Za-z])")
_SIGN_COMMANDS = {"\\angle": "∠", "\\triangle": "△"}
_SIGN_COMMAND = re.compile(r"\\(?:angle|triangle)(?![A-Za-z])")
_WORD = re.compile(
    r"(?<![A-Za-z\\])(?<!\\angle )(?:(?=[a-z]*[aeiou])[a-z]{3,}|an|as|at|by|if|in|is|it|no|of|on|or|to)(?![A-Za-z])"
    r"|^a(?=\s+[a-z]{3})",
    re.IGNORECASE,
)
_MEASURED = re.compile(r"[0-9]\s*$")
_TWO_PREFIXES = "mMpPyYzZ"  # milli and mega, pico and peta, ...: case tells which
_KILO = re.compile(r"(?<=[0-9])\s*k(?:wh?|j|n|v|a|hz|pa)(?![a-z])", re.IGNORECASE)
_LISTED = re.compile(r"(?<=[0-9]),\s+(?=[0-9])")


def clean(text: str) -> str:
    r"""Return the answer proper: unicode in one form, white space collapsed, markup around the whole answer removed.

    "**The answer is: \boxed{½}**" gives "1/2". Superscripts become powers before NFKC would turn 5² into 52.
    """
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+", lambda run: "^{" + run.group().translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub("(?<=[0-9])[₀-₉]+", lambda run: "_{" + run.group().translate(_SUBSCRIPTS) + "}", text)
    text = re.sub("[¼-¾⅐-⅞]", lambda char: " " + unicodedata.normalize("NFKC", char.group()).replace("⁄", "/"), text)
    text = unicodedata.normalize("NFKC", text).translate(_DASHES_AND_QUOTES)
    text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    text = " ".join(_HEADING.sub("", text).split())
    while (inner := _unwrapped(text)) != text:
        text = inner
    return text


def canonical(text: str) -> str:
    """Return the key under which two answers are the same text; `text` has been through `clean`.

    Case, leading article, closing punctuation, and the space beside a symbol or before a unit do not matter.
    """
    return _SPACE_BEFORE_UNIT.sub("", canonical_words(text)).strip()


def canonical_words(text: str) -> str:
    """`canonical`, with the space between a number and a word kept, so that words can be found in it."""
    return _without_trifles(text.casefold())


def mathematical_key(text: str, *, fold_words: bool) -> str:
    """`canonical` for mathematics: x is not X and mW is not MW, and "1, 234" is a list and not 1,234.

    Case does not matter in a unit of kilo-, and with `fold_words` in words of three letters or more; behind a number
    these must not begin with a prefix of two meanings.
    """
    text = _KILO.sub(lambda unit: unit[0].lower(), _LISTED.sub(";", text))
    text = _WORD.sub(_folded, text) if fold_words else text
    return _SPACE_BEFORE_UNIT.sub("", _without_trifles(text)).strip()


def _folded(word: re.Match[str]) -> str:
    ambiguous = word[0][0] in _TWO_PREFIXES and _MEASURED.search(word.string[: word.start()])
    return word[0] if ambiguous else word[0].casefold()


def _without_trifles(text: str) -> str:
    text = _SIGN_COMMAND.sub(lambda command: _SIGN_COMMANDS[command[0]], text)
    text = _CLOSING.sub("", text)
    if article := _ARTICLE.match(text):
        text = text[article.end() :]
    text = _HYPHEN.sub(" ", text)
    return _SPACE_BESIDE_SYMBOL.sub(r"\1", text).strip()


def unbracketed(text: str) -> str:
    """Return `text` without one pair of brackets around the whole of it: "(large)" gives "large"."""
    pair = re.fullmatch(r"\(([^()]+)\)|\[([^\[\]]+)\]", text)
    return (pair.group(1) or pair.group(2)).strip() if pair else text


def same_text(first: str, second: str) -> bool:
    """Return whether two cleaned answers are the same text, also but for brackets around the whole of one."""
    return canonical(first) == canonical(second) or canonical(unbracketed(first)) == canonical(unbracketed(second))


def _unwrapped(text: str) -> str:
    text = " ".join(_HEADING.sub("", _BOLD.sub(r"\1", _TAG.sub(" ", text))).split())
    text = text.rstrip(" .,;:") or text[-1:]
    for wrapper in _WRAPPERS:
        if whole := wrapper.fullmatch(text):
            text = whole.group("inner").strip()
    text = text.rstrip("\\").rstrip()
    if token := _BOXED_TOKEN.fullmatch(text):
        return token[1]
    if (lead := _LEAD_IN.match(text)) and lead.end() < len(text):
        text = text[lead.end() :]
    boxed = set(_boxed_contents(text))
    return boxed.pop() if len(boxed) == 1 else text


def _boxed_contents(text: str) -> list[str]:
    contents: list[str] = []
    end = 0
    for opening in _BOXED.finditer(text):
        if opening.start() < end:
            continue
        depth = 1
        for position in range(opening.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                contents.append(text[opening.end() : position].strip())
                end = position
                break
        else:
            break
    return contents
