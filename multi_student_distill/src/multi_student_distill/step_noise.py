"""Random numbers of a training step, from (seed, step) alone: a resumed run and a stacked one draw the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

STUDENT_STRIDE = 1000  # student k draws with seed + 1000 k


def student_seeds(seed: int, students: Sequence[int]) -> list[int]:
    """A seed for each student, whether it trains alone or beside others."""
    return [seed + STUDENT_STRIDE * k for k in students]


class StepNoise:
    """Draws for S students at one step: every draw gives `count` rows for each, in turn.

    Args:
        seeds: one a student. step: of training. stream: keeps the draws of different places apart, such as the data's
            and those of a process of several. device: where the numbers are wanted.
    """

    def __init__(
        self, seeds: Sequence[int], step: int, stream: int = 0, device: torch.device | str = "cpu", dtype=torch.float32
    ):
        self.device, self.dtype = device, dtype
        self.generators = [torch.Generator(device).manual_seed(mixed(seed, step, stream)) for seed in seeds]

    @property
    def students(self) -> int:
        return len(self.generators)

    def normal(self, count: int, *shape: int) -> Tensor:
        """Standard normal, (S·count, *shape)."""
        own = [torch.randn(count, *shape, generator=g, device=self.device, dtype=self.dtype) for g in self.generators]
        return torch.cat(own)

    def uniform(self, count: int) -> Tensor:
        """Uniform in [0, 1), (S·count,)."""
        return torch.cat([torch.rand(count, generator=g, device=self.device) for g in self.generators])

    def integers(self, low: int, high: int, count: int) -> Tensor:
        """Uniform in low ... high - 1, int64, (S·count,)."""
        return torch.cat([torch.randint(low, high, (count,), generator=g, device=self.device) for g in self.generators])


def mixed(seed: int, step: int, stream: int) -> int:
    """A 63-bit hash (splitmix64): near seeds and steps give unrelated generators."""
    value = 0
    for part in (seed, step, stream):
        value = (value + part + 0x9E3779B97F4A7C15) % 2**64
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
        value ^= value >> 31
    return value % 2**63
