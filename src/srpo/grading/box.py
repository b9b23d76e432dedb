"""Bounding boxes: reading [x1, y1, x2, y2] from a reply, and their overlap."""

import json
import math
import re
from typing import Any

from srpo.grading.decision import Grade
from srpo.grading.task import Task

Box = tuple[float, float, float, float]

MAX_CHARACTERS = 1000
MIN_SIDE = 1e-6
_KEYS = ("bbox_2d", "bbox", "box_2d", "box")
_PLAIN = r"([+-]?[0-9]{1,9}(?:\.[0-9]{0,9})?)"
_NUMBER = rf"\s*{_PLAIN}\s*"
_COORDINATES = re.compile(",".join([_NUMBER] * 4))
_SPACED = re.compile(r"[(\[]" + r"\s+".join([_PLAIN] * 4) + r"[)\]]")
_CORNERS = re.compile(rf"\(?\s*[(\[]{_NUMBER},{_NUMBER}[)\]]\s*,?\s*[(\[]{_NUMBER},{_NUMBER}[)\]]\s*\)?")
_FENCE = re.compile(r"\s*```(?:json)?(?P<inner>[^`]*)```\s*")
_LEAD_IN = re.compile(r"\s*(?:the\s+)?(?:answer|bounding box|bbox|box)\s*(?:is|:|=)\s*:?\s*", re.IGNORECASE)
_SPECIAL = re.compile(r"<\|?/?(?:box(?:_start|_end)?|bbox)\|?>")


def read_box(text: str) -> Box | None:
    """Return (x1, y1, x2, y2) where `text` is one box with x1 < x2 and y1 < y2, else None.

    Forms: [x1, y1, x2, y2], with round brackets or none, [x1 y1 x2 y2], (x1, y1), (x2, y2), and JSON
    {"bbox_2d": [...]}, also in a list of one and in a code fence. Never raises.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    fenced = _FENCE.fullmatch(text)
    text = _SPECIAL.sub("", fenced["inner"] if fenced else text).strip().rstrip(".").strip()
    text = text.strip("$`*").strip()
    if lead := _LEAD_IN.match(text):
        text = text[lead.end() :].strip()
    if "{" in text:
        return _from_json(text)
    if corners := _CORNERS.fullmatch(text):
        return _proper(corners.groups())
    if spaced := _SPACED.fullmatch(text):
        return _proper(spaced.groups())
    while text[:1] + text[-1:] in ("()", "[]"):
        text = text[1:-1]
    coordinates = _COORDINATES.fullmatch(text)
    return _proper(coordinates.groups()) if coordinates else None


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (_area(first) + _area(second) - shared)


def grade_box(reply: str, reference: str, task: Task) -> Grade:
    """Grade a reply's box by its overlap with the reference box.

    Raises:
        ValueError: when the reference is no box.
    """
    wanted, given = read_box(reference), read_box(reply)
    if wanted is None:
        raise ValueError(
            f"reference {reference!r} must be a box with x1 < x2 and y1 < y2; write it as in '[10, 20, 30, 40]'"
        )
    if given is None:
        return Grade(False, "box", f"{reply[:80]!r} is not one box [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    iou = overlap(given, wanted)
    right = iou >= task.iou
    reason = f"the boxes overlap by {iou:.3f} (IoU), and {task.iou:g} is asked for"
    return Grade(right, "box", reason, score=iou if task.graded else float(right))


def _from_json(text: str) -> Box | None:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return None
    found = [value[key] for key in _KEYS if key in value]
    return _proper(found[0]) if len(found) == 1 and isinstance(found[0], list) else None


def _proper(values: Any) -> Box | None:
    if len(values) != 4 or any(isinstance(value, bool) or not isinstance(value, (int, float, str)) for value in values):
        return None
    try:
        x1, y1, x2, y2 = (float(value) for value in values)
    except (ValueError, OverflowError):
        return None
    small = all(math.isfinite(value) and abs(value) < 1e9 for value in (x1, y1, x2, y2))
    return (x1, y1, x2, y2) if small and x2 - x1 > MIN_SIDE and y2 - y1 > MIN_SIDE else None


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
