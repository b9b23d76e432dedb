"""A gradient of any size as a vector of fixed size that keeps inner products, built parameter by parameter.

    <a, b> ≈ <sketch(a), sketch(b)>      unbiased over the seeds; a cosine is off by about 1 / sqrt(dimension)

Two linear maps, because Adam's space divides every coordinate by a number of its own:
    hashed: every coordinate, with a random sign, added into one of K buckets (count sketch, Charikar et al. 2002);
    sampled: K coordinates, which keep their identity, so that they can be divided by the root of a second moment.
Gradients with no more coordinates than K are kept whole, and then both are the same exact vector.
"""

import math
from collections.abc import Sequence

import torch

SEED_STEP = 1_000_003  # between the seeds of two parameters


class Sketch:
    """The maps of one list of parameters.

    Args:
        sizes: number of elements of each parameter.
        dimension: K, most numbers to keep of a gradient.
        seed: of signs, offsets and the choice of coordinates.

    Attributes:
        exact: whether gradients are kept whole.
        dimension: numbers in each kind of sketch.
    """

    def __init__(self, sizes: Sequence[int], dimension: int, seed: int = 0) -> None:
        if dimension < 1:
            raise ValueError(f"sketch dimension {dimension} must be 1 or more; 1048576 (2^20) is usual")
        self.sizes, self.seed = list(sizes), seed
        total = sum(sizes)
        self.exact = total <= dimension
        self.dimension = total if self.exact else dimension
        self._starts = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        self._places = self._starts if self.exact else _shares(self.sizes, dimension)

    def zeros(self, vectors: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """Room for the sketches of some gradients, (vectors, kinds, dimension): 1 kind if exact, else 2."""
        return torch.zeros(vectors, 1 if self.exact else 2, self.dimension, device=device)

    def add(self, into: torch.Tensor, index: int, gradient: torch.Tensor) -> None:
        """Add the sketch of one parameter's gradient.

        Args:
            into: (kinds, dimension), one vector of `zeros`.
            index: of the parameter in `sizes`.
            gradient: of that parameter, of any shape.
        """
        flat = gradient.detach().flatten().to(into.device, torch.float32)
        if self.exact:
            start = self._starts[index]
            into[0, start : start + flat.numel()] += flat
            return
        self._hash(into[0], index, flat)
        start = self._places[index]
        end = self._places[index + 1] if index + 1 < len(self.sizes) else self.dimension
        if end > start:
            into[1, start:end] += flat[self._coordinates(index, end - start).to(flat.device)]

    def _hash(self, into: torch.Tensor, index: int, flat: torch.Tensor) -> None:
        """Signed buckets: pieces of K coordinates, each turned by a random offset, so that buckets need no table."""
        generator = torch.Generator(flat.device).manual_seed(self.seed + SEED_STEP * (index + 1))
        for piece in flat.split(self.dimension):
            bits = torch.randint(0, 2, piece.shape, generator=generator, device=flat.device, dtype=torch.int8)
            offset = int(torch.randint(0, self.dimension, (1,), generator=generator, device=flat.device))
            signed = piece * (2 * bits - 1)
            head = min(signed.numel(), self.dimension - offset)
            into[offset : offset + head] += signed[:head]
            into[: signed.numel() - head] += signed[head:]

    def _coordinates(self, index: int, count: int) -> torch.Tensor:
        """Distinct coordinates of a parameter: one at random in each of `count` equal strata."""
        generator = torch.Generator().manual_seed(self.seed + SEED_STEP * (index + 1))
        edges = torch.linspace(0, self.sizes[index], count + 1, dtype=torch.float64).floor().long()
        widths = edges.diff()
        return edges[:-1] + (torch.rand(count, generator=generator, dtype=torch.float64) * widths).long()


def _shares(sizes: Sequence[int], dimension: int) -> list[int]:
    """Where each parameter's part of `dimension` begins: parts in proportion to the sizes."""
    total, before = sum(sizes), 0
    starts = []
    for size in sizes:
        starts.append(math.floor(before * dimension / total))
        before += size
    return starts
