"""The vector of a vertex and its parts: space and time for edges; root, prev and next for faces; two for holes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class EmbeddingSizes:
    """Dimensions of the parts; the permutation's and the hole's count for each of their three and two roles.

    Raises:
        ValueError: a size below 0, or no space, or no permutation dimension.
    """

    space: int = 12
    time: int = 4
    permutation: int = 8
    hole: int = 0

    def __post_init__(self):
        if min(self.space, self.permutation) < 1 or min(self.time, self.hole) < 0:
            raise ValueError(f"space and permutation must be at least 1, time and hole at least 0, got {self}")

    @property
    def total(self) -> int:
        """Numbers per vertex."""
        return self.space + self.time + 3 * self.permutation + 2 * self.hole

    def parts(self) -> list[int]:
        """Sizes in the order of `VertexEmbedding`'s fields."""
        return [self.space, self.time, *[self.permutation] * 3, *[self.hole] * 2]


@dataclass(frozen=True)
class VertexEmbedding:
    """One vector per vertex, in parts: s (..., ks), t (..., kt), r, p, n (..., kp) and u, v (..., kh)."""

    space: Tensor
    time: Tensor
    root: Tensor
    prev: Tensor
    next: Tensor
    hole_tail: Tensor
    hole_head: Tensor

    @staticmethod
    def of(vectors: Tensor, sizes: EmbeddingSizes) -> VertexEmbedding:
        """Split (..., K).

        Raises:
            ValueError: K is not `sizes.total`.
        """
        if vectors.shape[-1] != sizes.total:
            raise ValueError(f"expected vectors of {sizes.total} numbers for {sizes}, got {tuple(vectors.shape)}")
        return VertexEmbedding(*vectors.split(sizes.parts(), -1))

    def vectors(self) -> Tensor:
        """All parts beside one another, (..., K)."""
        return torch.cat([getattr(self, field.name) for field in fields(self)], -1)

    def at(self, index: Tensor) -> VertexEmbedding:
        """Of some vertices only."""
        return VertexEmbedding(*[getattr(self, field.name)[index] for field in fields(self)])

    def detached(self) -> VertexEmbedding:
        """Without gradient, on the CPU."""
        return VertexEmbedding(*[getattr(self, field.name).detach().cpu() for field in fields(self)])


def initial_vectors(num_vertices: int, sizes: EmbeddingSizes, generator: torch.Generator) -> Tensor:
    """Where a fit begins: s and the permutation's parts standard normal, t and the hole's 0.1 of that.

    Large times make all distances alike: with t standard normal a fit ends with twice the wrong edges.
    """
    vectors = torch.randn(num_vertices, sizes.total, generator=generator)
    scale = torch.cat(
        [torch.full((size,), s) for size, s in zip(sizes.parts(), (1, 0.1, 1, 1, 1, 0.1, 0.1), strict=True)]
    )
    return vectors * scale
