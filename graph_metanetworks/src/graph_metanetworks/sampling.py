"""The order in which networks are visited: batches by a budget of edges, anew each epoch, the same on a resume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from .batch import edge_budget_batches


class EpochOrder:
    """A permutation of `size` that depends on seed and epoch alone; Lightning calls `set_epoch`."""

    def __init__(self, size: int, seed: int, shuffle: bool = True):
        self.size, self.seed, self.shuffle, self.epoch = size, seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.size))
        generator = torch.Generator().manual_seed(100_003 * self.seed + self.epoch)
        return iter(torch.randperm(self.size, generator=generator).tolist())


class BudgetSampler:
    """Batches of at most `budget` edges and `size` networks; process `rank` of `world` takes every world-th."""

    def __init__(self, edges: Sequence[int], budget: int, size: int, order: EpochOrder, rank: int = 0, world: int = 1):
        self.edges, self.budget, self.size = list(edges), budget, size
        self.sampler, self.rank, self.world = order, rank, world

    def _batches(self) -> list[list[int]]:
        by_edges = edge_budget_batches(self.edges, self.budget, list(self.sampler))
        batches = [batch[i : i + self.size] for batch in by_edges for i in range(0, len(batch), self.size)]
        if self.world > 1:  # every process the same number
            batches = batches[: len(batches) - len(batches) % self.world] or batches[:1] * self.world
        return batches[self.rank :: self.world]

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches())
