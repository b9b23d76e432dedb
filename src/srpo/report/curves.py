"""Which metrics stand in which chart."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from srpo.report.runs import Point, Series

CHARTS: tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Reward", "", "Mean over the rollouts of a step, weighted sum of all reward functions.", (("reward", "reward"),)),
    (
        "Right answers",
        "share",
        "Of training rollouts.",
        (
            ("rewards/accuracy_reward/mean", "accuracy"),
            ("rewards/perception/mean", "perception right"),
            ("eval_rewards/accuracy_reward/mean", "held-out accuracy"),
            ("eval_rewards/perception/mean", "held-out perception right"),
        ),
    ),
    (
        "Structured replies",
        "share",
        "Replies that follow the response format; the others are trained as in GRPO.",
        (("srpo/structured/fraction", "structured"), ("eval_srpo/structured/fraction", "held-out")),
    ),
    (
        "Weights by role",
        "",
        "Mean token weight; 1 is GRPO.",
        (("srpo/weight/perception_mean", "perception"), ("srpo/weight/reasoning_mean", "reasoning")),
    ),
    (
        "Gaps by role",
        "nats",
        "Mean log-probability with minus without what the contrast takes away.",
        (("srpo/gap/perception_mean", "perception"), ("srpo/gap/reasoning_mean", "reasoning")),
    ),
    ("Clipped weights", "share", "Weights at a clip.", (("srpo/weight/clipped_fraction", "clipped"),)),
    ("Entropy", "nats a token", "Of the policy over its own tokens.", (("entropy", "entropy"),)),
    (
        "Length of replies",
        "tokens",
        "",
        (
            ("completions/mean_length", "mean"),
            ("completions/min_length", "shortest"),
            ("completions/max_length", "longest"),
        ),
    ),
    (
        "Share of tokens by role",
        "share",
        "",
        (("srpo/role/perception_share", "perception"), ("srpo/role/reasoning_share", "reasoning")),
    ),
    (
        "Rollouts that teach nothing, or were cut",
        "share",
        "A = 0: all rewards of the group are equal. Cut: longer than max_completion_length.",
        (("srpo/advantage/zero_fraction", "A = 0"), ("completions/clipped_ratio", "cut")),
    ),
    (
        "Time by phase",
        "seconds",
        "Of a step; the contrasts of a generation are part of its step.",
        (("step_time", "step"), ("srpo/time/contrast_seconds", "contrasts")),
    ),
    (
        "How far the policy moves",
        "nats a token",
        "KL by a generation's updates, and to the initial policy where beta is above 0.",
        (("srpo/policy/kl", "by a generation"), ("kl", "to the initial policy")),
    ),
    (
        "PAPO",
        "nats a token",
        "",
        (("srpo/papo/kl", "perception KL"), ("srpo/papo/corrupted_entropy", "entropy under the corrupted image")),
    ),
    ("Loss", "", "", (("loss", "loss"),)),
    ("Gradient norm", "", "", (("grad_norm", "norm"),)),
    ("Learning rate", "", "", (("learning_rate", "learning rate"),)),
)
MOST_POINTS = 1_000
OTHERS = 40  # charts of metrics that no chart above names
_REPEATED = ("eval_", "train_")  # of a whole run, or held-out twins of what is shown
_UNINTERESTING = {"epoch", "total_flos", "num_tokens", "mean_token_accuracy"}


def charts(runs: Iterable[Series]) -> list[dict[str, Any]]:
    """The charts for which some run has data, then one for each further metric with two points or more.

    Figures of held-out questions that were asked before and after training only are no curve.
    """
    series = list(runs)
    known = {
        name for of_run in series for name, points in of_run.items() if len(points) > 2 or not name.startswith("eval_")
    }
    shown = [
        _chart(title, unit, note, [(name, label) for name, label in metrics if name in known])
        for title, unit, note, metrics in CHARTS
        if any(name in known for name, _ in metrics)
    ]
    named = {name for *_, metrics in CHARTS for name, _ in metrics}
    rest = [
        name
        for name in sorted(known - named - _UNINTERESTING)
        if not name.startswith(_REPEATED) and any(len(of_run.get(name, ())) > 1 for of_run in series)
    ]
    return [*shown, *(_chart(name, "", "", [(name, name.rpartition("/")[2] or name)]) for name in rest[:OTHERS])]


def _chart(title: str, unit: str, note: str, metrics: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {"title": title, "unit": unit, "note": note, "metrics": [list(metric) for metric in metrics]}


def thinned(points: list[Point]) -> list[Point]:
    """At most MOST_POINTS points of a curve: each the mean of some neighbours, at the last of their steps."""
    if len(points) <= MOST_POINTS:
        return points
    size = math.ceil(len(points) / MOST_POINTS)
    return [_mean(points[start : start + size]) for start in range(0, len(points), size)]


def _mean(points: list[Point]) -> Point:
    known = [value for _, value in points if value is not None]
    return points[-1][0], float(f"{math.fsum(known) / len(known):.5g}") if known else None
