"""Rejection sampling: of a model's own replies, keep those that are formatted, right, finished and new."""

from collections import Counter
from collections.abc import Callable, Sequence

from srpo.warmup.demonstrations import Demonstration
from srpo.warmup.sampling import Reply

Draw = Callable[[Sequence[int], int], list[Reply]]

# What becomes of a sampled reply, in the order in which it is asked.
FATES = ("cut off", "not structured", "wrong answer", "special token", "repeated", "kept")


def sample_demonstrations(
    rows: Sequence[int],
    draw: Draw,
    has_special_token: Callable[[str], bool],
    *,
    samples_per_prompt: int,
    keep_per_prompt: int,
) -> tuple[list[Demonstration], Counter[str]]:
    """Up to `keep_per_prompt` demonstrations for each row, from at most `samples_per_prompt` replies to it.

    Round by round, one reply is drawn for each row that is still short of demonstrations: a question that the model can
    answer costs few replies, and weighs no more than a hard one.

    Args:
        rows: row indices.
        draw: gives one judged reply for each of the row indices; its second argument is the round.
        has_special_token: says whether a text holds a special token.
        samples_per_prompt: most replies to a row.
        keep_per_prompt: most demonstrations from a row.

    Returns:
        The demonstrations in the order of the rows, and how many replies met each of `FATES`.
    """
    kept: dict[int, list[str]] = {row: [] for row in rows}
    fates: Counter[str] = Counter()
    for number in range(samples_per_prompt):
        short = [row for row in rows if len(kept[row]) < keep_per_prompt]
        if not short:
            break
        for row, reply in zip(short, draw(short, number), strict=True):
            fate = _fate(reply, kept[row], has_special_token)
            fates[fate] += 1
            if fate == "kept":
                kept[row].append(reply.text)
    return [Demonstration(row, text, "samples") for row in rows for text in kept[row]], fates


def _fate(reply: Reply, kept: Sequence[str], has_special_token: Callable[[str], bool]) -> str:
    if not reply.ended:
        return "cut off"
    if not reply.verdict.structured:
        return "not structured"
    if not reply.verdict.right:
        return "wrong answer"
    if has_special_token(reply.text):
        return "special token"
    if reply.text.split() in [text.split() for text in kept]:
        return "repeated"
    return "kept"
