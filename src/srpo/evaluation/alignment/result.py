"""What a measurement of credits says, as data: one line a credit, and one sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from srpo.evaluation.alignment.statistics import Interval, Products, alignments, differences

SPACE_NAMES = {"gradient": "plain gradient", "adam": "Adam's space"}
TARGET_NAMES = {"reward": "gradient of the reward", "grounded": "gradient of the grounded reward"}
FEW_BATCHES = 10  # [choice]


@dataclass(frozen=True)
class Line:
    """The figures of one credit.

    Attributes:
        credit: its label.
        alignment: by (space, target), the alignment itself.
        difference: by (space, target), the paired difference to uniform.
        norm_ratio: mean over batches of |g_c| / |g_uniform|.
        effective_tokens: how evenly the update is spread over the tokens of a rollout, 1 for uniform.
        batches: N, those that the figures rest on.
    """

    credit: str
    alignment: dict[tuple[str, str], Interval]
    difference: dict[tuple[str, str], Interval]
    norm_ratio: float
    effective_tokens: float
    batches: int


def make_lines(
    labels: Sequence[str], products: Mapping[tuple[str, str], Products], effective: Mapping[str, float]
) -> list[Line]:
    """The line of every credit; `labels` are those of the first vectors, uniform first."""
    aligned = {key: alignments(of_key) for key, of_key in products.items()}
    paired = {key: differences(of_key) for key, of_key in products.items()}
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
        )
        for i, label in enumerate(labels)
    ]


def as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Plain values: {"credit", "norm_ratio", "effective_tokens", "alignment": {"gradient/reward": {...}}, ...}."""
    return [
        {
            "credit": line.credit,
            "norm_ratio": line.norm_ratio,
            "effective_tokens": line.effective_tokens,
            "alignment": {"/".join(key): asdict(value) for key, value in line.alignment.items()},
            "difference": {"/".join(key): asdict(value) for key, value in line.difference.items()},
        }
        for line in lines
    ]


def remarks(lines: Sequence[Line], measured: int) -> list[str]:
    """Sentences on how much the figures rest on: batches that were left out, and too few batches.

    Args:
        lines: of all credits.
        measured: batches that were drawn.
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
    return found


def verdict(lines: Sequence[Line]) -> str:
    """One sentence on the first credit behind uniform: is its gradient better aligned with the true one than GRPO's?"""
    if len(lines) < 2:
        return f"Only uniform was measured: alignment {lines[0].alignment['gradient', 'reward'].value:.3f}."
    line = lines[1]
    plain, adam = (line.difference[space, "reward"] for space in ("gradient", "adam"))
    base = lines[0].alignment["gradient", "reward"].value
    words = _words(plain)
    said = f"On this data the gradient of {line.credit} is {words} than GRPO's: {_figures(plain)}"
    if words == _NEITHER:
        said = f"On this data {line.batches} batches do not tell the gradient of {line.credit} from GRPO's: "
        said += _figures(plain)
    return f"{said}, GRPO {base:.3f}; in Adam's space {_figures(adam)}."


_NEITHER = "neither better nor worse aligned"


def _words(difference: Interval) -> str:
    if difference.low > 0:
        return "better aligned with the true policy gradient"
    return "worse aligned with the true policy gradient" if difference.high < 0 else _NEITHER


def _figures(interval: Interval) -> str:
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
