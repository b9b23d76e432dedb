"""What `srpo inspect` shows: the plan, each reply token by token, figures of roles, the highest gaps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from srpo.commands.explanation import structure_problem
from srpo.commands.inspect_options import InspectJob
from srpo.commands.token_view import COLOURS, has_colour, legend, of_known_width, show_tokens, tokens_of
from srpo.credits import corruption_of
from srpo.evaluation.inspection import Inspection, Reply, by_role, highest_gaps
from srpo.report.notes import weights_note
from srpo.roles import ResponseFormat, Role

AROUND = 8  # characters shown on either side of a listed token
GAP = (
    "Gap: nats of log-probability that a token loses when the image is corrupted (perception) or the perception is cut "
    "out of the reply (reasoning)."
)
BLOCK = " All reasoning tokens of a reply share one weight, from their mean gap (--reasoning_gap block)."
BLAME = " In a reply with A < 0 the weights say where the blame goes: to tokens that ignored the evidence."


def describe(job: InspectJob, model: str, model_type: str, row: Mapping[str, Any], run: Path) -> dict[str, str]:
    """Name -> one line of the plan."""
    own, config = job.arguments, job.config
    sizes = [f"{path} ({image.width} x {image.height})" for path, image in zip(own.image, row["images"], strict=True)]
    drawn = f"{config.num_generations} sampled, temperature {config.temperature:g}"
    replies = f"{len(own.replies)} given" if own.replies else f"{drawn}, at most {config.max_completion_length} tokens"
    corruption = corruption_of(config)
    like = {"settings": f"as {job.like}/config.yaml where no option says otherwise"} if job.like else {}
    return {
        "model": f"{model} ({model_type})",
        **like,
        "image": ", ".join(sizes) or "none, so the gap of a perception token is 0 by definition",
        "question": own.question,
        "answer": own.answer if own.answer is not None else "not given (--answer)",
        "replies": f"{replies}, seed {config.seed}",
        "credit": config.credit + (f"; contrast: image corrupted by {corruption}" if corruption else ""),
        "folder": str(run),
    }


def show(console: Console, job: InspectJob, inspection: Inspection, replies: Sequence[Reply]) -> None:
    """Print the replies with their tokens, the figures of roles, the highest gaps, and what stands in the way."""
    response_format = ResponseFormat.parse(job.config.response_format)
    scale = COLOURS[job.arguments.colour]
    structured = sum(reply.structured for reply in replies)
    console.print()
    if note := weights_note(job.config.credit, inspection.assumed, len(replies)):
        console.print(note, style="yellow")
    if structured:
        console.print(legend(console, scale))
        console.print(_marks(console), style="dim")
    distinct = _distinct(replies)
    for numbers, reply in distinct:
        _show_reply(console, numbers, reply, job, response_format)
    console.print()
    if structured:
        kept = [reply for _, reply in distinct]
        console.print(_roles(replies, measured=inspection.credit.measures))
        if job.arguments.highest and inspection.credit.measures:
            console.print(_highest(kept, [numbers for numbers, _ in distinct], job.arguments.highest))
        console.print(_explanation(job, replies), style="dim")
    else:
        console.print(_no_roles(job, replies), style="yellow")


def _marks(console: Console) -> str:
    marks = ["perception is underlined, what is neutral is dim"] if console.is_terminal else []
    return "; ".join([*marks, *([] if has_colour(console) else ["bars stand under perception and reasoning"])])


def _distinct(replies: Sequence[Reply]) -> list[tuple[list[int], Reply]]:
    """Equal replies once, with their numbers from 1."""
    found: dict[tuple[int, ...], tuple[list[int], Reply]] = {}
    for number, reply in enumerate(replies, 1):
        found.setdefault(tuple(reply.ids), ([], reply))[0].append(number)
    return list(found.values())


def _show_reply(
    console: Console, numbers: Sequence[int], reply: Reply, job: InspectJob, response_format: ResponseFormat
) -> None:
    noun = "replies" if len(numbers) > 1 else "reply"
    figures = [f"{name.removesuffix('_reward')} {_number(value)}" for name, value in reply.rewards.items()]
    if reply.advantage is not None:
        figures = [f"A {reply.advantage:+.2f}" if reply.scored and reply.advantage else _idle(reply), *figures]
    figures.append(f"{len(reply.ids)} tokens")
    heading = Text(f"\n{noun} {_ranges(numbers)}", style="bold")
    console.print(heading.append(f"   {', '.join(figures)}", style="not bold"))
    if not reply.structured:
        problem = structure_problem(reply.text, response_format) or "a block has no token of its own"
        console.print(f"  no token has a role: {problem}", style="yellow")
    scale = COLOURS[job.arguments.colour]
    values = {"weight": reply.weights, "gap": reply.gaps, "advantage": reply.credits or []}[scale.name]
    tokens = tokens_of(reply.text, reply.spans, values, reply.roles, scale)
    show_tokens(console, tokens, bars=reply.structured and not has_colour(console))


def _roles(replies: Sequence[Reply], *, measured: bool) -> Table:
    """Tokens, gaps and weights by role; weights apart for replies that become likelier and less likely."""
    signs = [(" where A > 0", lambda a: a > 0), (" where A < 0", lambda a: a < 0)]
    parts = {sign: [reply for reply in replies if holds(reply.advantage or 0)] for sign, holds in signs}
    parts = {sign: part for sign, part in parts.items() if part} or {"": list(replies)}
    table = Table(title="Roles", title_justify="left")
    table.add_column("role")
    for heading in ("of tokens", "mean gap", *(f"mean weight{sign}" for sign in parts)):
        table.add_column(heading, justify="right")
    weights = [by_role(part) for part in parts.values()]
    for role, found in by_role(replies).items():
        cells = [f"{of_part[role].weight:.2f}" if role in of_part else "" for of_part in weights]
        gap = f"{found.gap:+.3f}" if measured and role != "neutral" else ""
        table.add_row(role, f"{found.share:.0%}", gap, *cells)
    return table


def _highest(replies: Sequence[Reply], numbers: Sequence[Sequence[int]], count: int) -> Table:
    """The tokens with the highest gaps, in their surroundings."""
    rewarded = replies[0].credits is not None
    table = Table(title="Highest gaps", title_justify="left")
    table.add_column("token", overflow="fold")
    table.add_column("role", no_wrap=True)
    table.add_column("reply", min_width=5)
    for heading in ("gap", "weight", *(["advantage"] if rewarded else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for i, t in highest_gaps(replies, count):
        reply = replies[i]
        figures = [f"{reply.gaps[t]:+.3f}", f"{reply.weights[t]:.2f}"]
        figures += [f"{reply.credits[t]:+.2f}"] if reply.credits is not None else []
        role = Role(reply.roles[t]).name.lower()
        table.add_row(_surrounded(reply.text, *reply.spans[t]), role, _ranges(numbers[i]), *figures)
    return table


def _surrounded(text: str, start: int, end: int) -> Text:
    """A token in brackets between what stands before and behind it, in one line."""

    def flat(part: str) -> str:
        return of_known_width(part).replace("\n", "⏎")

    before, behind = flat(text[max(0, start - AROUND) : start]), flat(text[end : end + AROUND])
    return Text.assemble((before, "dim"), ("[", "dim"), (flat(text[start:end]), "bold"), ("]", "dim"), (behind, "dim"))


def _ranges(numbers: Sequence[int]) -> str:
    """Rising numbers with runs in short: 1, 3-5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _explanation(job: InspectJob, replies: Sequence[Reply]) -> str:
    """What gaps and weights mean here."""
    config = job.config
    role_credit = config.credit in ("srpo", "perception", "reasoning")
    blames = role_credit and config.credit_sign_aware and any((reply.advantage or 0) < 0 for reply in replies)
    shares = config.credit == "srpo" and config.reasoning_gap == "block"
    return (GAP if role_credit else "") + (BLOCK if shares else "") + (BLAME if blames else "")


def _no_roles(job: InspectJob, replies: Sequence[Reply]) -> str:
    """What it means that no reply is structured, and what helps."""
    remedies = []
    if not any(reply.ended for reply in replies):
        remedies.append(f"let replies end (--max_completion_length above {job.config.max_completion_length})")
    if job.arguments.instruction == "none":
        remedies.append("ask for the format (--instruction system)")
    name = job.model.model_name_or_path or "tiny"
    remedies.append(f"teach the model the format (srpo warmup --model {name})")
    remedies.append("name the tags that it writes (--response_format)")
    return (
        f"None of {len(replies)} replies is structured, so no token has a role and every weight is 1, as in GRPO. "
        f"What helps: {', or '.join(remedies)}."
    )


def _idle(reply: Reply) -> str:
    return "A 0" if reply.scored else "A 0: not scored, weights 1"


def _number(value: float | None) -> str:
    return "left out" if value is None else f"{value:g}"
