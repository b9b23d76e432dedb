"""The data row of one question on the command line, checked as a training run checks its rows."""

import re
from pathlib import Path
from typing import Any

from datasets import Dataset

from srpo.cli import UsageError
from srpo.commands.arguments import DataArguments
from srpo.commands.inspect_options import InspectArguments
from srpo.commands.rows import load_options
from srpo.data import DataError
from srpo.data.check import check
from srpo.data.lengths import ModelView
from srpo.data.loading import Loaded, open_rows
from srpo.data.problems import REFUSED, BadRow
from srpo.data.questions import unspaced
from srpo.roles import ResponseFormat

# Rows have answers. These stand in for one that is not known; they decide on the hint behind the question, if at all.
PLACEHOLDERS = {"box": "[0, 0, 1, 1]", "range": "[0, 1]"}
_NUMBERED = re.compile(r"<image([1-9][0-9]*)>")
_ROW_GOES = re.compile(r",? or (remove|drop) the row")


def question_data(
    own: InspectArguments, response_format: ResponseFormat, view: ModelView
) -> tuple[Dataset, dict[str, Any]]:
    """A data set of the one row, and the row in the schema; without an answer, answer and task are empty there.

    With --other_image, a second row holds it, for the corruption of this name to draw.

    Raises:
        UsageError: for what makes a row of a data set a bad one, such as an image that cannot be read.
    """
    _check_numbers(own)
    kind = (own.task or "").partition(":")[0]
    answer = own.answer if own.answer is not None else PLACEHOLDERS.get(kind, "A")
    raw = {
        "id": "question",
        "question": own.question,
        "images": [Path(path) for path in own.image],
        "answer": answer,
        "options": own.options,
        "alternatives": own.alternatives,
    }
    other = [raw | {"id": "other", "images": [Path(own.other_image)] * len(own.image)}] if own.other_image else []
    shared = {name: getattr(own, name) for name in ("instruction", "task", "hint", "max_pixels")}
    try:
        loaded = open_rows([raw, *other], **load_options(DataArguments(**shared), response_format))
    except DataError as error:
        raise UsageError(str(error)) from error
    _refuse(loaded.bad)
    _refuse(check("question", {"question": Loaded(loaded.dataset)}, train=None, model=view).splits[0].bad)
    if own.other_image and loaded.dataset[1]["images"][0] in loaded.dataset[0]["images"]:
        raise UsageError(f"other_image {own.other_image} shows the same pixels as the image; name another one")
    unknown = {"answer": "", "task": ""} if own.answer is None else {}
    return loaded.dataset, loaded.dataset[0] | unknown


def _check_numbers(own: InspectArguments) -> None:
    """Raise UsageError where the question names an image that is not given.

    In a data set, numbers beyond the images are pictures on a sheet; here, an image is more likely forgotten.
    """
    numbers = map(int, _NUMBERED.findall(unspaced(own.question)))
    missing = next((number for number in numbers if number > len(own.image)), None)
    if missing is not None:
        raise UsageError(
            f"the question names <image{missing}>, and the number of images is {len(own.image)}; add it to --image, or "
            f"write 'image {missing}' in plain words for a picture on a sheet of several"
        )


def _refuse(finds: list[BadRow]) -> None:
    """Raise UsageError for the first find that training would refuse."""
    for find in finds:
        if find.severity == REFUSED:
            raise UsageError(f"{find.reason}; {_ROW_GOES.sub('', find.remedy)}")
