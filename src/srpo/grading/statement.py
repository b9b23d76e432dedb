"""What a sentence states: "The edge is 24 m long, because ..." states 24 m.

A reply is read by these rules only when it is not an answer as it stands. Each drops words around one answer and never
chooses between two: hedges, alternatives and negations stay, and what still holds them states nothing.
"""

import re

_HEDGE = re.compile(
    r"\b(?:not|cannot|never|no|nor|or|either|neither|between|least|most|more|less|fewer|than|maybe|perhaps|possibly|probably|might"
    r"|could|may|sure|unsure|except|instead|wrong|without|about|around|roughly|almost|nearly|over|under|up to|times"
    r"|plus|minus|divided|half|twice|double|hundred|thousand|[mb]illion|trillion|dozen|per|point)\b|n't\b|\?|~|[+*/^=<>|_\\]",
    re.IGNORECASE,
)
_ESTIMATE = re.compile(r"(?:about|around|roughly|~)\s*(?=[-+]?[.0-9$])", re.IGNORECASE)
_ROUNDED = re.compile(r"(?:≈|\\approx(?![a-z])|approximately|approx\.?)\s*(?=[-+]?[.0-9$\\])", re.IGNORECASE)
_REJECTED = re.compile(
    r"(?:(?:,\s*(?:and\s+)?|\s+and\s+|\s*\(\s*)(?:but\s+)?not|,?\s+rather\s+than|,?\s+instead\s+of)\s+[^,()]{1,60}\)?$",
    re.IGNORECASE,
)
_PER = re.compile(r"(?<=[a-z])/(?=[a-z])")
_REASON = re.compile(r"(?:,|\.|;|\s-)?\s+(?:because|since)\s.*$", re.IGNORECASE)
_COMMENT = re.compile(r"(?<=\S)\s+\([a-z][^()]*\)$", re.IGNORECASE)
_NUMBERED = re.compile(r"^(?:no\.|nr\.?|#)\s*(?=[0-9])", re.IGNORECASE)
_CONCLUSION = re.compile(r"(?:^|[,.;:]\s*(?:and\s+)?)(?:so|thus|hence|therefore)\b,?\s+", re.IGNORECASE)
_ANSWER_IS = re.compile(
    r"\b(?:the\s+)?(?:final\s+|correct\s+|right\s+)?(?:answers?|ans|result)\s*(?:is|are|:|=)\s*:?\s*", re.IGNORECASE
)
_IS_CORRECT = re.compile(
    r"(?P<answer>.{1,60}?)(?:\s+is\s+(?:the\s+)?(?:correct|right)(?:\s+(?:answer|option|choice|one))?"
    r"|\s*是正确(?:的)?(?:答案|选项)?(?:的)?)",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"(?:[^\W\d_]+(?:'s)?\s+){1,12}?(?:is|are|was|were|equals|should be|must be|will be|reads|measures)\s+(?=\S)"
    r"|(?:it|that|this)'s\s+(?=\S)",
    re.IGNORECASE,
)
_KIND = re.compile(r"^(?:the\s+)?(?:points?|numbers?|values?|colou?rs?|shapes?|sizes?)\s+(?=\S)", re.IGNORECASE)
_IN_COLOUR = re.compile(r"(?<=\w)\s+(?:in\s+)?colou?r$", re.IGNORECASE)
_POLAR = re.compile(
    r"(?P<answer>yes|yeah|yep|no|nope)(?:(?:[,.;:!]\s*|\s+(?=it\b|there\b|they\b|the\b|this\b|that\b))(?P<rest>.*))?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"(?:\([A-Z]\)|[A-Z]\))\s+(?=\S)")
_POLAR_WORDS = {"yeah": "yes", "yep": "yes", "nope": "no"}
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})++|[0-9]++)(?:\.[0-9]++)?"
_NUMBER_IN_PROSE = re.compile(
    rf"(?<![\w.,/])(?<![-+]\s)(?P<value>-?(?:{_DIGITS}(?:\s*/\s*[0-9]++)?|\.[0-9]++))(?P<ordinal>(?:st|nd|rd|th)\b)?(?![\w/]*[0-9])"
)


def main_clause(text: str) -> str:
    """Return a cleaned answer without rejected alternatives, reasons, comments in brackets, and what leads to it."""
    text = _REASON.sub("", text)
    text = _REJECTED.sub("", text)
    leads = list(_ANSWER_IS.finditer(text))
    if len(leads) == 1 and leads[0].end() < len(text):
        text = text[leads[0].end() :]
    conclusions = list(_CONCLUSION.finditer(text))
    if len(conclusions) == 1 and conclusions[0].end() < len(text):
        text = text[conclusions[0].end() :]
    if correct := _IS_CORRECT.fullmatch(text):
        text = correct["answer"]
    text = _NUMBERED.sub("", _COMMENT.sub(lambda comment: comment[0] if hedged(comment[0]) else "", text))
    return re.sub(r",\s+which\s+is\s+", ", ", text).strip(" .")


def complement(text: str) -> str:
    """Return what a simple sentence says of its subject: "The missing shape is a hexagon" gives "a hexagon"."""
    copula = _COPULA.match(text)
    text = text[copula.end() :] if copula else text
    return _IN_COLOUR.sub("", _KIND.sub("", text, count=1))


def without_rounding(text: str, *, estimates: bool) -> str:
    """Return `text` without "≈" or "approximately" before a number, and with `estimates` without "about"."""
    text = _ROUNDED.sub("", text, count=1)
    return _ESTIMATE.sub("", text, count=1) if estimates else text


def polar_answer(text: str) -> str:
    """Return "yes" or "no" where the answer begins so and says nothing of the other, else `text`."""
    found = _POLAR.fullmatch(text)
    if found is None:
        return text
    answer = _POLAR_WORDS.get(found["answer"].casefold(), found["answer"].casefold())
    other = r"\b(?:yes|no|not|or|maybe)\b|n't\b" if answer == "yes" else r"\b(?:yes|or|maybe)\b"
    return text if re.search(other, found["rest"] or "", re.IGNORECASE) else answer


def without_label(text: str) -> str:
    """Return `text` without the label of an option before it: "A) circle" gives "circle"."""
    return _LABEL.sub("", text) if _LABEL.match(text) and len(_LABEL.findall(text)) == 1 else text


def only_number(text: str) -> str | None:
    """Return the one number in a sentence, with what follows it; None for several, and for hedged or changed ones."""
    numbers = list(_NUMBER_IN_PROSE.finditer(text))
    if len(numbers) != 1:
        return None
    number = numbers[0]
    rest = text[: number.start()] + " " + text[number.end() :]
    if hedged(_PER.sub(" ", rest)) or re.search("[0-9]", rest):
        return None
    return number["value"] if number["ordinal"] else text[number.start("value") :]


def hedged(text: str) -> bool:
    """Return whether a text holds a word or a sign that negates, hedges, compares or computes."""
    return bool(_HEDGE.search(text))
