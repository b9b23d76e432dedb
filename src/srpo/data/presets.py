"""Known data sets by name: where they are, which columns and splits they have, and how their answers are compared.

Each layout was read off the set's card or off public code that reads it; docs/data.md says what could not be verified.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srpo.data.schema import DataError

Cells = dict[str, Any]
VISION_ONLY = "Answer the question that is written in the image."


@dataclass(frozen=True)
class Preset:
    """How a known data set is read.

    Args:
        name: the name to load it by.
        hub: its id at the Hugging Face hub; "" for a package.
        config: its configuration there.
        splits: our split -> its split.
        columns: our column -> its columns, where the usual names do not find them.
        task: task of rows that name none, as far as it fits them.
        hint: a sentence behind every question; "" for what the row's task calls for.
        blank_question: what stands in for an empty question.
        prepare: changes the cells of a row before they are read; may set `task`.
        needs: source columns that `prepare` reads besides those that are read anyway.
        package: returns the rows of a split and the folder of their images, for a set that is a Python package.
    """

    name: str
    hub: str = ""
    config: str | None = None
    splits: Mapping[str, str] = field(default_factory=lambda: {"test": "test"})
    columns: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    hint: str = ""
    blank_question: str = ""
    prepare: Callable[[Cells], Cells] | None = None
    needs: tuple[str, ...] = ()
    package: Callable[[str], tuple[list[Cells], Path]] | None = None

    def split(self, split: str) -> str:
        """Its name of a split; a name that only the set itself knows is taken as it is. DataError for one it lacks."""
        if split in ("train", "validation", "test") and split not in self.splits and split not in self.splits.values():
            known = ", ".join(self.splits)
            raise DataError(f"{self.name} has no split {split!r}; it has {known}: name one (--dataset_train_split)")
        return self.splits.get(split, split)


def find_preset(name: str) -> Preset:
    """The preset of a name; DataError for an unknown one."""
    if name not in PRESETS:
        raise DataError(f"there is no preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]


def _mathvista(cells: Cells) -> Cells:
    """The unit and the decimals belong to the question; half a unit in the last place is as exact as they ask for."""
    question, decimals = str(cells.get("question") or ""), _whole(cells.get("precision"))
    if cells.get("unit"):
        question += f" (Unit: {cells['unit']})"
    if cells.get("answer_type") != "float" or not decimals or cells.get("choices"):
        return cells | {"question": question}
    question += f" Give the answer with {decimals} decimal place{'s' if decimals > 1 else ''}."
    return cells | {"question": question, "task": f"math:{0.5 * 10**-decimals:.{decimals + 1}f}"}


def _mathverse(cells: Cells) -> Cells:
    return cells | {"task": "choice" if cells.get("question_type") == "multi-choice" else ""}


def _dynamath(cells: Cells) -> Cells:
    """Decimals count up to 0.001, as in the set's own evaluation; letters are those of choices in the question."""
    if cells.get("answer_type") == "float":
        question = f"{cells.get('question') or ''} Give the answer with 3 decimal places."
        return cells | {"question": question, "task": "math:0.001"}
    return cells | {"task": "choice" if cells.get("answer_type") == "multiple choice" else ""}


def _easy_vqa(split: str) -> tuple[list[Cells], Path]:
    try:
        import easy_vqa
    except ImportError as error:
        raise DataError("easy_vqa is a Python package that is not installed; pip install easy-vqa") from error
    folder = Path(easy_vqa.__file__).parent
    questions, answers, images = getattr(easy_vqa, f"get_{split}_questions")()
    paths = getattr(easy_vqa, f"get_{split}_image_paths")()
    rows = [
        {"id": f"{split}-{i}", "question": question, "answer": answer, "image": paths[image]}
        for i, (question, answer, image) in enumerate(zip(questions, answers, images, strict=True))
    ]
    return rows, folder


def _whole(cell: Any) -> int:
    return int(cell) if isinstance(cell, (int, float)) and cell == cell else 0


