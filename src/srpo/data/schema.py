"""The one row schema that every data set is brought into, the names its columns go by elsewhere, and the data error.

Columns of a loaded data set:

| column | type | meaning |
|---|---|---|
| id | str | unique name of the row |
| prompt | list of messages | what the chat template renders, one image part per image |
| images | list of images | decoded (RGB) when the row is read; [] for a text-only row |
| question | str | the question as the source has it |
| options | list of str | choices of a multiple-choice question, [] for none |
| answer | str | reference answer; "A, C" where all of several options are meant |
| alternatives | list of str | further answers that count as right, mostly [] |
| perception | str | what is truly seen, "" where unknown |
| reasoning | str | how the answer truly follows, "" where unknown |
| task | str | how the answer is compared: "math", "choice", "text", "range", "box", some with ":argument" |

Rows of the built-in world keep two more, `family` and `truth`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from string import ascii_uppercase

COLUMNS = (
    "id",
    "prompt",
    "images",
    "question",
    "options",
    "answer",
    "alternatives",
    "perception",
    "reasoning",
    "task",
)
WORLD_COLUMNS = ("family", "truth")
MEDIA_COLUMNS = ("videos", "audios", "video", "audio")  # a row in which one is filled is refused

# the first name that a source has is taken; a full stop leads into a nested column
USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "index", "qid", "question_id", "pid", "sample_index", "ID", "extra_info.index"),
    "question": ("question", "problem", "query", "prompt", "messages", "conversations"),
    "answer": (
        *("answer", "gt", "label", "ground_truth", "gt_answer", "answers"),
        *("reward_model.ground_truth", "extra_info.answer", "solution"),
    ),
    "image": (
        *("images", "decoded_image", "image", "image_path", "image_paths", "img", "img_path", "file_name"),
        "extra_info.image_path",
    ),
    "options": ("options", "choices", "option"),
    "alternatives": ("alternatives",),
    "perception": ("perception", "caption"),
    "reasoning": ("reasoning", "rationale", "explanation", "solution"),
    "task": ("task",),
}
NOTHING = "-"  # as a source column: do not read this one
_NUMBERED_IMAGE = re.compile(r"(?:image|img)_?([0-9]+)")

Found = dict[str, tuple[str, ...]]


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


def find_columns(
    name: str,
    present: Sequence[str],
    columns: Mapping[str, str] | None = None,
    *,
    conversations: Collection[str] = (),
) -> Found:
    """The source columns that each of our columns is read from.

    Args:
        name: how messages call the data set.
        present: the source's columns, nested ones as "outer.inner".
        columns: our column -> source column. "a+b" reads several: texts are joined, images follow one another. "-"
            reads none, although there is one of a usual name.
        conversations: source columns that hold conversations, whose last reply can stand in for an answer column.

    What `columns` does not name is looked for under its usual names. Options may be spread over columns A, B, C ...,
    images over image_1, image_2 ...; the `hint` of a VLMEvalKit table is read in front of the question.

    Raises:
        DataError: for a mapping that names no column and for a missing question or answer.
    """
    mapped = {("image" if ours == "images" else ours): theirs for ours, theirs in (columns or {}).items()}
    found = {ours: _split(name, ours, theirs, present) for ours, theirs in mapped.items()}
    taken = {source for sources in found.values() for source in sources}
    for ours, usual in USUAL_NAMES.items():
        match = next((theirs for theirs in usual if theirs in present and theirs not in taken), None)
        if ours not in found and match is not None:
            found[ours] = (match,)
            taken.add(match)
    if not found.get("options") and "options" not in mapped and (letters := _letters(present)):
        found["options"] = letters
    if not found.get("image") and "image" not in mapped and (numbered := _numbered_images(present)):
        found["image"] = numbered
    is_table = {"A", "B"} <= set(present) or name.lower().endswith(".tsv")  # of VLMEvalKit; elsewhere hints may tell
    if "question" not in mapped and {"hint", "index"} <= set(present) and is_table and found.get("question"):
        found["question"] = ("hint", *found["question"])
    found = {ours: sources for ours, sources in found.items() if sources}
    _require(name, "question", found, present)
    if not set(found["question"]) & set(conversations):
        _require(name, "answer", found, present)
    return found


def _split(name: str, ours: str, theirs: str, present: Sequence[str]) -> tuple[str, ...]:
    if ours not in USUAL_NAMES:
        raise DataError(f"column mapping names {ours!r}; the columns that can be mapped are {', '.join(USUAL_NAMES)}")
    if theirs == NOTHING:
        return ()
    parts = (theirs,) if theirs in present else tuple(part.strip() for part in theirs.split("+"))
    for part in parts:
        if part not in present:
            raise DataError(f"{name} has no column {part!r} to read {ours} from; its columns are {', '.join(present)}")
    return parts


def _letters(present: Sequence[str]) -> tuple[str, ...]:
    letters = tuple(takewhile(lambda letter: letter in present, ascii_uppercase))
    return letters if len(letters) > 1 else ()


def _numbered_images(present: Sequence[str]) -> tuple[str, ...]:
    matches = {theirs: match for theirs in present if (match := _NUMBERED_IMAGE.fullmatch(theirs))}
    return tuple(sorted(matches, key=lambda theirs: int(matches[theirs][1])))


def _require(name: str, ours: str, found: Found, present: Sequence[str]) -> None:
    if ours not in found:
        raise DataError(
            f"{name} has no {ours} column (looked for {', '.join(USUAL_NAMES[ours])}); its columns are "
            f"{', '.join(present)}; name the right one with --columns {ours}=<column>"
        )
