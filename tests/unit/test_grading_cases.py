"""Case, ratios, separators, times of day, labels and ordinals: pairs of answers that are easily confused."""

import pytest

from srpo.grading import grade

SHAPES = ["circle", "square", "triangle"]


@pytest.mark.parametrize(
    ("reply", "reference"),
    [
        ("5 mW", "5 MW"),
        ("5 mPa", "5 MPa"),
        ("5 mm", "5 Mm"),
        ("5 Mm", "5 mm"),
        ("5 ms", "5 Ms"),
        ("5 Mg", "5 mg"),
        ("5 ML", "5 ml"),
        ("5 MM", "5 mm"),
        ("x", "X"),
        ("2X", "2x"),
        ("ab", "AB"),
        ("x^2", "X^2"),
        ("y=2x", "y=2X"),
        ("\\angle abc", "\\angle ABC"),
        ("XYZ", "xyz"),
    ],
)
def test_case_matters_in_variables_and_in_prefixes_of_two_meanings(reply, reference):
    assert not grade(reply, reference, task="math").correct
    assert not grade(reference, reply, task="math").correct
    assert grade(reference, reference, task="math").correct


@pytest.mark.parametrize(
    ("reply", "reference"),
    [
        ("5 CM", "5 cm"),
        ("5 Kg", "5 kg"),
        ("10 KM", "10 km"),
        ("5 KW", "5 kW"),
        ("5 mL", "5 ml"),
        ("5 KPA", "5 kPa"),
        ("10 KM/H", "10 km/h"),
        ("5 Cubes", "5 cubes"),
        ("5000 km", "5 Mm"),
        ("5MW", "5 MW"),
        ("yes", "Yes"),
        ("NO", "no"),
        ("infinity", "Infinity"),
        ("Undefined", "undefined"),
        ("no solution", "No solution"),
        ("The triangle", "triangle"),
        ("A triangle", "triangle"),
    ],
)
def test_case_does_not_matter_in_words_and_in_units_of_one_meaning(reply, reference):
    assert grade(reply, reference, task="math").correct
    assert grade(reference, reply, task="math").correct


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("1:2", True),
        ("1 : 2", True),
        ("1 to 2", True),
        ("2:4", True),
        ("\\frac{1}{2}", True),
        ("1/2", True),
        ("0.5", False),
        ("50%", False),
        ("2:1", False),
    ],
)
def test_a_ratio_is_answered_by_a_ratio_or_a_fraction(reply, right):
    assert grade(reply, "1:2").correct is right


@pytest.mark.parametrize("reference", ["1/2", "0.5", "\\frac{1}{2}", "50%"])
@pytest.mark.parametrize("reply", ["1:2", "1 : 2", "1 to 2"])
def test_a_number_is_not_answered_by_a_ratio(reply, reference):
    assert not grade(reply, reference).correct


@pytest.mark.parametrize(
    ("reply", "reference", "right"),
    [
        ("1,234", "1, 234", False),
        ("1234", "1, 234", False),
        ("1, 234", "1,234", False),
        ("1, 234", "1, 234", True),
        ("234, 1", "1, 234", True),
        ("1,234", "1234", True),
        ("(1,234)", "(1, 234)", True),
    ],
)
def test_a_comma_before_a_space_parts_values(reply, reference, right):
    assert grade(reply, reference).correct is right


@pytest.mark.parametrize(
    ("first", "second", "right"),
    [
        ("10:30 PM", "10:30", True),
        ("10:30 a.m.", "10:30", True),
        ("10:30 PM", "10:30 p.m.", True),
        ("22:30", "10:30 PM", True),
        ("0:05", "12:05 AM", True),
        ("12:05 PM", "12:05", True),
        ("10:30 AM", "10:30 PM", False),
        ("22:30", "10:30 AM", False),
        ("22:30", "10:30", False),
        ("9:30 PM", "10:30", False),
        ("10:31 PM", "10:30 PM", False),
    ],
)
def test_am_and_pm_may_be_left_out_but_not_exchanged(first, second, right):
    assert grade(first, second).correct is right
    assert grade(second, first).correct is right


@pytest.mark.parametrize(
    ("reply", "reference", "options", "right"),
    [
        ("∠ABC", "\\angle ABC", None, True),
        ("\\angle ABD", "∠ABC", None, False),
        ("No, it is not", "no", None, True),
        ("No, it isn't red", "no", None, True),
        ("Yes, it is not", "yes", None, False),
        ("No, or yes", "no", None, False),
        ("A) circle", "circle", None, True),
        ("(A) circle", "circle", None, True),
        ("A) not circle", "circle", None, False),
        ("A) circle B) square", "circle", None, False),
        ("first", "A", SHAPES, True),
        ("the second one", "B", SHAPES, True),
        ("first", "B", SHAPES, False),
        ("fourth", "A", SHAPES, False),
        ("first", "A", ["last", "first"], False),
        ("first", "A", ["2nd", "1st"], False),
    ],
)
def test_labels_ordinals_signs_and_denials(reply, reference, options, right):
    assert grade(reply, reference, options=options).correct is right
