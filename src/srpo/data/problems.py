"""What can be wrong with a row: the kinds, and one record for each find.

Two severities. "refused": training on the row would fail or teach something wrong, so `load` raises, or skips the row
when told to. "noted": the row is used, in the way that the remedy says; `srpo data check` lists it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GIANT_PIXELS = 50_000_000
GIANT_SIDE = 16_384
ASPECT_MAX = 100
TINY_SIDE = 4
REFUSED = "refused"
NOTED = "noted"


@dataclass(frozen=True)
class BadRow:
    """One find: the row's id, the kind (a key of KINDS), what is wrong, and what to do about it."""

    row: str
    kind: str
    reason: str
    remedy: str

    @property
    def severity(self) -> str:
        """ "refused" or "noted"."""
        return KINDS[self.kind][0]

    def __str__(self) -> str:
        return f"row {self.row}: {self.reason}; {self.remedy}"


class RowProblem(ValueError):
    """A cell that cannot be used, raised where it is read; the caller knows the row and makes a BadRow of it."""

    def __init__(self, kind: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.kind, self.reason, self.remedy = kind, reason, remedy

    def of(self, row: str) -> BadRow:
        """The find, with its row."""
        return BadRow(row, self.kind, self.reason, self.remedy)


# kind -> (severity, meaning); docs/data.md has this table
KINDS: dict[str, tuple[str, str]] = {
    "line": (REFUSED, "a line of a data file cannot be read"),
    "question_empty": (REFUSED, "the question is empty"),
    "question_type": (REFUSED, "the question is neither a text nor a conversation"),
    "question_turns": (REFUSED, "a conversation without a question, or with several"),
    "question_token": (REFUSED, "the question holds a special token of the model"),
    "media": (REFUSED, "a video or a sound"),
    "placeholder_missing": (REFUSED, "fewer <image> placeholders than images"),
    "placeholder_extra": (REFUSED, "more <image> placeholders than images"),
    "placeholder_number": (REFUSED, "numbered placeholders that do not fit the images"),
    "prompt_length": (REFUSED, "the prompt leaves no room for a completion in the model's context"),
    "options_type": (REFUSED, "the options are no list of choices"),
    "options_many": (REFUSED, "more options than letters"),
    "options_one": (REFUSED, "one option only"),
    "options_empty": (REFUSED, "an option without text"),
    "options_same": (REFUSED, "two options of the same text, one of which is the answer"),
    "answer_empty": (REFUSED, "no answer"),
    "answer_type": (REFUSED, "the answer is neither a value nor a list of values"),
    "answer_option": (REFUSED, "the answer names no option"),
    "answer_unparsable": (REFUSED, "the answer cannot be read as its task demands"),
    "task_unknown": (REFUSED, "a task that does not exist"),
    "image_missing": (REFUSED, "the image file does not exist"),
    "image_outside": (REFUSED, "the image path leaves the data folder"),
    "image_url": (REFUSED, "the image is a URL"),
    "image_type": (REFUSED, "the cell holds no image"),
    "image_base64": (REFUSED, "the image is text that is neither a path nor base64"),
    "image_empty": (REFUSED, "an image file or cell without bytes"),
    "image_none": (NOTED, "no image, in a set whose rows have some; it is used as a row of text only"),
    "image_unreadable": (REFUSED, "not an image, or one that is broken"),
    "image_truncated": (REFUSED, "the image ends early"),
    "image_bomb": (REFUSED, "an image that unpacks to more pixels than Pillow's limit"),
    "image_giant": (REFUSED, f"an image of more than {GIANT_PIXELS:,} pixels or a side above {GIANT_SIDE:,}"),
    "image_aspect": (REFUSED, f"one side is more than {ASPECT_MAX} times the other"),
    "image_tiny": (REFUSED, f"a side of fewer than {TINY_SIDE} pixels"),
    "image_animated": (NOTED, "an animation; its first frame is used"),
    "image_alpha": (NOTED, "transparent pixels; they are laid on white"),
    "image_cmyk": (NOTED, "CMYK colours; they are converted to RGB"),
    "image_16bit": (NOTED, "16 bits a channel; they are scaled to 8"),
    "image_processor": (REFUSED, "the model's processor does not take the image"),
    "id_repeated": (NOTED, "an id that an earlier row has; a number is added to it"),
    "row_repeated": (NOTED, "question, images and answer of an earlier row"),
    "row_contradicts": (REFUSED, "question and images of an earlier row with another answer"),
    "row_in_eval": (REFUSED, "question and images of a row that training is evaluated on"),
    "image_in_eval": (NOTED, "an image that is also in the evaluation rows, with another question"),
}


def summary(bad: Sequence[BadRow], shown: int = 3) -> str:
    """The first few finds in full, and how many of each kind there are."""
    listed = "; ".join(str(find) for find in bad[:shown])
    if len(bad) <= shown:
        return listed
    counts = ", ".join(f"{count} {kind}" for kind, count in kind_counts(bad).items())
    return f"{listed}; and {len(bad) - shown} more (by kind: {counts})"


def kind_counts(bad: Iterable[BadRow]) -> dict[str, int]:
    """Kind -> number of finds, the most frequent first."""
    return dict(Counter(find.kind for find in bad).most_common())
