"""Which student answers for which condition: V = V_0 ⊔ ... ⊔ V_{K-1} (the paper's framework).

The paper asks for disjoint parts of equal size whose conditions are alike: consecutive class indices on ImageNet,
four "quadrants" of pooled text embeddings for prompts. `Partition.kmeans` is here as the alternative it reports.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Partition:
    """`assignment[c]` is the student of condition c.

    Args:
        assignment: shape (C,), int64, every student 0 ... K-1 at least once.
    Raises:
        ValueError: not such a vector, or a student without conditions.
    """

    assignment: Tensor

    def __post_init__(self):
        a = self.assignment
        if a.ndim != 1 or a.dtype != torch.int64 or not len(a):
            raise ValueError(f"assignment must be an int64 vector, got {a.dtype} of shape {tuple(a.shape)}")
        if a.min() < 0:
            raise ValueError(f"assignment must hold students from 0, got {int(a.min())}")
        empty = (torch.bincount(a) == 0).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"students {empty} have no condition: number the students 0 ... K-1 without a gap")

    @property
    def students(self) -> int:
        """K."""
        return int(self.assignment.max()) + 1

    @property
    def conditions(self) -> int:
        """C."""
        return len(self.assignment)

    def part(self, student: int) -> Tensor:
        """V_k: the conditions of one student, ascending, int64."""
        if not 0 <= student < self.students:
            raise ValueError(f"there are students 0 ... {self.students - 1}, got {student}")
        return (self.assignment == student).nonzero().flatten()

    @classmethod
    def contiguous(cls, conditions: int, students: int) -> Partition:
        """Consecutive conditions together, sizes equal or one apart."""
        _check_counts(conditions, students)
        return cls(torch.arange(conditions) * students // conditions)

    @classmethod
    def random(cls, conditions: int, students: int, generator: torch.Generator) -> Partition:
        """The same sizes, conditions drawn at random: the paper's ablation."""
        order = torch.randperm(conditions, generator=generator)
        assignment = torch.empty(conditions, dtype=torch.int64)
        assignment[order] = cls.contiguous(conditions, students).assignment
        return cls(assignment)

    @classmethod
    def quadrants(cls, embeddings: Tensor) -> Partition:
        """Four equal cells: the median of the first principal component, then of each half the median of the second.

        Args:
            embeddings: shape (C, d), d >= 2, C >= 4. The paper does not state its axes; this is our reading.
        """
        _check_embeddings(embeddings)
        if len(embeddings) < 4 or embeddings.shape[1] < 2:
            raise ValueError(f"four quadrants need (C >= 4, d >= 2) embeddings, got {tuple(embeddings.shape)}")
        first, second = (embeddings.double() @ principal_axes(embeddings)).T
        upper = upper_half(first)
        assignment = torch.empty(len(embeddings), dtype=torch.int64)
        for half in (False, True):
            own = (upper == half).nonzero().flatten()
            assignment[own] = 2 * int(half) + upper_half(second[own]).long()
        return cls(assignment)

    @classmethod
    def kmeans(
        cls, embeddings: Tensor, students: int, generator: torch.Generator, balanced: bool = True, rounds: int = 20
    ) -> Partition:
        """Lloyd's iteration; balanced, each round assigns under equal sizes at least total cost.

        Args:
            embeddings: shape (C, d). The balanced assignment takes O(C³) time: for thousands of conditions, not
                millions.
        """
        _check_counts(len(embeddings), students)
        _check_embeddings(embeddings)
        x = embeddings.double()
        centres = x[torch.randperm(len(x), generator=generator)[:students]]
        assignment = torch.full((len(x),), -1)
        for _ in range(rounds):
            cost = torch.cdist(x, centres).square()  # (C, K)
            found = _balanced(cost) if balanced else _filled(cost)
            if torch.equal(found, assignment):
                break
            assignment = found
            centres = torch.stack([x[assignment == k].mean(0) for k in range(students)])
        return cls(assignment)


def principal_axes(embeddings: Tensor) -> Tensor:
    """The first two principal axes as columns, shape (d, 2), each with its largest entry positive."""
    x = embeddings.double()
    _, _, rows = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    axes = torch.zeros(2, x.shape[1], dtype=torch.float64)
    axes[: len(rows[:2])] = rows[:2]
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    return (axes * torch.where(signs == 0, 1.0, signs)).T


def upper_half(values: Tensor) -> Tensor:
    """Whether each value is among the larger half, ties broken by position: the halves differ by at most one."""
    rank = torch.empty(len(values), dtype=torch.int64)
    rank[values.argsort(stable=True)] = torch.arange(len(values))
    return rank >= (len(values) + 1) // 2


def _balanced(cost: Tensor) -> Tensor:
    """The cheapest assignment with sizes equal or one apart."""
    slots = Partition.contiguous(*cost.shape).assignment  # (C,): the student of each slot
    rows, chosen = linear_sum_assignment(cost[:, slots].numpy())
    found = torch.empty(len(cost), dtype=torch.int64)
    found[torch.from_numpy(np.asarray(rows))] = slots[torch.from_numpy(np.asarray(chosen))]
    return found


def _filled(cost: Tensor) -> Tensor:
    """The nearest centre; one that lost all its conditions takes the farthest condition of a larger part."""
    found = cost.argmin(1)
    for student in range(cost.shape[1]):
        if not (found == student).any():
            large = torch.bincount(found, minlength=cost.shape[1])[found] > 1
            own = cost.gather(1, found[:, None]).flatten().masked_fill(~large, -1)
            found[own.argmax()] = student
    return found


def _check_counts(conditions: int, students: int) -> None:
    if not 1 <= students <= conditions:
        raise ValueError(f"need 1 <= students <= conditions, got {students} students for {conditions} conditions")


def _check_embeddings(embeddings: Tensor) -> None:
    if embeddings.ndim != 2 or not bool(embeddings.isfinite().all()):
        raise ValueError(f"embeddings must be a finite (C, d) matrix, got shape {tuple(embeddings.shape)}")
