"""Comparing two mathematical answers: numbers exactly, lists element by element, the rest by math-verify."""

import re
from dataclasses import dataclass

from srpo.grading import latex
from srpo.grading.client import Budget, Verdict
from srpo.grading.clock import read_clock, same_time
from srpo.grading.decision import Grade
from srpo.grading.number import parse_quantity, quantities_equal, split_unit
from srpo.grading.statement import only_number
from srpo.grading.task import EXACT, Tolerance
from srpo.grading.text import canonical, mathematical_key
from srpo.grading.units import conversion
from srpo.grading.words import digits_for_words

MAX_EXPRESSION = 400
MAX_ELEMENTS = 24

_BARE_SEPARATOR = re.compile(r"\s*;\s*|,\s+(?:(?:and|or)\s+)?|,(?![0-9]{3}(?![0-9]))|\s+(?:and|or)\s+")
_BRACKET_SEPARATOR = re.compile(r"\s*[,;]\s*(?:(?:and|or)\s+)?|\s+(?:and|or)\s+")
_EQUALS = re.compile(r"\s*(?<![<>!:\\])=\s*")
_VARIABLE = re.compile(r"\\?[A-Za-z]+(?:\s+[A-Z]+)?(?:_\{?\w+\}?)?(?:\([A-Za-z]\))?")
_RATIO_IN_WORDS = re.compile(r"(?<=[0-9])\s+to\s+(?=[0-9])")
_FRACTION = re.compile(r"/|\\frac(?![a-z])")
_POINT_NAME = re.compile(r"^[A-Z]'{0,2}(?:_\{?[0-9]\}?)?\s*=?\s*(?=\()")
_PARTS_STAY_TOGETHER = re.compile(r"\\pm|\\in(?![a-z])|\\cup|\\cap|\\le|\\ge|\\ne|[<>]|\\begin|\\mid|\|")


def is_mathematical(text: str) -> bool:
    """Return whether a cleaned answer reads as a number, a list of numbers or a formula, and not as words."""
    if len(text) > MAX_EXPRESSION:
        return False
    tidy = latex.tidy(text)
    if parse_quantity(tidy) is not None or read_clock(tidy) is not None or latex.is_expression(tidy):
        return True
    parts = _elements(tidy)
    return parts is not None and all(parse_quantity(part) or latex.is_expression(part) for part in parts[1])


@dataclass(frozen=True)
class _Rules:
    budget: Budget
    tolerance: Tolerance


def only_quantity(sentence: str) -> str:
    """Return the one number of a sentence with its unit: "The edge is 24 m long" gives "24 m", several give ""."""
    if parse_quantity(latex.tidy(sentence)):
        return ""
    tail = only_number(sentence if re.search("[0-9]", sentence) else digits_for_words(sentence))
    if tail is None:
        return ""
    words = latex.tidy(tail).split()
    heads = [" ".join(words[:length]).rstrip(".,;:") for length in (4, 3, 2) if length <= len(words)]
    with_unit = [head for head in heads if split_unit(head)[1] and (not head.endswith(" in") or len(words) == 2)]
    return with_unit[0] if with_unit else words[0].rstrip(".,;:")


def compare(reply: str, reference: str, budget: Budget, tolerance: Tolerance = EXACT) -> Grade:
    """Grade one cleaned answer against another as mathematics; `budget` bounds the time of math-verify.

    Rules, in order: times of day, where AM or PM is written;
    equal numbers (units may be left out or converted); lists, where brackets must agree, elements of
    (a, b) and [a, b] are ordered and those of {a, b} and of bare "a, b" are not; equations, where "x = 4" answers "4"
    and each side of a chain must be right; everything else is one expression for math-verify. Several candidates ("3
    or 4") never answer a single value, and arithmetic that is not carried out ("3+4") answers no number.
    """
    reply, reference = _in_one_form(latex.tidy(reply), latex.tidy(reference))
    if _same_text(reply, reference):
        return Grade(True, "text", "the same text")
    if len(reply) > max(MAX_EXPRESSION, 2 * len(reference)):
        return Grade(False, "length", f"an expression of {len(reply)} characters is not compared")
    return _compare(reply, reference, _Rules(budget, tolerance))


def _same_text(reply: str, reference: str) -> bool:
    words = not latex.is_expression(reference)
    same = mathematical_key(reply, fold_words=words) == mathematical_key(reference, fold_words=words)
    return same and reply.endswith("!") == reference.endswith("!")


def _in_one_form(reply: str, reference: str) -> tuple[str, str]:
    """Both texts with the notations that only one of them uses rewritten: rounding, ratios, intervals and ±."""
    reply = latex.before_rounding(reply)
    if ":" in reference:
        reply = _RATIO_IN_WORDS.sub(":", reply)
    if latex.bracketed(reference):
        reply = _POINT_NAME.sub("", reply)
    if latex.as_interval(reference) is None or latex.as_interval(reply) is None:
        reply, reference = latex.as_interval(reply) or reply, latex.as_interval(reference) or reference
    return latex.both_signs(reply), latex.both_signs(reference)


def _compare(reply: str, reference: str, rules: _Rules) -> Grade:
    reply, reference = _peeled(reply), _peeled(reference)
    if (numbers := _compare_numbers(reply, reference, rules)) is not None:
        return numbers
    if not _PARTS_STAY_TOGETHER.search(reference) and not _PARTS_STAY_TOGETHER.search(reply):
        wanted = None if parse_quantity(reference) else _elements(reference)
        given = None if parse_quantity(reply) and not wanted else _elements(reply)
        if wanted and given:
            return _compare_lists(given, wanted, rules)
        if wanted or given:
            return Grade(False, "list", f"{reply!r} and {reference!r} do not name the same number of values")
    if "=" in reference or "=" in reply:
        return _compare_equations(reply, reference, rules)
    if parse_quantity(reference) and _left_as_arithmetic(reply):
        return Grade(False, "math", f"{reply!r} is left as arithmetic, and the value is asked for")
    return _compare_expressions(reply, reference, rules)


