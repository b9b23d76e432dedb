"""Sketched gradients of the batches on disk, and their inner products in two spaces.

A measurement that was interrupted, or that is to have more batches, goes on at the first one that is missing: a record
is written after its gradients.
Axes: N batches, V vectors, K numbers of a sketch.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srpo.evaluation.alignment.statistics import Products

SPACES = ("gradient", "adam")
CHUNK = 1 << 14  # numbers of a sketch that are in memory at once, for all batches and vectors


class GradientStore:
    """The sketches of every batch in one file, (N, V, kinds, K) float32, and a JSON line of figures about each.

    Args:
        folder: that exists; GRADIENTS and BATCHES are written there.
        batches: room for so many, or for those that are there if they are more.
        shape: (V, kinds, K).
    """

    GRADIENTS = "gradients.f32"
    BATCHES = "batches.jsonl"

    def __init__(self, folder: Path, batches: int, shape: tuple[int, int, int]) -> None:
        self.path, self.records_path = folder / self.GRADIENTS, folder / self.BATCHES
        there = self.path.stat().st_size // (4 * math.prod(shape)) if self.path.exists() else 0
        self.records: list[dict[str, Any]] = read_records(self.records_path)[:there]
        room = (max(batches, len(self.records)), *shape)
        self.array = np.memmap(self.path, np.float32, "r+" if there else "w+", shape=room)
        lines = "".join(json.dumps(record) + "\n" for record in self.records)
        self.records_path.write_text(lines, encoding="utf-8")

    def write(self, sketches: torch.Tensor, record: Mapping[str, Any]) -> None:
        """Append a batch: its sketches (V, kinds, K) and figures about it."""
        self.array[len(self.records)] = sketches.numpy()
        self.array.flush()
        self.records.append(dict(record))
        with self.records_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.records[-1]) + "\n")

    def products(self, targets: Mapping[str, int], epsilon: float) -> dict[tuple[str, str], Products]:
        """Inner products by (space, target) over the batches in which every target has a gradient.

        Args:
            targets: name -> which vector is the target gradient.
            epsilon: added to the root of the second moment in Adam's space.
        """
        first = self.array[: len(self.records), :, :, :]
        usable = [b for b in range(len(first)) if all(bool(first[b, v].any()) for v in targets.values())]
        return inner_products(first, usable, targets, epsilon)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a records file; a last line that was cut off is dropped."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def inner_products(
    array: np.ndarray, batches: Sequence[int], targets: Mapping[str, int], epsilon: float
) -> dict[tuple[str, str], Products]:
    """Inner products of all vectors with the targets, by (space, target).

        gradient:  <g, t>
        adam:      <g / d_g, t / d_t>      d = sqrt(`second_moments`) + epsilon, coordinate by coordinate

    Args:
        array: (N, V, kinds, K); kind 0 keeps inner products, the last kind keeps coordinates.
        batches: those to use.
        targets: name -> which vector is the target gradient.
        epsilon: Adam's.
    """
    vectors, count = array.shape[1], len(batches)
    sums = {
        key: Products(
            torch.zeros(vectors, count, count, dtype=torch.float64),
            torch.zeros(vectors, count, dtype=torch.float64),
            torch.zeros(count, count, dtype=torch.float64),
        )
        for key in ((space, target) for space in SPACES for target in targets)
    }
    for start in range(0, array.shape[3], CHUNK):
        for space, kind in (("gradient", 0), ("adam", array.shape[2] - 1)):
            piece = torch.from_numpy(np.array(array[batches, :, kind, start : start + CHUNK]))  # (N, V, k)
            piece = piece.double().transpose(0, 1)  # (V, N, k)
            if space == "adam":
                piece = piece / (second_moments(piece).sqrt() + epsilon)
            for target, vector in targets.items():
                found = sums[space, target]
                found.cross.add_(piece @ piece[vector].T)
                found.squared_norms.add_(piece.square().sum(2))
                found.target.add_(piece[vector] @ piece[vector].T)
    return sums


def second_moments(gradients: torch.Tensor) -> torch.Tensor:
    """What Adam divides the gradient v of batch b by, squared: (V, N, k) for gradients (V, N, k).

        m_v(b) = (Σ_{b' ≠ b} g_0(b')² + g_v(b)²) / N

    The other batches' uniform gradients, vector 0, and the current gradient itself, whichever credit it is of: with the
    uniform gradient of b in its place, uniform alone would be damped where it is large.
    """
    squares = gradients.square()
    others = squares[0].sum(0) - squares[0]  # (N, k)
    return (others.clamp(min=0) + squares) / gradients.size(1)
