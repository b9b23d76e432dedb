"""One raw row -> the values of the schema, and its prompt. Pure functions of the row and of what holds for its set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from srpo.data import values
from srpo.data.choices import Choices, check_options, listed_choices, to_choices, to_letter, to_lettered_choices
from srpo.data.problems import RowProblem
from srpo.data.questions import check_media, fit_placeholders, read_question, unspaced
from srpo.data.schema import Found
from srpo.grading import check_reference, parse_task

if TYPE_CHECKING:
    from srpo.roles import ResponseFormat

AUTO = "auto"


@dataclass(frozen=True)
class Reading:
    """How the rows of a data set are read and asked.

    Args:
        columns: our column -> source columns.
        task: task of rows that name none, as far as it fits them; None to decide from the answer.
        base: 0 or 1 where answers are positions among the options, counted from there; AMBIGUOUS where nothing shows
            from which; None where they are none.
        prepare: changes the cells of a row before they are read; may set `task`.
        blank_question: what stands in for an empty question, for sets whose images hold it.
        hint: sentence behind the question; "auto" for `set_hint`, or where that is empty what the task calls for.
        set_hint: the hint that a preset gives.
        response_format: tags that the instruction asks for.
        instruction: where the instruction goes: "system", "user" or "none".
    """

    columns: Found
    task: str | None = None
    base: int | None = None
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    blank_question: str = ""
    hint: str = AUTO
    set_hint: str = ""
    response_format: "ResponseFormat | None" = None
    instruction: str = "system"


@dataclass
class Row:
    """The values of one row, but for id and prompt; `held` are the images inside its conversation, as raw cells."""

    question: str = ""
    options: list[str] = field(default_factory=list)
    answer: str = ""
    alternatives: list[str] = field(default_factory=list)
    perception: str = ""
    reasoning: str = ""
    task: str = ""
    held: list[Any] = field(default_factory=list)


def read_row(cells: Mapping[str, Any], reading: Reading) -> Row:
    """The values of a raw row; `cells` holds the source columns that `reading` names.

    Raises:
        RowProblem: for the first cell that cannot be used.
    """
    columns = reading.columns
    if reading.prepare is not None:
        cells = reading.prepare(dict(cells))
        columns = columns | {"task": ("task",)}
    asked = read_question([_question_cell(source, cells.get(source)) for source in columns["question"]])
    check_media(asked.question, cells)
    row = Row(asked.question or reading.blank_question, held=asked.images)
    choices = read_choices([cells.get(source) for source in columns.get("options", ())])
    check_options(choices.texts)
    row.options = choices.texts
    answer = _one([cells.get(source) for source in columns["answer"]]) if "answer" in columns else asked.reply
    task = values.to_text(_one([cells.get(source) for source in columns.get("task", ())]))
    if _is_vector(task or reading.task, answer):
        answer = f"[{', '.join(map(values.to_text, answer))}]"
    settle = partial(to_letter, choices=choices, base=reading.base) if row.options else None
    row.answer, row.alternatives = values.to_answers(answer, settle)
    if not (row.options or task):
        row.question, row.options = listed_choices(row.question, row.answer)
    row.alternatives += [text for text in map(values.to_text, _list(cells, columns, "alternatives")) if text]
    row.task = _task(task, row, reading.task)
    _check_answer(row)
    row.perception, row.reasoning = (_prose(cells, columns, name) for name in ("perception", "reasoning"))
    return row


def prompt_of(row: Row, n_images: int, reading: Reading) -> list[dict[str, Any]]:
    """The messages of a row, every content a list of parts. RowProblem where question and images do not fit."""
    from srpo.prompts import PromptError, build_prompt, task_hint

    hint = reading.hint
    if hint == AUTO:
        hint = reading.set_hint or task_hint(row.task)
    try:
        return build_prompt(
            fit_placeholders(row.question, n_images),
            n_images,
            options=[unspaced(option) for option in row.options],
            response_format=reading.response_format,
            style=reading.instruction,
            structured=True,
            hint=hint,
        )
    except PromptError as error:
        raise RowProblem(error.kind, error.reason, error.remedy) from error


def read_choices(cells: Sequence[Any]) -> Choices:
    """The choices of a row, from the cells of one column or of the columns A, B, C ..."""
    return to_lettered_choices(cells) if len(cells) > 1 else to_choices(cells[0] if cells else None)


def _question_cell(source: str, cell: Any) -> Any:
    """The cell, None for an empty hint that a table writes as "nan"."""
    return None if source == "hint" and str(cell).strip().lower() == "nan" else cell


def _one(cells: Sequence[Any]) -> Any:
    """The cell of one column, None for no column; of several columns those that are filled, as a list."""
    return [cell for cell in cells if not values.is_blank(cell)] if len(cells) > 1 else next(iter(cells), None)


def _list(cells: Mapping[str, Any], columns: Found, name: str) -> list[Any]:
    found = [cells.get(source) for source in columns.get(name, ())]
    return [item for cell in found for item in (cell if isinstance(cell, (list, tuple)) else [cell])]


def _prose(cells: Mapping[str, Any], columns: Found, name: str) -> str:
    return "\n".join(filter(None, map(values.to_repaired, _list(cells, columns, name))))


def _is_vector(task: str | None, answer: Any) -> bool:
    """Whether a list under `answer` is one value, a box or a range, and not several answers."""
    kind = (task or "").partition(":")[0]
    numbers = isinstance(answer, (list, tuple)) and all(isinstance(n, (int, float)) for n in answer)
    return kind in ("box", "range") and numbers and len(answer) > 1


def _task(text: str, row: Row, default: str | None) -> str:
    """The row's own task; else the set's as far as it fits; else what the answer looks like."""
    if text:
        try:
            parse_task(text)
        except ValueError as error:
            reason, _, remedy = str(error).partition("; ")
            raise RowProblem("task_unknown", reason, remedy) from error
        return text
    if default is None or (row.options and not default.startswith("choice")):
        return values.task_of(row.answer, row.options, row.question)
    if default.startswith("math") and not values.reads_as_mathematics(row.answer):
        return values.task_of(row.answer, row.options, row.question)
    return default


def _check_answer(row: Row) -> None:
    """Raise RowProblem for an answer that its task cannot read, that no option has, or that two options have."""
    for answer in (row.answer, *row.alternatives):
        try:
            _check_reference(answer, row.task, tuple(row.options))
        except ValueError as error:
            reason, _, remedy = str(error).partition("; ")
            raise RowProblem("answer_option" if row.options else "answer_unparsable", reason, remedy) from error
    if len(set(row.options)) < len(row.options):
        named = row.options[ord(row.answer) - ord("A")] if _is_label(row.answer, row.options) else row.answer
        if row.options.count(named) > 1:
            raise RowProblem(
                "options_same", f"two options are {values.shorten(named)}, which is the answer", "change one of them"
            )


@lru_cache(maxsize=65536)
def _check_reference(answer: str, task: str, options: tuple[str, ...]) -> None:
    check_reference(answer, task, options)


def _is_label(answer: str, options: Sequence[str]) -> bool:
    return len(answer) == 1 and "A" <= answer < chr(ord("A") + len(options))