def _compare_numbers(reply: str, reference: str, rules: _Rules) -> Grade | None:
    if (same := same_time(reply, reference)) is not None:
        return Grade(same, "number", f"{reply} {'can be' if same else 'is not'} the time {reference}")
    wanted, given = parse_quantity(reference, glued_units=False), parse_quantity(reply)
    if wanted is None or given is None:
        return None
    if conversion(given.unit, wanted.unit) is None:
        return Grade(False, "number", f"the unit {given.unit} is not {wanted.unit}")
    equal = quantities_equal(wanted, given, rules.tolerance)
    near = " within the tolerance" if rules.tolerance else ""
    return Grade(equal, "number", f"{reply} {'equals' if equal else 'is not'} {reference}{near}")


def _compare_lists(reply: tuple[str, list[str]], reference: tuple[str, list[str]], rules: _Rules) -> Grade:
    (given_brackets, given), (wanted_brackets, wanted) = reply, reference
    ordered = wanted_brackets not in ("", "{}") or ("=" in wanted[0] and "=" not in given[0])
    if given_brackets not in ("", wanted_brackets) and not (wanted_brackets == "" and given_brackets == "{}"):
        return Grade(False, "list", f"brackets {given_brackets} are not {wanted_brackets or 'those of a plain list'}")
    if len(given) != len(wanted) or len(wanted) > MAX_ELEMENTS:
        return Grade(False, "list", f"{len(given)} values where the reference has {len(wanted)}")
    rest = list(given)
    for element in wanted:
        for candidate in rest[:1] if ordered else list(rest):
            grade = _compare(candidate, element, rules)
            if grade.rule == "timeout":
                return grade
            if grade.correct:
                rest.remove(candidate)
                break
        else:
            return Grade(False, "list", f"no value equals {element}{' in its place' if ordered else ''}")
    return Grade(True, "list", "every value is equal")


def _compare_equations(reply: str, reference: str, rules: _Rules) -> Grade:
    wanted_name, wanted = _named_values(reference)
    given_name, given = _named_values(reply)
    names_differ = bool(wanted_name and given_name) and canonical(wanted_name) != canonical(given_name)
    if len(wanted) > 1 or names_differ or (wanted_name and not given_name and len(given) > 1):
        return _compare_expressions(reply, reference, rules)
    value = _peeled(wanted[0])
    if parse_quantity(value) and all(_left_as_arithmetic(side) for side in given):
        return Grade(False, "math", f"{reply!r} is left as arithmetic, and the value is asked for")
    grade = Grade(False, "math", "an equation without a value")
    for side in given:
        grade = _compare_expressions(_peeled(side), value, rules)
        if not grade.correct:
            break
    return grade


def _named_values(equation: str) -> tuple[str, list[str]]:
    """Split "x = 2 + 2 = 4" into "x" and ["2 + 2", "4"]; the name is "" where the left side is no name."""
    sides = latex.split_top_level(equation, _EQUALS)
    return (sides[0], sides[1:]) if len(sides) > 1 and _VARIABLE.fullmatch(sides[0]) else ("", sides)


def _compare_expressions(reply: str, reference: str, rules: _Rules) -> Grade:
    if (numbers := _compare_numbers(reply, reference, rules)) is not None:
        return numbers
    (wanted, wanted_unit), (given, given_unit) = split_unit(reference, glued_units=False), split_unit(reply)
    factor = conversion(given_unit, wanted_unit)
    if factor is None:
        return Grade(False, "number", f"the unit {given_unit} is not {wanted_unit}")
    if ":" in given and ":" not in wanted:
        return Grade(False, "text", f"{reply!r} is a ratio, and {reference!r} is none")
    if ":" in wanted and ":" not in given and not _FRACTION.search(given):
        return Grade(False, "text", f"{reply!r} is no ratio, and {reference!r} is one")
    for value in (given, wanted):
        if not latex.is_expression(value):
            return Grade(False, "text", f"{value!r} is not one mathematical expression, and the texts differ")
    if latex.only_case_differs(given, wanted):  # math-verify takes x for X
        return Grade(False, "math", f"{reply!r} has a variable of {reference!r} in another case")
    if factor != 1:
        given = rf"\frac{{{factor.numerator}}}{{{factor.denominator}}} \cdot ({given})"
    verdict = rules.budget.compare(wanted, given, rules.tolerance)
    if verdict is Verdict.TIMEOUT:
        return Grade(False, "timeout", f"math-verify gave no result within {rules.budget.seconds:g} s")
    return Grade(verdict is Verdict.EQUAL, "math", f"math-verify finds {reply!r} {verdict.value} to {reference!r}")


def _left_as_arithmetic(text: str) -> bool:
    return latex.left_as_arithmetic(split_unit(text)[0])


def _elements(text: str) -> tuple[str, list[str]] | None:
    """The brackets and the elements of a list of two or more values, None for anything else."""
    if brackets := latex.bracketed(text):
        opening, content, closing = brackets
        parts = latex.split_top_level(content, _BRACKET_SEPARATOR)
        return (opening + closing, parts) if len(parts) > 1 else None
    parts = latex.split_top_level(text, _BARE_SEPARATOR)
    return ("", parts) if len(parts) > 1 else None


def _peeled(text: str) -> str:
    """`text` without brackets that enclose a single value."""
    while (
        (brackets := latex.bracketed(text))
        and brackets[0] + brackets[2] in ("()", "[]", "{}")
        and _elements(text) is None
    ):
        text = brackets[1]
    return text
