"""`srpo data check`: everything about a data set that can be known before training, from one pass over its rows."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from srpo.data.answers import Answered, answer_figures, answer_problems, answer_remarks, same_answer
from srpo.data.decoding import shrunk_size
from srpo.data.duplicates import RowKey, repeated_rows, rows_in_evaluation
from srpo.data.inspection import BATCH, Inspection, inspect_rows
from srpo.data.lengths import ImageRefusal, ModelView, length_problems, special_token_problems
from srpo.data.problems import REFUSED, BadRow, RowProblem, kind_counts
from srpo.data.spread import Spread

if TYPE_CHECKING:
    from srpo.data.loading import Loaded

_COLUMNS = ("id", "prompt", "question", "options", "answer", "alternatives", "perception", "reasoning", "task")


@dataclass
class SplitReport:
    """What was found in one split.

    Attributes:
        split: its name.
        rows: rows of the source.
        images: count, formats, modes, and spreads of sizes and of images per row.
        lengths: spreads of question words, and of tokens where a model is given.
        answers: tasks, letters, and how many rows know more than the answer.
        bad: every find, in the order in which it was made.
    """

    split: str
    rows: int
    images: dict[str, Any]
    lengths: dict[str, Any]
    answers: dict[str, Any]
    bad: list[BadRow]

    @property
    def refused(self) -> int:
        """Rows that training refuses or skips."""
        return len({find.row for find in self.bad if find.severity == REFUSED})

    @property
    def good(self) -> int:
        """Rows that training uses."""
        return self.rows - self.refused


@dataclass
class Report:
    """What was found in a data set; `remarks` are sentences about the set as a whole."""

    dataset: str
    model: str | None
    decoded: bool
    splits: list[SplitReport]
    remarks: list[str]

    @property
    def clean(self) -> bool:
        """Whether training would refuse no row."""
        return all(split.refused == 0 for split in self.splits)

    def to_json(self) -> dict[str, Any]:
        """Plain values: the report, and every bad row with split, row, kind, severity, reason and remedy."""
        splits = {
            split.split: {
                **{name: value for name, value in asdict(split).items() if name not in ("split", "bad")},
                "good": split.good,
                "refused": split.refused,
                "kinds": kind_counts(split.bad),
            }
            for split in self.splits
        }
        bad = [
            {"split": split.split, **asdict(find), "severity": find.severity}
            for split in self.splits
            for find in split.bad
        ]
        about = {"dataset": self.dataset, "model": self.model, "decoded": self.decoded, "clean": self.clean}
        return {**about, "splits": splits, "remarks": self.remarks, "bad_rows": bad}


def check(
    name: str,
    splits: Mapping[str, "Loaded"],
    *,
    train: str | None = None,
    model: ModelView | None = None,
    decode: bool = True,
    progress: Callable[[str, int], Any] | None = None,
) -> Report:
    """Read every row of the splits once.

    Args:
        name: how the report calls the data set.
        splits: split -> what `srpo.data.loading.open_rows` gave.
        train: the split whose rows no other split may hold; None to compare none.
        model: gives prompt lengths, and finds rows that this model cannot read.
        decode: decode every image, not only read its header.
        progress: called with split and number of rows, as they are read.
    """
    reports: dict[str, SplitReport] = {}
    keys: dict[str, list[RowKey]] = {}
    remarks: list[str] = []
    for split, loaded in splits.items():
        column = loaded.dataset.features["images"].feature
        tally = _Tally(model, getattr(column, "max_pixels", None))
        for rows, pictures in _batches(loaded.dataset, decode, partial(progress, split) if progress else None):
            tally.add(rows, pictures)
        reports[split], keys[split] = tally.report(split, loaded), tally.keys
        remarks += answer_remarks(split, tally.answers)
    if train is not None:
        held_out = [key for split, of_split in keys.items() if split != train for key in of_split]
        reports[train].bad += rows_in_evaluation(keys[train], held_out)
    return Report(name, model.name if model else None, decode, list(reports.values()), remarks)


def _batches(
    dataset: Any, decode: bool, progress: Callable[[int], Any] | None
) -> Iterator[tuple[list[dict[str, Any]], list[list[Inspection]]]]:
    """Rows (without images) and their inspected images, BATCH rows at a time."""
    inspected = inspect_rows(dataset, decode=decode, digest=True, progress=progress)
    for batch in dataset.select_columns(list(_COLUMNS)).iter(batch_size=BATCH):
        rows = [dict(zip(batch, cells, strict=True)) for cells in zip(*batch.values(), strict=True)]
        yield rows, [pictures for _, pictures in islice(inspected, len(rows))]


class _Tally:
    """What is collected while the rows of one split pass by."""

    def __init__(self, model: ModelView | None, max_pixels: int | None = None) -> None:
        self.model, self.max_pixels = model, max_pixels
        self.bad: list[BadRow] = []
        self.keys: list[RowKey] = []
        self.pictures: list[Inspection] = []
        self.images_per_row: list[int] = []
        self.words: list[int] = []
        self.question_tokens: list[int] = []
        self.prompt_tokens: dict[str, int] = {}
        self.answers: list[Answered] = []

    def add(self, rows: Sequence[dict[str, Any]], pictures: Sequence[list[Inspection]]) -> None:
        """Take in some rows and their inspected images."""
        for row, images in zip(rows, pictures, strict=True):
            problems = [problem for image in images for problem in image.problems] + answer_problems(row)
            self.bad += [problem.of(row["id"]) for problem in problems]
            self.pictures += [image for image in images if image.width]
            self.images_per_row.append(len(images))
            self.words.append(len(row["question"].split()))
            self.answers.append(Answered.of(row))
            digests = [image.digest for image in images]
            if all(digests):
                asked = (row["question"], row["options"], digests, row["answer"], row["task"])
                self.keys.append(RowKey.of(row["id"], *asked))
        if self.model is not None:
            self._measure(self.model, rows, pictures)

    def _measure(self, model: ModelView, rows: Sequence[dict[str, Any]], pictures: Sequence[list[Inspection]]) -> None:
        self.question_tokens += model.meter.text_tokens([row["question"] for row in rows], special=False)
        texts = model.meter.text_tokens([model.meter.rendered(row["prompt"]) for row in rows])
        for row, images, text in zip(rows, pictures, texts, strict=True):
            problems = special_token_problems(model.meter, row)
            try:
                sizes = [shrunk_size(image.width, image.height, self.max_pixels) for image in images if image.width]
                of_images = [model.meter.image_tokens(*size) for size in sizes]
            except ImageRefusal as error:
                reason = f"the processor of {model.name} does not take its image ({error})"
                problems.append(RowProblem("image_processor", reason, "crop or pad the image, or remove the row"))
            else:
                length = text + sum(of_images) - len(of_images)
                self.prompt_tokens[row["id"]] = length
                problems += length_problems(model, length)
            self.bad += [problem.of(row["id"]) for problem in problems]

    def report(self, split: str, loaded: "Loaded") -> SplitReport:
        """The figures of the rows that passed by, with the finds of those that loading left out."""
        left_out = len({find.row for find in loaded.bad if find.severity == REFUSED})
        return SplitReport(
            split=split,
            rows=len(loaded.dataset) + left_out,
            images=self._image_figures(),
            lengths=self._length_figures(),
            answers=answer_figures(self.answers),
            bad=[*loaded.bad, *self.bad, *repeated_rows(self.keys, same_answer)],
        )

    def _image_figures(self) -> dict[str, Any]:
        return {
            "count": sum(self.images_per_row),
            "per_row": Spread.of(self.images_per_row),
            "formats": dict(Counter(picture.format for picture in self.pictures).most_common()),
            "modes": dict(Counter(picture.mode for picture in self.pictures).most_common()),
            "width": Spread.of([picture.width for picture in self.pictures]),
            "height": Spread.of([picture.height for picture in self.pictures]),
            "megapixels": Spread.of([picture.width * picture.height / 1e6 for picture in self.pictures]),
        }

    def _length_figures(self) -> dict[str, Any]:
        longest = max(self.prompt_tokens, key=self.prompt_tokens.__getitem__, default=None)
        return {
            "question_words": Spread.of(self.words),
            "question_tokens": Spread.of(self.question_tokens),
            "prompt_tokens": Spread.of(list(self.prompt_tokens.values())),
            "longest_prompt": longest,
        }
