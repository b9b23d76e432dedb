"""The report of `srpo data check` on the screen."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from srpo.data.check import Report, SplitReport
from srpo.data.problems import KINDS, NOTED, REFUSED, BadRow
from srpo.data.spread import Spread

NAMES_SHOWN = 8  # of formats, tasks, letters ...


def show_report(console: Console, report: Report, *, shown: int) -> None:
    """Print figures of every split, `shown` finds of each kind, remarks, and the verdict."""
    console.print(_figures(report))
    for severity, title in ((REFUSED, "Refused"), (NOTED, "Noted")):
        _show_finds(console, report, severity, title, shown)
    for remark in [*report.remarks, *_not_checked(report)]:
        console.print(f"* {remark}", markup=False, soft_wrap=True)
    console.print(f"\n{_verdict(report)}", markup=False, soft_wrap=True)


def _figures(report: Report) -> Table:
    table = Table(title=report.dataset.replace("[", r"\["), title_justify="left", box=None, pad_edge=False)
    table.add_column()
    for split in report.splits:
        table.add_column(split.split, overflow="fold")
    rows = [_split_figures(split) for split in report.splits]
    for name in dict.fromkeys(name for figures in rows for name in figures):
        if any(figures.get(name) for figures in rows):
            table.add_row(name, *(figures.get(name) or "-" for figures in rows))
    return table


def _split_figures(split: SplitReport) -> dict[str, str]:
    images, lengths, answers = split.images, split.lengths, split.answers
    noted = len({find.row for find in split.bad if find.severity == NOTED})
    longest = f", row {lengths['longest_prompt']}" if lengths["longest_prompt"] else ""
    spreads = "least / median / p99 / most"
    return {
        "rows": f"{split.rows:,}",
        "  good": f"{split.good:,}",
        "  refused": f"{split.refused:,}",
        "  with notes": f"{noted:,}" if noted else "",
        "images": f"{images['count']:,}",
        "  formats": _counts(images["formats"]),
        "  colours": _counts(images["modes"]),
        "spreads": spreads,
        "  images a row": _spread(images["per_row"]),
        "  width": _spread(images["width"]),
        "  height": _spread(images["height"]),
        "  megapixels": _spread(images["megapixels"]),
        "  question words": _spread(lengths["question_words"]),
        "  question tokens": _spread(lengths["question_tokens"]),
        "  prompt tokens": _spread(lengths["prompt_tokens"]) + longest,
        "tasks": _counts(answers["tasks"]),
        "  options named": _counts(answers["letters"]),
        "  several answers": _known(answers["with_alternatives"]),
        "  true perception": _known(answers["with_perception"]),
        "  true reasoning": _known(answers["with_reasoning"]),
    }


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return " / ".join(f"{n:.3g}" if isinstance(n, float) else f"{n:,}" for n in vars(spread).values())


def _counts(counts: Mapping[str, int]) -> str:
    listed = [f"{name or 'unknown'} {count:,}" for name, count in list(counts.items())[:NAMES_SHOWN]]
    rest = len(counts) - len(listed)
    return ", ".join([*listed, *([f"{rest} more"] if rest else [])])


def _known(count: int) -> str:
    return f"{count:,} rows" if count else ""


def _show_finds(console: Console, report: Report, severity: str, title: str, shown: int) -> None:
    finds: dict[str, list[tuple[str, BadRow]]] = {}
    for split in report.splits:
        for find in split.bad:
            if find.severity == severity:
                finds.setdefault(find.kind, []).append((split.split, find))
    if not finds:
        return
    console.print(f"\n{title}", style="bold")
    for kind, of_kind in sorted(finds.items(), key=lambda item: -len(item[1])):
        console.print(f"  {kind}: {KINDS[kind][1]} ({len(of_kind):,})", markup=False, soft_wrap=True)
        for name, find in of_kind[:shown]:
            console.print(f"    row {find.row} ({name}): {find.reason}", markup=False, soft_wrap=True)
            console.print(f"      {find.remedy}", markup=False, soft_wrap=True, style="dim")
        if len(of_kind) > shown:
            console.print(f"    and {len(of_kind) - shown:,} more", markup=False)


def _not_checked(report: Report) -> Sequence[str]:
    """What was not looked at, and how to have it looked at."""
    missing = []
    if report.model is None:
        missing.append("no model is given, so prompts have no length in tokens; add --model NAME")
    if not report.decoded:
        missing.append("only headers of images were read; leave --decode false out to find broken pixels")
    if len(report.splits) == 1:
        missing.append("one split only, so nothing was compared with evaluation rows")
    return missing


def _verdict(report: Report) -> str:
    rows = sum(split.rows for split in report.splits)
    refused = sum(split.refused for split in report.splits)
    if not refused:
        return f"Training uses all {rows:,} rows."
    return f"Training refuses {refused:,} of {rows:,} rows: correct them, or let --on_bad_rows skip leave them out."
