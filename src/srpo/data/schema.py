"""The one row schema that every data set is brought into, the names its columns go by elsewhere, and the data error.

Columns of a loaded data set:

| column | type | meaning |
|---|---|---|
| id | str | unique name of the row |
| prompt | list of messages | what the chat template renders, one image part per image |
| images | list of Image | decoded (RGB) when the row is read; [] for a text-only row |
| question | str | the question as the source has it |
| options | list of str | choices of a multiple-choice question, [] for none |
| answer | str | reference answer |
| perception | str | what is truly seen, "" where unknown |
| task | str | "math", "choice" or "text": how the answer is compared |

Rows of the built-in world keep two more, `family` and `truth`.
"""

from collections.abc import Mapping, Sequence

COLUMNS = ("id", "prompt", "images", "question", "options", "answer", "perception", "task")
WORLD_COLUMNS = ("family", "truth")
TASKS = ("math", "choice", "text")

USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "index", "qid", "question_id", "pid"),
    "question": ("question", "problem", "query", "prompt"),
    "answer": ("answer", "solution", "gt", "label", "ground_truth", "gt_answer"),
    "image": ("images", "image", "image_path", "image_paths", "img", "img_path"),
    "options": ("options", "choices"),
    "perception": ("perception", "caption"),
    "task": ("task",),
}
REQUIRED = ("question", "answer")


class DataError(ValueError):
    """A data set, a row or a column that cannot be used; the message names it, the rule, and the remedy."""


def parse_columns(text: str | None) -> dict[str, str]:
    """{"question": "problem"} from the command-line text "question=problem", pairs parted by commas; {} from None."""
    columns: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in (text or "").split(","))):
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and equals and theirs):
            raise DataError(
                f"column mapping {pair!r} is not of the form ours=theirs; write for example question=problem"
            )
        columns[ours] = theirs
    return columns


def find_columns(name: str, present: Sequence[str], columns: Mapping[str, str] | None = None) -> dict[str, str]:
    """Which source column each of id, question, answer, image, options, perception, task is read from.

    A column named in `columns` comes first, then the first usual name that the source has. What the source lacks is
    left out. Raises DataError for a mapping that names no column and for a missing question or answer.
    """
    found: dict[str, str] = {}
    for ours, theirs in (columns or {}).items():
        ours = "image" if ours == "images" else ours
        if ours not in USUAL_NAMES:
            raise DataError(
                f"column mapping names {ours!r}; the columns that can be mapped are {', '.join(USUAL_NAMES)}"
            )
        if theirs not in present:
            raise DataError(
                f"{name} has no column {theirs!r} to read {ours} from; its columns are {', '.join(present)}"
            )
        found[ours] = theirs
    for ours, usual in USUAL_NAMES.items():
        match = next((theirs for theirs in usual if theirs in present and theirs not in found.values()), None)
        if ours not in found and match is not None:
            found[ours] = match
    for ours in REQUIRED:
        if ours not in found:
            raise DataError(
                f"{name} has no {ours} column (looked for {', '.join(USUAL_NAMES[ours])}); its columns are "
                f"{', '.join(present)}; name the right one with --columns {ours}=<column>"
            )
    return found
