"""Multiple choice: which option does an answer name?"""

import re
import string

from srpo.grading import latex, mathematics
from srpo.grading.decision import Grade
from srpo.grading.text import canonical, unbracketed

LABELS = string.ascii_uppercase

_LEAD_IN = re.compile(
    r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice)\s*(?:is\s*:?|:)?\s*)(?=[(\[]?[A-Za-z][)\].:]?(?:\s|$))",
    re.IGNORECASE,
)
_BARE_LABEL = re.compile(r"[(\[]?\s*([A-Za-z])\s*[)\].:]*")
_LABEL_AND_TEXT = re.compile(r"(?:[(\[]\s*([A-Za-z])\s*[)\]][.:]?|([A-Za-z])\s*[).:\]]|([A-Z])(?=\s))\s*[-:]?\s*(\S.*)")
_SECOND_THOUGHT = re.compile(
    r"(?<![^\W\d_])(?:or|not|either|neither|nor|maybe|perhaps|possibly|and/or|[A-Z])(?![^\W\d_])"
)


def grade_choice(reply: str, reference: str, options: list[str], timeout: float) -> Grade:
    """Grade a cleaned reply to a question with cleaned options.

    Reply and reference may each be a letter ("B", "(b)", "B."), a letter with its text ("B) 12"), or the text of an
    option. A single letter is a label first: with options ["A", "B", "D"] the letter "D" is not option C's text, but
    label D where there is one. A letter and a text that name different options are wrong, and so are two letters.
    """
    wanted = named_options(reference, options)
    given = named_options(reply, options)
    if not options or not wanted:
        return _grade_by_text(_text_of(reply, given, options), reference, timeout)
    names = " or ".join(LABELS[index] for index in sorted(wanted) if index < len(LABELS))
    if given:
        letters = " or ".join(LABELS[index] for index in sorted(given) if index < len(LABELS))
        return Grade(bool(given & wanted), "choice", f"the reply names option {letters}, the reference {names}")
    labelled = _LABEL_AND_TEXT.fullmatch(reply)
    if (labelled and not labelled[3]) or not mathematics.is_mathematical(reply):
        return Grade(False, "choice", f"{reply!r} names none of the {len(options)} options")
    index = min(wanted)
    grade = mathematics.compare(reply, options[index], timeout)
    if grade.correct:
        for other, text in enumerate(options):
            if other not in wanted and mathematics.compare(reply, text, timeout).correct:
                return Grade(False, "choice", f"{reply!r} equals options {LABELS[index]} and {LABELS[other]} alike")
    return grade


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
    if labelled := _LABEL_AND_TEXT.fullmatch(answer):
        letter = (labelled[1] or labelled[2] or labelled[3]).upper()
        if letter in labels:
            return _confirmed(labels.index(letter), labelled[4], options, needs_text=labelled[3] is not None)
    return set()


def _confirmed(index: int, text: str, options: list[str], *, needs_text: bool) -> set[int]:
    """{index} where the text after the label is that option's text, or prose that names no other option."""
    by_text = _options_with_text(text, options)
    if by_text or needs_text:
        return {index} & by_text
    others = [canonical(option) for place, option in enumerate(options) if place != index]
    words = f" {canonical(text)} "
    names_another = any(re.search(rf"(?<!\w){re.escape(other)}(?!\w)", words) for other in others if len(other) > 1)
    contradicts = names_another or _SECOND_THOUGHT.search(text) or mathematics.is_mathematical(text)
    return set() if contradicts else {index}


def _options_with_text(answer: str, options: list[str]) -> set[int]:
    keys = {_key(answer), _key(unbracketed(answer))}
    return {index for index, option in enumerate(options) if _key(option) in keys or _key(unbracketed(option)) in keys}


def _key(text: str) -> str:
    return canonical(latex.tidy(text))


def _text_of(reply: str, given: set[int], options: list[str]) -> str:
    return options[min(given)] if given else reply


def _grade_by_text(reply: str, reference: str, timeout: float) -> Grade:
    bare_reply, bare_reference = (_BARE_LABEL.fullmatch(_LEAD_IN.sub("", text, count=1)) for text in (reply, reference))
    if bare_reference and bare_reply:
        same = bare_reply.group(1).upper() == bare_reference.group(1).upper()
        return Grade(same, "choice", f"the letter {bare_reply.group(1)} against {bare_reference.group(1)}")
    if bare_reference and (labelled := _LABEL_AND_TEXT.fullmatch(reply)) and not labelled[3]:
        letter = (labelled[1] or labelled[2]).upper()
        same = letter == bare_reference.group(1).upper() and not _SECOND_THOUGHT.search(labelled[4])
        return Grade(same, "choice", f"the letter {letter} against {bare_reference.group(1)}")
    if mathematics.is_mathematical(reference):
        return mathematics.compare(reply, reference, timeout)
    same = canonical(reply) == canonical(reference)
    return Grade(same, "text", "the same text" if same else "another text")
