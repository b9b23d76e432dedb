"""Task strings: which kind of answer a row has, and how exact a reply must be."""

import re
from dataclasses import dataclass
from fractions import Fraction

TASKS = ("math", "choice", "text", "range", "box")
DEFAULT_IOU = 0.5

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}")


@dataclass(frozen=True)
class Tolerance:
    """How far a number may be from the reference: |reply - reference| <= max(absolute, relative * |reference|)."""

    absolute: Fraction = Fraction(0)
    relative: Fraction = Fraction(0)

    def __bool__(self) -> bool:
        return bool(self.absolute or self.relative)

    def allows(self, reference: Fraction, reply: Fraction) -> bool:
        """Return whether `reply` is near enough; without a tolerance, whether it is equal."""
        return abs(reply - reference) <= max(self.absolute, self.relative * abs(reference))


EXACT = Tolerance()


@dataclass(frozen=True)
class Task:
    """A parsed task string.

    Args:
        kind: one of TASKS.
        tolerance: of "math": how far numbers may differ.
        iou: of "box": the overlap from which a box is right.
        graded: of "box": whether the score is the overlap itself ("box:iou").
    """

    kind: str
    tolerance: Tolerance = EXACT
    iou: float = DEFAULT_IOU
    graded: bool = False


def parse_task(text: str) -> Task:
    """Read "math", "math:0.01", "math:5%", "choice", "text", "range", "box", "box:0.7" or "box:iou".

    Raises:
        ValueError: for anything else.
    """
    kind, colon, argument = (part.strip() for part in str(text).strip().partition(":"))
    if kind not in TASKS:
        raise ValueError(f"task {text!r} must be one of {', '.join(TASKS)}; correct it, or leave it out")
    if not colon:
        return Task(kind)
    if kind == "math":
        return Task(kind, tolerance=_tolerance(text, argument))
    if kind == "box":
        return Task(kind, graded=True) if argument == "iou" else Task(kind, iou=_iou(text, argument))
    raise ValueError(f"task {text!r} takes nothing after the colon; write {kind!r}")


def _tolerance(text: str, argument: str) -> Tolerance:
    number, percent = (argument[:-1].strip(), True) if argument.endswith("%") else (argument, False)
    if not _NUMBER.fullmatch(number) or not Fraction(number):
        raise ValueError(f"task {text!r} must have a positive tolerance; write it as in 'math:0.01' or 'math:5%'")
    return Tolerance(relative=Fraction(number) / 100) if percent else Tolerance(absolute=Fraction(number))


def _iou(text: str, argument: str) -> float:
    if not _NUMBER.fullmatch(argument) or not 0 < float(argument) <= 1:
        raise ValueError(
            f"task {text!r} must have an overlap above 0 and up to 1; write 'box:0.7', or 'box:iou' for the overlap"
        )
    return float(argument)
