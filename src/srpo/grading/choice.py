"""Multiple choice: which options does an answer name?"""

import re
import string

from srpo.grading import latex, mathematics
from srpo.grading.client import Budget
from srpo.grading.decision import Grade
from srpo.grading.statement import hedged
from srpo.grading.text import canonical, canonical_words, unbracketed

LABELS = string.ascii_uppercase
MAX_PARTS = 30

_LEAD_IN = re.compile(
    r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|picture|image|figure|letter|diagram|graph|选项?)s?\s*(?:is\s*:?|are\s*:?|[:：为是])?\s*)"
    r"(?=[(\[]?[A-Za-z][)\].:,]?(?:\s|$))",
    re.IGNORECASE,
)
_BARE_LABEL = re.compile(r"[(\[{<]?\s*([A-Za-z])\s*[)\]}>.:!]*")
_NUMBERED = re.compile(r"(?:option|choice)\s*#?\s*([1-9][0-9]?)", re.IGNORECASE)
_ORDINAL = re.compile(r"(?:the\s+)?(first|second|third|fourth|fifth|sixth)\s+(?:option|choice)", re.IGNORECASE)
_BARE_ORDINAL = re.compile(r"(?:the\s+)?(first|second|third|fourth|fifth|sixth)(?:\s+one)?", re.IGNORECASE)
_SAYS_PLACE = re.compile(r"\b(?:first|second|third|fourth|fifth|sixth|[1-6](?:st|nd|rd|th)?)\b", re.IGNORECASE)
_IS = re.compile(r"[A-Z]\s+is\s")
_BARE_LETTER = re.compile(r"(?<![^\W_])(?!A\s+[a-z])([A-Z])(?![^\W_])")
_WORDS = re.compile(r"[^\W\d_]{3,}(?: [^\W\d_]{3,})+")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_LETTER_IN_PROSE = re.compile(
    r"(?:\b(?:option|choice|picture|image|figure|letter|diagram|graph)\s*[(]?\s*([A-Z])\b|[(]([A-Z])[)]|^([A-Z])(?:,|(?=\s+is\s))|,\s*([A-Z])$)"
)
_LABEL_AND_TEXT = re.compile(r"(?:[(\[]\s*([A-Za-z])\s*[)\]][.:]?|([A-Za-z])\s*[).:\]]|([A-Z])(?=\s))\s*[-:]?\s*(\S.*)")
_SECOND_THOUGHT = re.compile(
    r"(?<![^\W\d_])(?:or|not|either|neither|nor|maybe|perhaps|possibly|and/or|[A-Z])(?![^\W\d_])"
)
_ALL_OF = re.compile(r"both\s+(?=\S)", re.IGNORECASE)
_SEPARATOR = re.compile(r"\s*(?:[,;、]|\band\b|&)\s*(?:and\b\s*)?", re.IGNORECASE)
_CLOSED_LABEL = re.compile(r"(?<![\w(])([A-Z])\)")
_BEFORE_LABEL = re.compile(r"\s+(?=\(?[A-Z][).:]\s)")
_LETTERS = re.compile(r"[A-Z]{2,}|[A-Z](?: [A-Z])+")
_BRACKETED_LETTERS = re.compile(r"(?:\([A-Za-z]\)\s*){2,}")


def grade_choice(reply: str, reference: str, options: list[str], budget: Budget) -> Grade:
    """Grade a cleaned reply to a question with cleaned options.

    Reply and reference may each be a letter ("B", "(b)", "B."), a letter with its text ("B) 12"), the text of an
    option, or "option 2". A single letter is a label first: with options ["A", "B", "D"] the letter "D" is not option
    C's text, but label D where there is one. A letter and a text that name different options are wrong. A reference
    that names several options ("A, C", "AC") wants exactly these, in any order; otherwise two letters are wrong.
    """
    wanted, given = named_sets(reference, options), named_sets(reply, options)
    if not wanted:
        return _grade_by_text(options[min(given[0])] if len(given) == 1 else reply, reference, budget)
    names = _names(wanted, options)
    if given:
        right = len(given) == len(wanted) and all(any(part & other for other in given) for part in wanted)
        return Grade(right, "choice", f"the reply names {_names(given, options)}, the reference {names}")
    labelled = _LABEL_AND_TEXT.fullmatch(reply)
    if labelled and not labelled[3] and (labelled[1] or labelled[2]).upper() in LABELS[: len(options)]:
        return Grade(False, "choice", f"the letter and the text of {reply!r} do not agree, the reference {names}")
    if len(wanted) > 1 or (labelled and not labelled[3]) or not mathematics.is_mathematical(reply):
        return Grade(False, "choice", f"{reply!r} names none of the {len(options)} options, the reference {names}")
    return _grade_by_value(reply, min(wanted[0]), wanted[0], options, budget)


