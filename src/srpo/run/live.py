"""The rollouts table of a running training in trackio, TensorBoard and wandb (docs/live.md)."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from srpo.metrics import CreditBatch
from srpo.run.live_table import Record, table_rows
from srpo.run.rollouts import rollout_record

NAME = "rollouts"
Send = Callable[[int, list[Record]], None]
_PLAIN = re.compile(r"[^\w .,:;()%/+=⟦⟧⟨⟩…-]|_")


class RolloutTable:
    """Observer of `SRPOTrainer` that sends a few rollouts of some steps to trackers, one table each time.

    The rollouts are those of the first prompts from which the policy learns (A ≠ 0), the G of a prompt together.

    Args:
        trackers: functions (step, rows of `table_rows`) that log a table; see `trackers_of`.
        tokenizer: of the policy.
        every: optimizer steps between tables, from the first batch on.
        count: most rollouts in a table.
        group: rollouts of a prompt, G.
        saved: rollouts of a batch that a table may be drawn from, so that it holds none that is not saved, too.
    """

    def __init__(
        self, trackers: Sequence[Send], tokenizer: Any, *, every: int, count: int, group: int, saved: int
    ) -> None:
        self.trackers, self.tokenizer, self.every = trackers, tokenizer, every
        self.count, self.group, self.saved = count, group, saved
        self.next_step = 0

    def __call__(self, credit: CreditBatch) -> None:
        if credit.step < self.next_step:
            return
        self.next_step = credit.step + self.every
        last = min(self.saved, len(credit.rows))
        learning = credit.learns[:last].nonzero().flatten().tolist()
        start = learning[0] // self.group * self.group if learning else 0
        chosen = range(start, min(start + self.count, last))
        rows = table_rows([rollout_record(credit, i, self.tokenizer) for i in chosen])
        for send in self.trackers:
            send(credit.step, rows)


def trackers_of(report_to: Sequence[str], summary_writer: Callable[[], Any]) -> list[Send]:
    """The functions that log a table, for those of trackio, TensorBoard and wandb that `report_to` names.

    Args:
        report_to: names of trackers, others of which have no table.
        summary_writer: gives TensorBoard's writer, which only opens when training begins.
    """
    known: dict[str, Send] = {
        "trackio": _to_trackio,
        "tensorboard": lambda step, rows: _to_tensorboard(summary_writer(), step, rows),
        "wandb": _to_wandb,
    }
    return [known[name] for name in report_to if name in known]


def _to_trackio(step: int, rows: list[Record]) -> None:
    import trackio

    table = trackio.Table(columns=list(rows[0]), data=[_cells(row, trackio.Image) for row in rows])
    trackio.log({NAME: table}, step=step)  # a step of its own would shift those of the scalars


def _to_wandb(step: int, rows: list[Record]) -> None:
    import wandb

    if wandb.run is not None:
        table = wandb.Table(columns=list(rows[0]), data=[_cells(row, wandb.Image) for row in rows])
        wandb.log({NAME: table, "train/global_step": step})


def _cells(row: Record, picture: Callable[[Any], Any]) -> list[Any]:
    return [picture(cell) if isinstance(cell, Image.Image) else cell for cell in row.values()]


def _to_tensorboard(writer: Any, step: int, rows: list[Record]) -> None:
    for i, row in enumerate(rows):
        for column, cell in row.items():
            if isinstance(cell, Image.Image):
                writer.add_image(f"{NAME}/{_picture(i, column)}", np.asarray(cell), step, dataformats="HWC")
    writer.add_text(NAME, markdown_table(rows), step)
    writer.flush()


def markdown_table(rows: list[Record]) -> str:
    """A Markdown table with a line for each rollout: texts in one column, figures and the names of images in another.

    TensorBoard gives a table the width of the page, which seventeen columns would break into single letters. Every text
    shows as it stands.
    """
    lines = ["| row | texts | figures |", "| --- | --- | --- |"]
    for i, row in enumerate(rows):
        texts = {column: cell for column, cell in row.items() if isinstance(cell, str)}
        figures = {column: cell for column, cell in row.items() if column not in texts and cell is not None}
        lines.append(f"| {i + 1} | {_listed(texts, i)} | {_listed(figures, i)} |")
    return "\n".join(lines)


def _listed(cells: Record, i: int) -> str:
    return "<br>".join(f"**{escaped(column)}** {_cell(cell, i, column)}" for column, cell in cells.items())


def _cell(cell: Any, i: int, column: str) -> str:
    if isinstance(cell, Image.Image):
        return _picture(i, column)
    return f"{cell:.4g}" if isinstance(cell, float) else escaped(str(cell))


def _picture(i: int, column: str) -> str:
    """The name that an image of rollout i is logged under."""
    return f"{column} {i + 1}"


def escaped(text: str) -> str:
    """A text for a Markdown table: what Markdown or HTML might read as markup stands as a character reference."""
    return _PLAIN.sub(lambda found: "<br>" if found[0] == "\n" else f"&#{ord(found[0])};", text)
