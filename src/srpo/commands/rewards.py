"""`srpo rewards explain`: why a reply gets its rewards, for a text, a row of a data set, or the rollouts of a run."""

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from rich.console import Console
from rich.table import Table

from srpo.cli import UsageError
from srpo.commands.explanation import MAX_COMPLETION_LENGTH, Case, Scheme, score, show, total
from srpo.roles import ResponseFormat
from srpo.run.terminal import Terminal

USAGE = """usage: srpo rewards explain --reply TEXT|FILE --answer REFERENCE [--options JSON] [--task TASK]
       srpo rewards explain --reply TEXT|FILE --dataset DATASET --id ROW
       srpo rewards explain runs/NAME/rollouts/step_000010.parquet [--row N]

Prints the blocks that were found in a reply, the answer that was read, the rule that decided and why, each reward, and
their weighted sum. Of rollouts without --row, a line each.

  --reply TEXT|FILE        the reply, or a file that holds it
  --answer REFERENCE       the right answer
  --options JSON           options of a multiple-choice question, such as '["red", "blue"]'
  --alternatives JSON      further right answers
  --task TASK              math, math:0.01, math:5%, choice, text, range, box, box:0.7 or box:iou
  --dataset DATASET        take question, answer, options and task from a data set; its options as in srpo train
  --split SPLIT            of the data set; train by default
  --id ROW                 the row's id
  --row N                  which rollout of the file, from 0
  --response_format TAGS   tag names: perception,think,answer by default, or those of the run
  --reward_funcs NAMES     accuracy format by default, or those of the run
  --reward_weights NUMBERS
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see srpo rewards --help")


def main(arguments: Sequence[str]) -> int:
    """Run `srpo rewards`; returns the exit status."""
    console = Terminal()
    if not arguments or {"-h", "--help"} & set(arguments):
        console.print(USAGE, markup=False, end="", soft_wrap=True)
        return 0 if arguments else 2
    if arguments[0] != "explain":
        raise UsageError(f"unknown command 'rewards {arguments[0]}'; the one there is, is srpo rewards explain")
    rollouts = arguments[1] if len(arguments) > 1 and not arguments[1].startswith("-") else None
    given, rest = _parser().parse_known_args(list(arguments[1 if rollouts is None else 2 :]))
    if rollouts is not None:
        _explain_rollouts(console, rollouts, given, rest)
        return 0
    case = _case_of_row(given, rest) if given.id is not None or _names_data(rest) else _case(given, rest)
    show(console, case, _scheme(given, {}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="srpo rewards explain", add_help=False, allow_abbrev=False)
    for name in ("reply", "answer", "options", "alternatives", "task", "id", "split", "response_format"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--row", type=int)
    parser.add_argument("--reward_funcs", nargs="+")
    parser.add_argument("--reward_weights", nargs="+", type=float)
    return parser


def _case(given: argparse.Namespace, rest: Sequence[str]) -> Case:
    if rest:
        raise UsageError(f"unknown option {rest[0]!r}; see srpo rewards --help")
    if given.reply is None or given.answer is None:
        missing = "--reply" if given.reply is None else "--answer"
        raise UsageError(f"{missing} is missing; give --reply and --answer, --dataset and --id, or a file of rollouts")
    return Case(
        reply=text_or_file(given.reply),
        answer=given.answer,
        options=_list("options", given.options),
        task=given.task,
        alternatives=_list("alternatives", given.alternatives),
    )


def _case_of_row(given: argparse.Namespace, rest: Sequence[str]) -> Case:
    from srpo.commands.arguments import DataArguments, parse_options
    from srpo.commands.rows import load_options
    from srpo.data import DataError
    from srpo.data.loading import open_rows

    if given.reply is None or given.id is None:
        raise UsageError(f"--{'reply' if given.reply is None else 'id'} is missing; give --dataset, --id and --reply")
    task = [] if given.task is None else ["--task", given.task]
    ((data,), _) = parse_options([*rest, *task], (DataArguments,), "srpo rewards explain")
    try:
        options = load_options(data, _response_format(given.response_format))
        rows = open_rows(data.dataset_name, given.split or data.dataset_train_split, **options).dataset
    except DataError as error:
        raise UsageError(str(error)) from error
    place = next((place for place, name in enumerate(rows["id"]) if name == given.id), None)
    if place is None:
        raise UsageError(
            f"{data.dataset_name} has no row {given.id!r} among {len(rows)}; its first is {rows[0]['id']!r}, and "
            "--split chooses another part"
        )
    row = rows[place]
    return Case(
        reply=text_or_file(given.reply),
        answer=given.answer if given.answer is not None else row["answer"],
        options=row["options"],
        task=row["task"] or None,
        alternatives=row["alternatives"],
        question=row["question"],
        row=row,
    )


def _explain_rollouts(console: Console, file: str, given: argparse.Namespace, rest: Sequence[str]) -> None:
    if rest or given.reply is not None:
        raise UsageError(f"{rest[0] if rest else '--reply'} does not go with a file of rollouts; leave it out")
    path = Path(file)
    cases = _read_rollouts(path)
    scheme = _scheme(given, _config(path.parent.parent / "config.yaml"))
    if given.row is None:
        _list_cases(console, cases, scheme)
        console.print(f"\nOne of them: srpo rewards explain {shlex.quote(file)} --row 0", soft_wrap=True)
        return
    if not 0 <= given.row < len(cases):
        raise UsageError(f"row {given.row} must be 0 to {len(cases) - 1}; {path} holds {len(cases)} rollouts")
    show(console, cases[given.row], scheme)


def _read_rollouts(path: Path) -> list[Case]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = {"image", "gaps", "weights", "roles"}
        kept = [name for name in pq.read_schema(path).names if name not in columns]
        rows = pq.read_table(path, columns=kept).to_pylist()
        return [
            Case(
                reply=row["completion"],
                answer=row["reference"] or None,
                options=row.get("options") or [],
                task=row.get("task") or None,
                alternatives=row.get("alternatives") or [],
                question=row["question"],
                recorded=dict(row["rewards"]),
                tokens=len(row["tokens"]),
            )
            for row in rows
        ]
    except (OSError, pa.ArrowException, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path} is no file of rollouts ({reason}); name one as runs/NAME/rollouts/step_000010.parquet"
        ) from error


def _config(path: Path) -> dict[str, Any]:
    """The options of the run that the rollouts belong to; {} where the file has been taken out of its run."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _scheme(given: argparse.Namespace, config: dict[str, Any]) -> Scheme:
    names = given.reward_funcs or config.get("reward_funcs") or ["accuracy", "format"]
    return Scheme(
        names=list(names),
        weights=given.reward_weights or (None if given.reward_funcs else config.get("reward_weights")),
        response_format=_response_format(given.response_format or config.get("response_format")),
        max_completion_length=config.get("max_completion_length") or MAX_COMPLETION_LENGTH,
    )