def named_sets(answer: str, options: list[str]) -> list[set[int]]:
    """Return the options that a cleaned answer names, one set of indices for each; [] when it names none.

    A set holds several indices only for options of the same text. "A and C" gives [{0}, {2}], and so do "AC" and the
    texts of both; "B, 12" names B once where that is its text; "A or C" names none.
    """
    if one := named_options(answer, options):
        return [one]
    answer = _ALL_OF.sub("", _LEAD_IN.sub("", answer, count=1), count=1)
    brackets = latex.bracketed(answer)
    inner = _CLOSED_LABEL.sub(r"\1.", brackets[1] if brackets else answer)
    if _LETTERS.fullmatch(inner) or _BRACKETED_LETTERS.fullmatch(inner):
        parts = re.findall("[A-Za-z]", inner)
    else:
        separator = _BEFORE_LABEL if _BEFORE_LABEL.search(inner) and not _SEPARATOR.search(inner) else _SEPARATOR
        parts = [part.strip("'\" ") for part in latex.split_top_level(inner, separator)]
    if not 1 < len(parts) <= MAX_PARTS:
        return []
    if len(set(parts)) < len(parts):
        return []
    sets: list[set[int]] = []
    for part in filter(None, parts):
        named = named_options(part, options)
        if not named:
            return []
        if not any(named & other for other in sets):
            sets.append(named)
    return sets


def named_options(answer: str, options: list[str]) -> set[int]:
    """Return the indices of the options that a cleaned answer names: several only for options of the same text."""
    answer = _LEAD_IN.sub("", answer, count=1)
    labels = LABELS[: len(options)]
    if bare := _BARE_LABEL.fullmatch(answer):
        letter = bare.group(1)
        written = [index for index, option in enumerate(options) if option == letter]
        if letter.islower() and written:
            return set(written)
        return {labels.index(letter.upper())} if letter.upper() in labels else set(written)
    by_text = _options_with_text(answer, options)
    if by_text:
        return by_text
    if numbered := _NUMBERED.fullmatch(answer):
        return {int(numbered[1]) - 1} & set(range(len(options)))
    ordinal = _ORDINAL.fullmatch(answer)
    if ordinal is None and not any(_SAYS_PLACE.search(option) for option in options):
        ordinal = _BARE_ORDINAL.fullmatch(answer)
    if ordinal:
        return {_ORDINALS.index(ordinal[1].casefold())} & set(range(len(options)))
    if labelled := _LABEL_AND_TEXT.fullmatch(answer):
        letter = (labelled[1] or labelled[2] or labelled[3]).upper()
        if letter in labels:
            return _confirmed(labels.index(letter), labelled[4], options, needs_text=labelled[3] is not None)
    return set()


