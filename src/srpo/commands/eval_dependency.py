"""The dependency profile of `srpo eval --audit`: whether it can be measured, of which replies, and what it says."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from srpo.commands.eval_options import EvalArguments
from srpo.commands.eval_view import Bars
from srpo.evaluation.audit.rows import count_images
from srpo.evaluation.replay import dependency_of
from srpo.evaluation.store import ScoredReply

BLOCKS = "▁▂▃▄▅▆▇█"
LEGEND = (
    "Log-probability that a token loses, on average, when the image is corrupted (perception) or the perception is cut "
    "out of the reply (reasoning); 0: it is written without looking there. Bars: first to last tenth of the role's "
    "tokens in a reply, on one scale for both, ▁ for 0 and less, · without tokens."
)


def reason_against(own: EvalArguments, *, quantized: bool, processes: int, questions: int) -> str | None:
    """Why the profile cannot be measured here and what helps; None where it can.

    The trainer that scores it communicates, so that several processes would have to make the same calls.
    """
    if own.backend == "vllm":
        return "vLLM draws replies and scores no contrasts; --backend transformers measures it"
    if processes > 1:
        return f"it is scored by one process and {processes} ran; the same command in one process adds it"
    if quantized:
        return "the trainer that scores it takes no model in 4 or 8 bits; leave load_in_4bit and load_in_8bit out"
    return None if questions else "no question has an image"


def scored_replies(own: EvalArguments, prompts: Sequence[Any], replies: Sequence[ScoredReply]) -> list[ScoredReply]:
    """The first reply to each of the first `dependency_rows` questions with an image."""
    first = [reply for reply in replies if reply.sample == 0 and count_images(prompts[reply.row])]
    return first[: own.dependency_rows]


def measure(
    own: EvalArguments, model: Any, processor: Any, questions: Any, replies: Sequence[ScoredReply], console: Console
) -> dict[str, Any]:
    """The profile of replies, as evaluation.json keeps it; the model is good for nothing else afterwards.

    Contrasts are those of training, with the corruption of the audit. They are scored at the temperature of the draws,
    as training does; greedy replies at temperature 1.
    """
    temperature = own.temperature or 1.0
    with Bars(console)("dependency", 0, len(replies)) as progress:
        profile = dependency_of(
            model,
            processor,
            questions.select([reply.row for reply in replies]),
            [reply.token_ids for reply in replies],
            progress=progress,
            response_format=own.response_format,
            corruption=own.corruption,
            corruption_ratio=own.corruption_ratio,
            temperature=temperature,
            max_completion_length=own.max_completion_length,
            seed=own.seed,
        )
    return {"rows": own.dependency_rows, "questions": len(replies), "temperature": temperature, **profile}


def show(console: Console, found: dict[str, Any]) -> None:
    """Print the mean gap of each role, and how it runs from its first to its last tenth; without a role, that."""
    table = Table(title=f"Dependency, nats a token ({found['questions']} replies)", title_justify="left")
    for heading, side in (("", "left"), ("mean", "right"), ("first", "right"), ("", "left"), ("last", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    table.add_column("tokens", justify="right")
    roles = ("perception", "reasoning")
    console.print()
    if not any(sum(found[role]["count"]) for role in roles):
        console.print(f"no dependency profile: none of {found['questions']} replies is structured", soft_wrap=True)
        return
    top = max((mean for role in roles for mean in found[role]["mean"] if mean is not None), default=0.0)
    for role in roles:
        means = found[role]["mean"]
        figures = [_figure(found[role]["overall"]), _figure(means[0]), bars(means, top), _figure(means[-1])]
        table.add_row(role, *figures, f"{sum(found[role]['count']):,}")
    console.print(table)
    console.print(LEGEND, style="dim", highlight=False, markup=False)


def bars(means: Sequence[float | None], top: float) -> str:
    """A character a mean: eighths of `top`, the lowest for 0 and less, · for none."""
    return "".join("·" if mean is None else BLOCKS[_eighth(mean, top)] for mean in means)


def _eighth(mean: float, top: float) -> int:
    return min(7, int(8 * max(mean, 0.0) / top)) if top > 0 else 0


def _figure(mean: float | None) -> str:
    return "" if mean is None else f"{mean:+.3f}"
