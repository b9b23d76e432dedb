"""The figure of a measurement: paired differences to uniform with 95 % intervals, one panel a space."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srpo.evaluation.alignment.result import SPACE_NAMES, TARGET_NAMES, Line

STYLES = {"reward": ("#0072B2", "o"), "grounded": ("#D55E00", "s")}  # Okabe and Ito's colours
ROW_HEIGHT = 0.36  # inches


def draw(lines: Sequence[Line], path: Path, *, title: str) -> None:
    """Write the figure as `path`.png and `path`.svg.

    Args:
        lines: of all credits, uniform first.
        path: without suffix.
        title: above the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    compared = lines[1:]
    figure = Figure(figsize=(9, 1.9 + ROW_HEIGHT * len(compared)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(SPACE_NAMES), sharey=True)
    for axis, (space, name) in zip(axes, SPACE_NAMES.items(), strict=True):
        _panel(axis, compared, space)
        aligned = lines[0].alignment[space, "reward"].value
        axis.set_title(f"{name} (uniform {aligned:.3f})", fontsize=10)
        axis.set_xlabel("difference of alignment to uniform")
    axes[0].set_yticks(range(len(compared)), [line.credit for line in compared])
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path.with_suffix(".png"), dpi=150)
    figure.savefig(path.with_suffix(".svg"))


def _panel(axis: Any, lines: Sequence[Line], space: str) -> None:
    targets = [target for of_space, target in (lines[0].difference if lines else {}) if of_space == space]
    for i, target in enumerate(targets):
        colour, marker = STYLES[target]
        found = [line.difference[space, target] for line in lines]
        axis.errorbar(
            [interval.value for interval in found],
            [row + 0.2 * (i - (len(targets) - 1) / 2) for row in range(len(lines))],
            xerr=[[x.value - x.low for x in found], [x.high - x.value for x in found]],
            fmt=marker,
            color=colour,
            markersize=5,
            capsize=3,
            label=f"{TARGET_NAMES[target]}, 95 % interval",
        )
    axis.axvline(0, color="0.4", linewidth=1, linestyle="--")
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
