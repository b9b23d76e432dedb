"""`--show_prompt N`: what the model sees of a row, token runs of images in short."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console

SHOWN_IN_FULL = 3  # equal tokens in a row; a longer run, as images have, is written as token × count


def show_prompts(console: Console, processor: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rendered prompt of each row with its images, tokens and reference."""
    for number, row in enumerate(rows, 1):
        ids = prompt_ids(processor, row)
        sizes = ", ".join(f"{image.width} x {image.height}" for image in row["images"]) or "none"
        console.rule(f"prompt {number}: row {row['id']}", align="left")
        console.print(seen_text(processor.tokenizer, ids), markup=False, soft_wrap=True)
        console.rule(style="dim")
        known = [f"task {row['task']}", _reference(row)] if row["answer"] else []  # srpo inspect may have none
        console.print("; ".join([f"{len(ids)} tokens", f"images {sizes}", *known]) + "\n")


def prompt_ids(processor: Any, row: Mapping[str, Any]) -> list[int]:
    """The token ids of a row's prompt, image tokens included."""
    text = processor.apply_chat_template(row["prompt"], add_generation_prompt=True)
    return list(processor(images=row["images"] or None, text=text)["input_ids"][0])


def seen_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids with special tokens, runs of one token in short: "<image> × 64"."""
    text, pending = "", []
    for token, run in groupby(ids):
        count = len(list(run))
        if count <= SHOWN_IN_FULL:
            pending += [token] * count
            continue
        text += tokenizer.decode(pending, skip_special_tokens=False) + f"{tokenizer.decode([token])} × {count}"
        pending = []
    return text + tokenizer.decode(pending, skip_special_tokens=False)


def _reference(row: Mapping[str, Any]) -> str:
    others = row.get("alternatives") or []
    also = f" (also {', '.join(map(repr, others))})" if others else ""
    return f"reference {row['answer']!r}{also}"
