"""Comparing two mathematical answers: numbers exactly, lists element by element, the rest by math-verify."""

import re

from srpo.grading import client, latex
from srpo.grading.client import Verdict
from srpo.grading.decision import Grade
from srpo.grading.number import parse_quantity, quantities_equal, split_unit, units_agree
from srpo.grading.text import canonical

MAX_EXPRESSION = 400
MAX_ELEMENTS = 24

_BARE_SEPARATOR = re.compile(r"\s*;\s*|,\s+(?:(?:and|or)\s+)?|,(?![0-9]{3}(?![0-9]))|\s+(?:and|or)\s+")
_BRACKET_SEPARATOR = re.compile(r"\s*[,;]\s*(?:(?:and|or)\s+)?|\s+(?:and|or)\s+")
_EQUALS = re.compile(r"\s*(?<![<>!:\\])=\s*")
_VARIABLE = re.compile(r"\\?[A-Za-z]+(?:\s+[A-Z]+)?(?:_\{?\w+\}?)?(?:\([A-Za-z]\))?")
_PARTS_STAY_TOGETHER = re.compile(r"\\pm|\\in(?![a-z])|\\cup|\\cap|\\le|\\ge|\\ne|[<>]|\\begin|\\mid|\|")


def is_mathematical(text: str) -> bool:
    """Return whether a cleaned answer reads as a number, a list of numbers or a formula, and not as words."""
    if len(text) > MAX_EXPRESSION:
        return False
    tidy = latex.tidy(text)
    if parse_quantity(tidy) is not None or latex.is_expression(tidy):
        return True
    parts = _elements(tidy)
    return parts is not None and all(parse_quantity(part) or latex.is_expression(part) for part in parts[1])


def compare(reply: str, reference: str, timeout: float) -> Grade:
    """Grade one cleaned answer against another as mathematics; `timeout` in seconds bounds each call of math-verify.

    Rules, in order: equal numbers (units may be left out, not changed); lists, where brackets must agree, elements of
    (a, b) and [a, b] are ordered and those of {a, b} and of bare "a, b" are not; equations, where "x = 4" answers "4"
    and each side of a chain must be right; everything else is one expression for math-verify. Several candidates ("3
    or 4") never answer a single value.
    """
    reply, reference = latex.tidy(reply), latex.tidy(reference)
    if canonical(reply) == canonical(reference) and reply.endswith("!") == reference.endswith("!"):
        return Grade(True, "text", "the same text")
    if len(reply) > max(MAX_EXPRESSION, 2 * len(reference)):
        return Grade(False, "length", f"an expression of {len(reply)} characters is not compared")
    return _compare(reply, reference, timeout)


def _compare(reply: str, reference: str, timeout: float) -> Grade:
    reply, reference = _peeled(reply), _peeled(reference)
    if (numbers := _compare_numbers(reply, reference)) is not None:
        return numbers
    if not _PARTS_STAY_TOGETHER.search(reference) and not _PARTS_STAY_TOGETHER.search(reply):
        wanted = None if parse_quantity(reference) else _elements(reference)
        given = None if parse_quantity(reply) else _elements(reply)
        if wanted and given:
            return _compare_lists(given, wanted, timeout)
        if wanted or given:
            return Grade(False, "list", f"{reply!r} and {reference!r} do not name the same number of values")
    if "=" in reference or "=" in reply:
        return _compare_equations(reply, reference, timeout)
    return _compare_expressions(reply, reference, timeout)


def _compare_numbers(reply: str, reference: str) -> Grade | None:
    wanted, given = parse_quantity(reference, glued_units=False), parse_quantity(reply)
    if wanted is None or given is None:
        return None
    equal = quantities_equal(wanted, given)
    return Grade(equal, "number", f"{reply} {'equals' if equal else 'is not'} {reference}")


def _compare_lists(reply: tuple[str, list[str]], reference: tuple[str, list[str]], timeout: float) -> Grade:
    (given_brackets, given), (wanted_brackets, wanted) = reply, reference
    ordered = wanted_brackets not in ("", "{}") or ("=" in wanted[0] and "=" not in given[0])
    if given_brackets not in ("", wanted_brackets) and not (wanted_brackets == "" and given_brackets == "{}"):
        return Grade(False, "list", f"brackets {given_brackets} are not {wanted_brackets or 'those of a plain list'}")
    if len(given) != len(wanted) or len(wanted) > MAX_ELEMENTS:
        return Grade(False, "list", f"{len(given)} values where the reference has {len(wanted)}")
    rest = list(given)
    for element in wanted:
        for candidate in rest[:1] if ordered else list(rest):
            grade = _compare(candidate, element, timeout)
            if grade.rule == "timeout":
                return grade
            if grade.correct:
                rest.remove(candidate)
                break
        else:
            return Grade(False, "list", f"no value equals {element}{' in its place' if ordered else ''}")
    return Grade(True, "list", "every value is equal")


def _compare_equations(reply: str, reference: str, timeout: float) -> Grade:
    wanted_name, wanted = _named_values(reference)
    given_name, given = _named_values(reply)
    names_differ = bool(wanted_name and given_name) and canonical(wanted_name) != canonical(given_name)
    if len(wanted) > 1 or names_differ or (wanted_name and not given_name and len(given) > 1):
        return _compare_expressions(reply, reference, timeout)
    grade = Grade(False, "math", "an equation without a value")
    for value in given:
        grade = _compare_expressions(_peeled(value), _peeled(wanted[0]), timeout)
        if not grade.correct:
            break
    return grade


def _named_values(equation: str) -> tuple[str, list[str]]:
    """Split "x = 2 + 2 = 4" into "x" and ["2 + 2", "4"]; the name is "" where the left side is no name."""
    sides = latex.split_top_level(equation, _EQUALS)
    return (sides[0], sides[1:]) if len(sides) > 1 and _VARIABLE.fullmatch(sides[0]) else ("", sides)


def _compare_expressions(reply: str, reference: str, timeout: float) -> Grade:
    if (numbers := _compare_numbers(reply, reference)) is not None:
        return numbers
    (wanted_value, wanted_unit), (given_value, given_unit) = split_unit(reference, glued_units=False), split_unit(reply)
    if not units_agree(wanted_unit, given_unit):
        return Grade(False, "number", f"the unit {given_unit} is not {wanted_unit}")
    for value in (given_value, wanted_value):
        if not latex.is_expression(value):
            return Grade(False, "text", f"{value!r} is not one mathematical expression, and the texts differ")
    verdict = client.compare(wanted_value, given_value, timeout)
    if verdict is Verdict.TIMEOUT:
        return Grade(False, "timeout", f"math-verify gave no result within {timeout:g} s")
    return Grade(verdict is Verdict.EQUAL, "math", f"math-verify finds {reply!r} {verdict.value} to {reference!r}")


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