def only_option(sentence: str, options: list[str]) -> str:
    """Return the letter of the one option that a sentence mentions by its text, by "picture D" or "(D)", else ""."""
    labels = LABELS[: len(options)]
    labelled = _LABEL_AND_TEXT.match(sentence)
    if not options or (labelled and next(filter(None, labelled.groups())) in labels and not _IS.match(sentence)):
        return ""
    letters = {next(filter(None, groups)) for groups in _LETTER_IN_PROSE.findall(sentence)}
    rest = _LETTER_IN_PROSE.sub(" ", sentence)
    words = f" {_written(rest)} "
    mentioned: set[int] = set()
    for text in sorted({_written(option) for option in options}, key=len, reverse=True):
        pattern = re.compile(rf"(?<![\w.]){re.escape(text)}(?![\w.]*\w)")
        words, times = pattern.subn(" ", words) if len(text) > 1 or text.isdigit() else (words, 0)
        if times > 1:
            return ""
        if times:
            mentioned |= {index for index, option in enumerate(options) if _written(option) == text}
    texts = {_written(options[index]) for index in mentioned}
    bare = set(_BARE_LETTER.findall(rest)) & set(labels)
    if (
        bare
        or hedged(words)
        or re.search("[0-9]", words)
        or not letters <= set(labels)
        or len(letters) > 1
        or len(texts) > 1
    ):
        return ""
    named = {labels.index(letter) for letter in letters}
    both = named & mentioned if named and mentioned else named or mentioned
    return labels[min(both)] if both and min(both) < len(labels) else ""


def _names(sets: list[set[int]], options: list[str]) -> str:
    """ "option B", "options A and C"; "B or C" stands for options of the same text."""
    letters = [" or ".join(LABELS[index] for index in sorted(part) if index < len(LABELS)) for part in sets]
    return f"option{'s' if len(sets) > 1 else ''} {' and '.join(letters)}"


def _grade_by_value(reply: str, index: int, wanted: set[int], options: list[str], budget: Budget) -> Grade:
    """Compare a number or formula with the texts of the options: it must equal the wanted one only."""
    grade = mathematics.compare(reply, options[index], budget)
    if grade.correct:
        for other, text in enumerate(options):
            if other not in wanted and mathematics.compare(reply, text, budget).correct:
                return Grade(False, "choice", f"{reply!r} equals options {LABELS[index]} and {LABELS[other]} alike")
    return grade


def _confirmed(index: int, text: str, options: list[str], *, needs_text: bool) -> set[int]:
    """{index} where the text after the label is that option's text, or prose that names no other option."""
    by_text = _options_with_text(text, options)
    if by_text or needs_text:
        return {index} & by_text
    others = [canonical_words(option) for place, option in enumerate(options) if place != index]
    words = f" {canonical_words(text)} "
    names_another = any(re.search(rf"(?<!\w){re.escape(other)}(?!\w)", words) for other in others if len(other) > 1)
    contradicts = names_another or _SECOND_THOUGHT.search(text) or mathematics.is_mathematical(text)
    return set() if contradicts else {index}


def _options_with_text(answer: str, options: list[str]) -> set[int]:
    keys = {_key(answer), _key(unbracketed(answer))}
    return {index for index, option in enumerate(options) if _key(option) in keys or _key(unbracketed(option)) in keys}


def _written(text: str) -> str:
    return canonical_words(latex.tidy(text))


def _key(text: str) -> str:
    key = canonical(latex.tidy(text))
    return key.replace(" ", "") if _WORDS.fullmatch(key) else key


def _grade_by_text(reply: str, reference: str, budget: Budget) -> Grade:
    """Without options, or with a reference that names none of them."""
    bare_reply, bare_reference = (_BARE_LABEL.fullmatch(_LEAD_IN.sub("", text, count=1)) for text in (reply, reference))
    if bare_reference and bare_reply:
        same = bare_reply.group(1).upper() == bare_reference.group(1).upper()
        return Grade(same, "choice", f"the letter {bare_reply.group(1)} against {bare_reference.group(1)}")
    if bare_reference and (labelled := _LABEL_AND_TEXT.fullmatch(reply)) and not labelled[3]:
        letter = (labelled[1] or labelled[2]).upper()
        same = letter == bare_reference.group(1).upper() and not _SECOND_THOUGHT.search(labelled[4])
        return Grade(same, "choice", f"the letter {letter} against {bare_reference.group(1)}")
    if mathematics.is_mathematical(reference):
        return mathematics.compare(reply, reference, budget)
    same = canonical(reply) == canonical(reference)
    return Grade(same, "text", "the same text" if same else "another text")