_ALL = (
    # huggingface.co/datasets/hiyouga/geometry3k: asked without its choices, as EasyR1, verl and PAPO ask it
    Preset(
        "geometry3k",
        "hiyouga/geometry3k",
        splits={"train": "train", "validation": "validation", "test": "test"},
        columns={"question": "problem", "options": "-"},
    ),
    # huggingface.co/datasets/TIGER-Lab/ViRL39K has its images in an archive; this copy holds them in its rows
    Preset("virl39k", "PAPOGalaxy/PAPO_ViRL39K_train", splits={"train": "train"}),
    # huggingface.co/datasets/FanqingM/MMK12: train has free answers, test four choices inside the question
    Preset("mmk12", "FanqingM/MMK12", splits={"train": "train", "test": "test"}),
    # huggingface.co/datasets/AI4Math/MathVista: the answers of its split "test" are not public
    Preset(
        "mathvista",
        "AI4Math/MathVista",
        splits={"test": "testmini"},
        columns={"image": "decoded_image"},
        prepare=_mathvista,
        needs=("unit", "precision", "answer_type", "choices"),
    ),
    # huggingface.co/datasets/AI4Math/MathVerse: choices inside the question; "Vision Only" rows have no question text
    Preset(
        "mathverse",
        "AI4Math/MathVerse",
        config="testmini",
        splits={"test": "testmini"},
        blank_question=VISION_ONLY,
        prepare=_mathverse,
        needs=("question_type",),
    ),
    # huggingface.co/datasets/MathLLMs/MathVision; its split "testmini" is a part of "test"
    Preset("mathvision", "MathLLMs/MathVision"),
    # huggingface.co/datasets/We-Math/We-Math: several rows share an ID, one for each step
    Preset(
        "we_math",
        "We-Math/We-Math",
        splits={"test": "testmini"},
        columns={"id": "ID+key", "image": "image_path", "options": "option"},
        task="choice",
    ),
    # huggingface.co/datasets/DynaMath/DynaMath_Sample: ten variants of 501 questions, each a split
    Preset(
        "dynamath",
        "DynaMath/DynaMath_Sample",
        splits={"test": "sample_variant1"},
        columns={"answer": "ground_truth", "image": "decoded_image"},
        prepare=_dynamath,
        needs=("answer_type",),
    ),
    # huggingface.co/datasets/lscpku/LogicVista: letters as answers, some of them several ("A, C")
    Preset(
        "logicvista",
        "lscpku/LogicVista",
        task="choice",
        hint="The answer is the letter of the right option, or all letters where several are right.",
    ),
    # huggingface.co/datasets/MMMU/MMMU_Pro: options as the text of a list, images in image_1 to image_7
    Preset("mmmu_pro", "MMMU/MMMU_Pro", config="standard (10 options)", columns={"options": "options"}, task="choice"),
    # huggingface.co/datasets/BUAADreamer/clevr_count_70k, used by EasyR1 and PAPO; R1-V's copy with <answer> works too
    Preset(
        "clevr_counting",
        "BUAADreamer/clevr_count_70k",
        splits={"train": "train", "test": "test"},
        task="math",
        hint="The answer is a whole number.",
    ),
    # huggingface.co/datasets/HuggingFaceM4/ChartQA: a list of one label; numbers count up to 5 % (ChartQA's own rule)
    Preset(
        "chartqa",
        "HuggingFaceM4/ChartQA",
        splits={"train": "train", "validation": "val", "test": "test"},
        columns={"question": "query", "answer": "label"},
        task="math:5%",
        hint="The answer is a number or a few words.",
    ),
    # huggingface.co/datasets/declare-lab/PuzzleVQA: one split; caption is what is seen, the others how it follows
    Preset(
        "puzzlevqa",
        "declare-lab/PuzzleVQA",
        splits={"train": "train"},
        columns={"perception": "caption", "reasoning": "explanation+deduction"},
        task="choice",
    ),
    # github.com/vzhou842/easy-VQA: the package holds its images
    Preset(
        "easy_vqa",
        splits={"train": "train", "test": "test"},
        package=_easy_vqa,
        task="text",
        hint="The answer is one word.",
    ),
)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
