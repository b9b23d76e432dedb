"""Task strings, tolerances, ranges, boxes, units, several options, alternatives and the check of a reference."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from srpo.grading import TASKS, Task, Tolerance, check_reference, grade, parse_task
from srpo.grading.box import overlap, read_box
from srpo.grading.units import conversion


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("math", Task("math")),
        ("math:0.01", Task("math", tolerance=Tolerance(absolute=Fraction(1, 100)))),
        ("math:5%", Task("math", tolerance=Tolerance(relative=Fraction(1, 20)))),
        (" math : 5 % ", Task("math", tolerance=Tolerance(relative=Fraction(1, 20)))),
        ("choice", Task("choice")),
        ("text", Task("text")),
        ("range", Task("range")),
        ("box", Task("box", iou=0.5)),
        ("box:0.7", Task("box", iou=0.7)),
        ("box:iou", Task("box", graded=True)),
    ],
)
def test_task_strings(text, task):
    assert parse_task(text) == task


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "task '' must be one of math, choice, text, range, box; correct it, or leave it out"),
        ("Math", "task 'Math' must be one of"),
        ("essay", "task 'essay' must be one of"),
        ("text:1", "task 'text:1' takes nothing after the colon; write 'text'"),
        ("choice:", "takes nothing after the colon"),
        ("math:", "must have a positive tolerance; write it as in 'math:0.01' or 'math:5%'"),
        ("math:-1", "must have a positive tolerance"),
        ("math:0", "must have a positive tolerance"),
        ("math:1e-3", "must have a positive tolerance"),
        ("box:0", "must have an overlap above 0 and up to 1"),
        ("box:1.5", "must have an overlap above 0 and up to 1"),
        ("box:IoU", "must have an overlap above 0 and up to 1"),
    ],
)
def test_bad_task_strings_name_value_rule_and_remedy(text, message):
    with pytest.raises(ValueError, match=message):
        parse_task(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12) | st.builds("{}:{}".format, st.sampled_from(TASKS), st.text(max_size=12)))
@example("math:9" + "9" * 40)
@example("math:²")
def test_any_text_is_a_task_or_a_value_error(text):
    said = ""
    try:
        kind = parse_task(text).kind
    except ValueError as error:
        kind, said = "", str(error)
    assert kind in TASKS or repr(text) in said


@pytest.mark.parametrize(
    ("reply", "reference", "task", "right"),
    [
        ("4.81", "4.8", "math:0.01", True),
        ("4.8100001", "4.8", "math:0.01", False),
        ("4.79", "4.8", "math:0.01", True),
        ("95", "100", "math:5%", True),
        ("94.9", "100", "math:5%", False),
        ("-95", "-100", "math:5%", True),
        ("0", "0", "math:5%", True),
        ("0.0001", "0", "math:5%", False),
        ("\\sqrt{2}", "1.41", "math:0.01", True),
        ("\\sqrt{2}", "1.40", "math:0.01", False),
        ("(1.001, 2)", "(1, 2)", "math:0.01", True),
        ("(1.02, 2)", "(1, 2)", "math:0.01", False),
        ("Monday", "Monday", "math:5%", True),
        ("Sunday", "Monday", "math:5%", False),
        ("2.49", "\\frac{5}{2}", "math:0.01", True),
        ("x^2", "x^2", "math:0.01", True),
        ("x^2+0.001", "x^2", "math:0.01", False),
    ],
)
def test_tolerance(reply, reference, task, right):
    assert grade(reply, reference, task=task).correct is right


@pytest.mark.parametrize(
    ("unit", "wanted", "factor"),
    [
        ("mm", "cm", Fraction(1, 10)),
        ("cm^2", "m^2", Fraction(1, 10_000)),
        ("l", "cm^3", Fraction(1000)),
        ("km/h", "m/s", Fraction(5, 18)),
        ("mph", "km/h", Fraction(1_609_344, 1_000_000)),
        ("m/s^2", "m/s", None),
        ("cm", "kg", None),
        ("cm^2", "cm", None),
        ("yr", "day", None),
        ("°c", "°f", None),
        ("€", "dollar", None),
        ("cent", "dollar", Fraction(1, 100)),
        ("", "cm", Fraction(1)),
        ("cube", "cube", Fraction(1)),
        ("cube", "ball", None),
    ],
)
def test_units_convert_where_they_measure_the_same(unit, wanted, factor):
    assert conversion(unit, wanted) == factor


@pytest.mark.parametrize("reference", ["3.5..4.5", "[3.5, 4.5]", "[3.5,4.5]", "4 ± 0.5", "4±0.5", "4 \\pm 0.5"])
def test_forms_of_a_range(reference):
    right = {reply: grade(reply, reference, task="range").correct for reply in ("3.49", "3.5", "4", "4.5", "4.51", "x")}
    assert right == {"3.49": False, "3.5": True, "4": True, "4.5": True, "4.51": False, "x": False}


def test_a_range_with_a_unit_converts():
    assert grade("4000 g", "3.5..4.5 kg", task="range").correct
    assert not grade("4000 kg", "3.5..4.5 kg", task="range").correct


def test_overlap_by_hand():
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 1, 1), (1, 1, 2, 2)) == 0
    assert overlap((0, 0, 10, 10), (0, 0, 10, 5)) == pytest.approx(0.5)


def test_the_score_of_a_box_is_its_overlap_only_where_asked():
    half, third = "[0, 0, 10, 5]", "[0, 0, 10, 3]"
    reference = "[0, 0, 10, 10]"
    results = {
        (reply, task): grade(reply, reference, task=task) for reply in (half, third) for task in ("box", "box:iou")
    }
    assert [(grade.correct, round(grade.score, 6)) for grade in results.values()] == [
        (True, 1.0),
        (True, 0.5),
        (False, 0.0),
        (False, 0.3),
    ]
    assert results[third, "box"].reason == "the boxes overlap by 0.300 (IoU), and 0.5 is asked for"
    assert grade("the dog", reference, task="box:iou").score == 0.0


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet='0123456789.,-+eE()[]{}"bo_x2d: nainf\n`<>|', max_size=60))
@example("[" * 900)
@example('{"bbox_2d":' * 90)
@example('{"bbox_2d": [1e308, -1e308, 1e309, 3]}')
@example('{"bbox_2d": [0, 0, 1e-320, 1e-320]}')
@example('{"bbox_2d": [true, false, 3, 4]}')
def test_no_text_makes_the_box_reader_raise(text):
    box = read_box(text)
    if box is not None:
        assert overlap(box, box) == pytest.approx(1)


def test_alternatives_are_right_too_and_the_best_counts():
    assert grade("NYC", "New York", alternatives=["NYC"], task="text").correct
    assert not grade("Boston", "New York", alternatives=["NYC"], task="text").correct
    assert grade("0.75", "3/5", alternatives=["", None, 0.75]).correct
    boxes = grade("[0, 0, 10, 4]", "[0, 0, 10, 10]", alternatives=["[0, 0, 10, 5]"], task="box:iou")
    assert boxes.score == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("answer", "task", "options"),
    [
        ("4", None, None),
        ("B", None, ["x", "y"]),
        ("AB", "choice", ["x", "y"]),
        ("y", "choice", ["x", "y"]),
        ("Monday", "math:5%", None),
        ("4 ± 0.5", "range", None),
        ("[0, 0, 1, 1]", "box:iou", None),
        ("[0,1)", "math", None),
        ("\\{1, 2\\}", "math", None),
        ("C", "", None),
    ],
)
def test_references_that_can_be_used(answer, task, options):
    check_reference(answer, task, options)


@pytest.mark.parametrize(
    ("answer", "task", "options", "message"),
    [
        (" ", None, None, "an empty reference answers nothing"),
        ("4", "maths", None, "task 'maths' must be one of"),
        ("z", None, ["x", "y"], "reference 'z' names none of the 2 options; give a letter or an option's text"),
        ("A, Z", None, ["x", "y"], "names none of the 2 options"),
        ("five", "range", None, "reference 'five' must be a range from low to high"),
        ("5..4", "range", None, "must be a range from low to high"),
        ("(3, 4)", "range", None, "must be a range from low to high"),
        ("[0, 0, 0, 1]", "box", None, "must be a box with x1 < x2 and y1 < y2"),
        ("\\frac{1}{2", "math", None, "has braces that do not close; complete it"),
    ],
)
def test_references_that_cannot_be_used_say_why(answer, task, options, message):
    with pytest.raises(ValueError, match=message):
        check_reference(answer, task, options)


OPTIONS = ["red", "green", "blue", "none"]


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("A, C", True),
        ("C and A", True),
        ("AC", True),
        ("red and blue", True),
        ("(A), (C)", True),
        ("A", False),
        ("A, B, C", False),
        ("A or C", False),
        ("A, A, C", False),
        ("A/C", False),
        ("B, D", False),
    ],
)
@pytest.mark.parametrize("reference", ["A, C", "AC", "red, blue"])
def test_a_reference_of_several_options_wants_exactly_these(reply, reference, right):
    assert grade(reply, reference, options=OPTIONS).correct is right


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["7", "B", "red", "not", "or", "is", "the answer", "5 cm", ",", "(", ")", "\\frac{1}{2}", "=", "."]
        ),
        max_size=8,
    ).map(" ".join),
    st.sampled_from([("7", None, "math"), ("B", OPTIONS, None), ("red", None, "text"), ("3..9", None, "range")]),
)
def test_no_reply_makes_the_grader_raise(reply, row):
    reference, options, task = row
    result = grade(reply, reference, options=options, task=task)
    assert result.score in (0.0, 1.0)
    assert result.reason
