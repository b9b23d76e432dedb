"""What a measurement of credits says, as data: one line a credit, and one sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from srpo.evaluation.alignment.statistics import Interval, Products, alignments, differences

SPACE_NAMES = {"gradient": "plain gradient", "adam": "Adam's space"}
TARGET_NAMES = {"reward": "gradient of the reward", "grounded": "gradient of the grounded reward"}
FEW_BATCHES = 10  # [choice]
Figures = dict[tuple[str, str], Interval]


@dataclass(frozen=True)
class Line:
    """The figures of one credit; those with intervals by (space, target).

    Attributes:
        credit: its label.
        alignment: the alignment itself.
        difference: the paired difference to uniform.
        norm_ratio: mean over batches of |g_c| / |g_uniform|.
        effective_tokens: how evenly the update is spread over the tokens of a rollout, 1 for uniform.
        batches: N, those that the figures rest on.
        to_reference: the paired difference to the reference; {} without one, and for uniform and the reference.
    """

    credit: str
    alignment: Figures
    difference: Figures
    norm_ratio: float
    effective_tokens: float
    batches: int
    to_reference: Figures = field(default_factory=dict)


def make_lines(
    labels: Sequence[str],
    products: Mapping[tuple[str, str], Products],
    effective: Mapping[str, float],
    reference: str | None = None,
) -> list[Line]:
    """The line of every credit.

    Args:
        labels: those of the first vectors, uniform first.
        products: by (space, target).
        effective: label -> effective tokens.
        reference: a label that the others are compared with besides uniform.
    """
    aligned = {key: alignments(of_key) for key, of_key in products.items()}
    paired = {key: differences(of_key) for key, of_key in products.items()}
    also = {key: differences(of_key, labels.index(reference)) for key, of_key in products.items()} if reference else {}
    norms = products["gradient", "reward"].squared_norms.sqrt()  # (V, N)
    ratios = (norms / norms[0]).mean(1).tolist()
    return [
        Line(
            label,
            {key: of_key[i] for key, of_key in aligned.items()},
            {key: of_key[i] for key, of_key in paired.items()},
            ratios[i],
            effective[label],
            norms.size(1),
            {} if label in (labels[0], reference) else {key: of_key[i] for key, of_key in also.items()},
        )
        for i, label in enumerate(labels)
    ]


def as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Plain values: {"credit", "norm_ratio", ..., "alignment": {"gradient/reward": {"value", ...}, ...}, ...}."""
    return [
        {
            "credit": line.credit,
            "batches": line.batches,
            "norm_ratio": line.norm_ratio,
            "effective_tokens": line.effective_tokens,
            **{
                name: {"/".join(key): asdict(value) for key, value in getattr(line, name).items()}
                for name in ("alignment", "difference", "to_reference")
            },
        }
        for line in lines
    ]


def remarks(lines: Sequence[Line], measured: int, repeats: float = 1.0) -> list[str]:
    """Sentences on how much the figures rest on: batches that were left out, too few batches, few questions.

    Args:
        lines: of all credits.
        measured: batches that were drawn.
        repeats: in how many batches a question occurs, on average over the rows.
    """
    used, found = lines[0].batches, []
    if used < measured:
        found.append(
            f"{used} of {measured} batches were used; in the others a gradient was 0, as where all replies to a "
            "prompt earn the same."
        )
    if used < FEW_BATCHES:
        found.append(
            f"{used} batches tell little: the interval of so few is itself uncertain. Give {FEW_BATCHES} or more "
            "(--batches)."
        )
    if repeats > 1:
        found.append(
            f"Each question occurs in about {repeats:.1f} batches, so the batches are not independent: alignments are "
            "too high, and the intervals hold for these questions only. Give more rows (--rows)."
        )
    return found


def chance_findings(lines: Sequence[Line]) -> str:
    """A sentence on how many intervals there are; "" for fewer than two."""
    count = sum(len(line.difference) for line in lines[1:])
    if count < 2:
        return ""
    return (
        f"Each interval is a 95 % one by itself: of {count} differences to uniform, {count / 20:.1f} would be "
        "expected to miss 0 if no credit differed."
    )


def verdict(lines: Sequence[Line]) -> str:
    """One sentence on the first credit behind uniform: is its gradient better aligned than GRPO's, by each target?"""
    if len(lines) < 2:
        return f"Only uniform was measured: alignment {lines[0].alignment['gradient', 'reward'].value:.3f}."
    line, said = lines[1], []
    for words in (_BETTER, _WORSE, _NEITHER):
        found = [f"{_place(key)} {_figures(x)}" for key, x in line.difference.items() if _words(x) == words]
        if found:
            said.append(f"{words.format(credit=line.credit, batches=line.batches)} with {_listed(found)}")
    return f"On this data, {'; '.join(said)}."


_BETTER = "the gradient of {credit} is better aligned than GRPO's"
_WORSE = "the gradient of {credit} is worse aligned than GRPO's"
_NEITHER = "{batches} batches do not tell {credit} from GRPO in alignment"


def _words(difference: Interval) -> str:
    if difference.low > 0:
        return _BETTER
    return _WORSE if difference.high < 0 else _NEITHER


def _place(key: tuple[str, str]) -> str:
    space, target = key
    return f"the {TARGET_NAMES[target]}{' in ' + SPACE_NAMES[space] if space == 'adam' else ''}"


def _figures(interval: Interval) -> str:
    return f"({interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}])"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
