"""Hand-labelled answers: what is right, what only looks right, and every reference of the third-party sets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srpo.grading import MAX_CHARACTERS, Grade, grade
from srpo.grading.text import clean

SHARED_DATA = Path(__file__).parents[2] / "../shared/data"

RIGHT_OPEN = [
    # numbers
    ("3", "3"),
    (" 3 ", "3"),
    ("3.", "3"),
    ("3.0", "3"),
    ("03", "3"),
    ("+3", "3"),
    ("(3)", "3"),
    ("−3", "-3"),
    ("- 3", "-3"),
    (".5", "0.5"),
    ("1,000", "1000"),
    ("1000", "1,000"),
    ("1 000 000", "1000000"),
    ("1{,}000", "1000"),
    ("1,234,567.5", "1234567.5"),
    ("1e3", "1000"),
    ("1.5 \\times 10^{3}", "1500"),
    ("1.5×10^3", "1500"),
    ("10^{-2}", "0.01"),
    ("３", "3"),
    # fractions, percentages
    ("0.5", "1/2"),
    ("1/2", "0.5"),
    ("\\frac{1}{2}", "0.5"),
    ("\\dfrac{1}{2}", "\\frac{1}{2}"),
    ("\\frac12", "1/2"),
    ("2/4", "1/2"),
    ("½", "0.5"),
    ("3½", "3.5"),
    ("3 1/2", "7/2"),
    ("3\\frac{1}{2}", "3.5"),
    ("-\\frac{1}{2}", "\\frac{-1}{2}"),
    ("0.333333", "1/3"),
    ("2/3", "0.666667"),
    ("50%", "0.5"),
    ("50%", "50"),
    ("50", "50\\%"),
    ("12.5%", "0.125"),
    ("50 percent", "50%"),
    ("12.5", "12.5%"),
    ("0.5", "50%"),
    # units and counted things
    ("3 cm", "3"),
    ("3cm", "3"),
    ("3", "3 cm"),
    ("3 centimeters", "3 cm"),
    ("$3 \\mathrm{~cm}$", "3cm"),
    ("54 \\mathrm{~cm}^{2}", "54 cm²"),
    ("54 square centimeters", "54 cm^2"),
    ("90°", "90"),
    ("90^\\circ", "90 degrees"),
    ("20 °C", "20"),
    ("60 km/h", "60"),
    ("$5", "5"),
    ("5 dollars", "5"),
    ("€5", "5 euros"),
    ("6 cubes", "6"),
    ("6\\pi cm", "6\\pi"),
    # markup around the answer
    ("**3**", "3"),
    ("`3`", "3"),
    ("$3$", "3"),
    ("\\(3\\)", "3"),
    ("\\boxed{3}", "3"),
    ("$\\boxed{\\frac{1}{2}}$", "0.5"),
    ("The answer is 3.", "3"),
    ("**Answer:** 3", "3"),
    ("So the final answer is: \\boxed{3}", "3"),
    ("I count them and get \\boxed{3}", "3"),
    # equations
    ("x=4", "4"),
    ("4", "x=4"),
    ("x = 4", "x=4"),
    ("\\angle ABC = 50^\\circ", "50"),
    ("2+2=4", "4"),
    ("x = 2 + 2 = 4", "4"),
    ("y=2x+1", "y = 1 + 2x"),
    ("2x-y+1=0", "y=2x+1"),
    ("f(x)=2-g(x)", "f(x)=-g(x)+2"),
    # formulas
    ("3!", "6"),
    ("2^10", "1024"),
    ("2**10", "1024"),
    ("√2", "$\\sqrt{2}$"),
    ("sqrt(2)", "\\sqrt{2}"),
    ("1.414214", "\\sqrt{2}"),
    ("2pi", "2\\pi"),
    ("π/2", "\\frac{\\pi}{2}"),
    ("5\\sqrt{2}", "\\sqrt{50}"),
    ("1-\\sin^2 \\beta", "\\cos^2 \\beta"),
    ("b+a", "a+b"),
    ("x²", "x^2"),
    ("3<x", "x>3"),
    ("1:2", "2:4"),
    ("|-5|", "5"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    # lists
    ("(3, -4)", "(3,-4)"),
    ("3, -4", "(3,-4)"),
    ("\\left(3,\\frac{1}{2}\\right)", "(3, 0.5)"),
    ("2, 1", "1, 2"),
    ("1 and 2", "1,2"),
    ("1, 2, and 3", "3, 2, 1"),
    ("x=1 or x=2", "x=2, x=1"),
    ("{2,1}", "\\{1,2\\}"),
    ("3,-3", "\\pm 3"),
    ("1,000 and 2,000", "2000; 1000"),
    ("(-\\infty, 3]", "(-\\infty,3]"),
    # text
    ("Large", "large"),
    ("large.", "large"),
    ("large!", "large"),
    ('"large"', "large"),
    ("“large”", "large"),
    ("**large**", "large"),
    ("(large)", "large"),
    ("a triangle", "triangle"),
    ("The triangle.", "triangle"),
    ("light  purple", "light purple"),
    ("light\npurple", "light purple"),
    ("ﬁve", "five"),
    ("STRASSE", "straße"),
    ("Cafe\u0301", "café"),
    ("\\text{none}", "none"),
    ("2h  48m", "2h 48m"),
    ("(C)", "C"),
    ("c", "C"),
    ("answer: yes", "Yes"),
]

WRONG_OPEN = [
    # arithmetic left undone
    ("3+4", "7"),
    ("2·3", "6"),
    ("2+2", "4"),
    ("3+4 cm", "7"),
    ("1-\\frac{1}{3}", "\\frac{2}{3}"),
    ("\\sqrt{9+16}", "5"),
    ("x=2+2", "4"),
    # nothing
    ("", "3"),
    ("   ", "3"),
    ("\\boxed{}", "3"),
    ("?", "3"),
    # other numbers
    ("120", "12"),
    ("12", "120"),
    ("2", "12"),
    ("-3", "3"),
    ("3", "-3"),
    ("0.333", "1/3"),
    ("0.3", "1/3"),
    ("3.1", "3"),
    ("3.0000001", "3"),
    ("0.0000004", "0.0000001"),
    ("0", "1.6 \\times 10^{-19}"),
    ("0.00000003", "\\frac{\\pi}{10^9}"),
    ("1.000", "1000"),
    ("1,5", "1.5"),
    ("52", "5²"),
    ("10112", "1011₂"),
    ("2/1", "1/2"),
    ("1/0", "0"),
    ("\\frac{0}{0}", "3"),
    ("5%", "0.5"),
    ("0.5%", "0.5"),
    ("6 million", "6"),
    ("6 hundred", "6"),
    ("3 dozen", "3"),
    # another unit
    ("3 km", "3 m"),
    ("3 \\mathrm{~km}", "3 \\mathrm{~m}"),
    ("9 kg", "9 litres"),
    ("54 cm^3", "54 cm^2"),
    ("2\\pi km", "2\\pi m"),
    # several candidates for one value
    ("3 or 4", "3"),
    ("4 or 3", "3"),
    ("$3$ or $4$", "3"),
    ("3, 4", "3"),
    ("3 and 4", "4"),
    ("3; 4", "4"),
    ("3 4", "3"),
    ("3 4", "4"),
    ("3 4", "7"),
    ("3\n4", "4"),
    ("3 (or 4)", "3"),
    ("3 (or maybe 4)", "3"),
    ("3/4", "3"),
    ("3|4", "3"),
    ("\\boxed{3} or \\boxed{4}", "3"),
    ("{1,2,3}", "3"),
    ("1, 2, 3", "3"),
    ("\\pm 3", "3"),
    ("3=4", "4"),
    ("3=4", "3"),
    ("x=3=4", "4"),
    ("3, x>2", "3"),
    ("either 3 or 4", "3"),
    # not the value
    ("not 3", "3"),
    ("3?!", "4"),
    ("at least 3", "3"),
    ("~3", "3"),
    (">3", "3"),
    ("x>3", "3"),
    ("\\neq 3", "3"),
    ("3x", "3"),
    ("3", "3x"),
    ("3ab", "3"),
    ("3#4", "34"),
    ('3"4', "34"),
    ("3!", "3"),
    ("x", "y"),
    ("y=3", "x=3"),
    ("2x+2", "2x+1"),
    ("y=2x+2", "y=2x+1"),
    ("0=0", "y=2x+1"),
    ("\\emptyset", "3"),
    ("\\infty", "3"),
    ("2014", "2020-01-05"),
    ("-5", "5-2-3-1-4"),
    # lists
    ("(-4,3)", "(3,-4)"),
    ("-4, 3", "(3,-4)"),
    ("{3,-4}", "(3,-4)"),
    ("[1,2]", "(1,2)"),
    ("(-\\infty,3)", "(-\\infty,3]"),
    ("1", "1, 2"),
    ("1, 2, 3", "1, 2"),
    ("1, 1", "1, 2"),
    ("2, 1", "x=1, y=2"),
    # text
    ("not large", "large"),
    ("large", "not large"),
    ("larger", "large"),
    ("large or small", "large"),
    ("large, small", "large"),
    ("red", "dark red"),
    ("dark red", "red"),
    ("large?small", "large"),
    ("B", "A"),
    ("A or C", "C"),
    ("the", "large"),
    ("2h 49m", "2h 48m"),
    ("48m", "2h 48m"),
]

NUMBERS = ["10", "12", "14", "16"]
COLOURS = ["red", "dark red", "blue", "none of these"]
LETTERS = ["A", "B", "C", "D", "E"]
SHIFTED = ["A", "B", "D", "F", "G"]
ORDERS = ["$3,5,4,2,1$", "$3,4,5,1,2$", "$3,2,1,4,5$"]
FORMULAS = ["$\\frac{1}{3}$", "$\\frac{5}{4}$", "$\\frac{1}{2}$", "$60^{\\circ}$", "$6 \\mathrm{~m}$"]
PICTURES = ["either A or B", "only C", "only D", "A, B or C"]

RIGHT_CHOICE = [
    ("B", "B", NUMBERS),
    ("b", "B", NUMBERS),
    ("(B)", "B", NUMBERS),
    ("[B]", "B", NUMBERS),
    ("B.", "B", NUMBERS),
    ("B)", "B", NUMBERS),
    ("**B**", "B", NUMBERS),
    ("**(B)**", "B", NUMBERS),
    ("\\boxed{B}", "B", NUMBERS),
    ("\\boxed{\\text{B}}", "B", NUMBERS),
    ("$B$", "B", NUMBERS),
    ("B) 12", "B", NUMBERS),
    ("B. 12", "B", NUMBERS),
    ("(B) 12", "B", NUMBERS),
    ("B: 12", "B", NUMBERS),
    ("B 12", "B", NUMBERS),
    ("Option B", "B", NUMBERS),
    ("The answer is B.", "B", NUMBERS),
    ("The correct answer is option (B)", "B", NUMBERS),
    ("12", "B", NUMBERS),
    ("12.0", "B", NUMBERS),
    ("12 cm", "B", NUMBERS),
    ("B", "12", NUMBERS),
    ("12", "12", NUMBERS),
    ("12", 12, ["12", "14"]),
    ("A", 12, [12, 14]),
    ("A. twelve of them", "A", [12, 14]),
    ("Dark red", "B", COLOURS),
    ("dark red", "dark red", COLOURS),
    ("A", "red", COLOURS),
    ("A) red", "red", COLOURS),
    ("a red", "red", COLOURS),
    ("None of these.", "D", COLOURS),
    ("E", "E", LETTERS),
    ("E) the last picture", "E", LETTERS),
    ("D", "D", SHIFTED),
    ("D) F", "D", SHIFTED),
    ("F", "D", SHIFTED),
    ("(C)", "C", ["(A)", "(B)", "(C)"]),
    ("C", "C", ["A)", "B)", "C)"]),
    ("a", "a", ["c", "a", "b"]),
    ("B", "a", ["c", "a", "b"]),
    ("3,5,4,2,1", "A", ORDERS),
    ("3, 5, 4, 2, 1", "A", ORDERS),
    ("1/3", "A", FORMULAS),
    ("0.5", "C", FORMULAS),
    ("60°", "D", FORMULAS),
    ("60", "D", FORMULAS),
    ("6 m", "E", FORMULAS),
    ("6m", "E", FORMULAS),
    ("A", "either A or B", PICTURES),
    ("either A or B", "A", PICTURES),
    ("A, B or C", "D", PICTURES),
    ("only C", "B", PICTURES),
    ("x", "B", ["y", "x", "x"]),
    ("C", "C", None),
    ("C) 12", "C", None),
    ("20", "20", NUMBERS),
]

WRONG_CHOICE = [
    ("A", "B", NUMBERS),
    ("", "B", NUMBERS),
    ("Z", "B", NUMBERS),
    ("E", "B", NUMBERS),
    ("B) 14", "B", NUMBERS),
    ("C) 12", "B", NUMBERS),
    ("C 12", "B", NUMBERS),
    ("14", "B", NUMBERS),
    ("120", "B", NUMBERS),
    ("1", "A", NUMBERS),
    ("B or C", "B", NUMBERS),
    ("B and C", "B", NUMBERS),
    ("B, C", "B", NUMBERS),
    ("B/C", "B", NUMBERS),
    ("BC", "B", NUMBERS),
    ("A B", "B", NUMBERS),
    ("A B C D", "B", NUMBERS),
    ("B) or C", "B", NUMBERS),
    ("B. not C", "B", NUMBERS),
    ("not B", "B", NUMBERS),
    ("12 or 14", "B", NUMBERS),
    ("12, 14", "B", NUMBERS),
    ("A 12", "A", NUMBERS),
    ("A 12", "B", NUMBERS),
    ("A B", "B", LETTERS),
    ("(B) 14", "A", ["14B", "12B"]),
    ("red", "B", COLOURS),
    ("dark red", "A", COLOURS),
    ("red or blue", "A", COLOURS),
    ("A) red, or blue", "A", COLOURS),
    ("A) not red", "A", COLOURS),
    ("B. the blue one", "B", COLOURS),
    ("not red", "A", COLOURS),
    ("E", "D", SHIFTED),
    ("C) F", "D", SHIFTED),
    ("3,4,5,1,2", "A", ORDERS),
    ("1,2,3,4,5", "A", ORDERS),
    ("6 km", "E", FORMULAS),
    ("60", "E", FORMULAS),
    ("A or B", "B", PICTURES),
    ("B", "C", None),
    ("C or D", "C", None),
    ("C) or D", "C", None),
    ("21", "20", NUMBERS),
    ("A", "20", NUMBERS),
]


@pytest.mark.parametrize(("reply", "reference"), RIGHT_OPEN)
def test_right_open_answers(reply: str, reference: str) -> None:
    assert grade(reply, reference).correct, grade(reply, reference)


@pytest.mark.parametrize(("reply", "reference"), WRONG_OPEN)
def test_wrong_open_answers(reply: str, reference: str) -> None:
    assert not grade(reply, reference).correct, grade(reply, reference)


@pytest.mark.parametrize(("reply", "reference", "options"), RIGHT_CHOICE)
def test_right_choices(reply: str, reference: str | int, options: list | None) -> None:
    assert grade(reply, str(reference), options=options, task="choice").correct


@pytest.mark.parametrize(("reply", "reference", "options"), WRONG_CHOICE)
def test_wrong_choices(reply: str, reference: str, options: list | None) -> None:
    result = grade(reply, reference, options=options, task="choice")
    assert not result.correct, result


@pytest.mark.parametrize(
    ("reply", "reference", "task", "correct"),
    [
        ("7", "07", "text", False),
        ("7", "07", "math", True),
        ("1/2", "0.5", "text", False),
        ("A", "B", "text", False),
        ("12", "B", "math", False),
        ("cat", "cat", "math", True),
        ("act", "cat", "math", False),
        ("n!", "n", "math", False),
        ("n!", "n!", "math", True),
    ],
)
def test_the_task_decides_the_rule(reply: str, reference: str, task: str, correct: bool) -> None:
    assert grade(reply, reference, options=["12", "B"] if task == "math" else None, task=task).correct is correct


def test_grade_says_which_rule_decided() -> None:
    assert grade("4", "4") == Grade(True, "text", "the same text")
    assert grade("5", "4") == Grade(False, "number", "5 is not 4")
    assert grade("", "4").rule == "empty"
    assert grade("1, 2", "1").rule == "list"
    assert grade("\\sqrt{16}", "4").rule == "math"
    assert grade("B", "A", options=["x", "y"]) == Grade(
        False, "choice", "the reply names option B, the reference option A"
    )


def test_huge_answers_are_not_read() -> None:
    for huge in ("3" * 1_000_000, "(" * 1_000_000, "3 or " * 200_000, " " * MAX_CHARACTERS + "3"):
        assert grade(huge, "3") == Grade(False, "length", f"an answer of {len(huge)} characters is not read")
    assert grade("1+" * 1500 + "1", "1501").rule == "length"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "essay"}, "task 'essay' must be one of math, choice, text, range, box; correct it"),
        ({"reference": "  "}, "an empty reference answers nothing"),
        ({"timeout": 0}, "timeout 0 must be positive"),
    ],
)
def test_bad_arguments_name_value_rule_and_remedy(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grade("3", **{"reference": "3", **arguments})


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_clean_is_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@settings(max_examples=300, deadline=None)
@given(
    st.text(min_size=1, max_size=30).filter(lambda text: clean(text) != ""), st.sampled_from(["text", "math", "choice"])
)
def test_every_answer_equals_itself(text: str, task: str) -> None:
    assert grade(text, text, task=task).correct


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_integers_are_equal_exactly_when_they_are(first: int, second: int) -> None:
    assert grade(f"{first:,}", str(second)).correct is (first == second)


def test_importing_the_grader_pulls_in_no_torch() -> None:
    program = "import sys, srpo.grading; sys.exit(any(name in sys.modules for name in ('torch', 'trl', 'sympy')))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def _puzzle_rows() -> list[dict]:
    files = sorted((SHARED_DATA / "puzzlevqa").glob("*.json"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def _math_vision_rows() -> list[dict]:
    file = SHARED_DATA / "mathv" / "testmini.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


needs_data = pytest.mark.skipif(not SHARED_DATA.exists(), reason="../shared/data is missing")


@needs_data
def test_every_puzzlevqa_reference() -> None:
    rows = _puzzle_rows()
    assert len(rows) == 400
    for row in rows:
        options, answer = row["options"], str(row["answer"])
        place = [str(option) for option in options].index(answer)
        for index, option in enumerate(options):
            for reply in (str(option), "ABCD"[index], f"({'abcd'[index]}) {option}", f"The answer is {option}."):
                result = grade(reply, answer, options=options)
                assert result.correct is (index == place), (reply, row, result)
            assert grade(str(option), answer).correct is (index == place), (option, row)


@needs_data
def test_every_math_vision_reference() -> None:
    rows = _math_vision_rows()
    assert len(rows) == 304
    for row in rows:
        options, answer = row["options"], row["answer"]
        assert grade(answer, answer, options=options).correct, row
        if not options:
            for wrong in (f"{answer}1", f"{answer} or 1", f"not {answer}", f"1{answer}"):
                assert not grade(wrong, answer).correct, (wrong, row)
            continue
        for index, option in enumerate(options):
            right = "ABCDE"[index] == answer
            assert grade("ABCDE"[index], answer, options=options).correct is right, row
            assert grade(f"{'ABCDE'[index]}. {option}", answer, options=options).correct is right, (option, row)
            if len(option.strip("()")) > 1:
                assert grade(option, answer, options=options).correct is right, (option, row)