def _response_format(names: str | None) -> ResponseFormat:
    try:
        return ResponseFormat.parse(names) if names else ResponseFormat()
    except ValueError as error:
        raise UsageError(str(error)) from error


def _list_cases(console: Console, cases: Sequence[Case], scheme: Scheme) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("row", *scheme.names, "sum", "reference", "answer"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    for number, case in enumerate(cases):
        rewards = score(case, scheme)
        values = ["-" if reward.value is None else f"{reward.value:.2f}" for reward in rewards]
        answer = " ".join((scheme.response_format.answer(case.reply) or "no answer block").split())
        table.add_row(str(number), *values, f"{total(rewards):.2f}", case.answer or "none", answer[:60])
    console.print(table, markup=False)


def text_or_file(given: str) -> str:
    """The content of the file that is named, or the text itself."""
    if "\n" in given or "<" in given or len(given) > 1000:
        return given
    path = Path(given)
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else given
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"reply {given} cannot be read ({error}); give a text file, or the text itself") from error


def _list(name: str, text: str | None) -> list[str]:
    if text is None:
        return []
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UsageError(f"""--{name} {text!r} is not JSON; write it as '["red", "blue"]'""") from error
    if not isinstance(values, list):
        raise UsageError(f"""--{name} {text!r} must be a list; write it as '["red", "blue"]'""")
    return [str(value) for value in values]


def _names_data(rest: Sequence[str]) -> bool:
    return any(argument.split("=")[0] in ("--dataset", "--dataset_name", "--preset") for argument in rest)
