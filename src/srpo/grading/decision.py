"""The result of grading."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grade:
    """Whether an answer is right, which rule decided, and why in one sentence.

    Rules: "empty", "length", "text", "choice", "number", "list", "math", "timeout".
    """

    correct: bool
    rule: str
    reason: str
