"""The result of grading."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grade:
    """Whether an answer is right, which rule decided, why in one sentence, and the score.

    Rules: "format", "empty", "length", "text", "choice", "number", "list", "math", "timeout", "range", "box". The score
    is 1.0 or 0.0, and the overlap (IoU) for the task "box:iou".
    """

    correct: bool
    rule: str
    reason: str
    score: float = -1.0

    def __post_init__(self) -> None:
        if self.score < 0:
            object.__setattr__(self, "score", float(self.correct))
