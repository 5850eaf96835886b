"""From a request to its student: one network runs per request, whatever K."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .partition import Partition, principal_axes, upper_half


class ClassRouter(nn.Module):
    """Looks a label up in the partition: labels (N,) int64 -> students (N,) int64."""

    assignment: Tensor

    def __init__(self, partition: Partition):
        super().__init__()
        self.register_buffer("assignment", partition.assignment.clone())

    @property
    def students(self) -> int:
        return int(self.assignment.max()) + 1

    def forward(self, labels: Tensor) -> Tensor:
        """Raises ValueError: labels that are no int64 vector, or out of range."""
        if labels.ndim != 1 or labels.dtype != torch.int64:
            raise ValueError(f"labels must be an int64 vector, got {labels.dtype} of shape {tuple(labels.shape)}")
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < len(self.assignment)):
            raise ValueError(
                f"labels must be in 0 ... {len(self.assignment) - 1}, got {int(labels.min())} ... {int(labels.max())}"
            )
        return self.assignment[labels]


class EmbeddingRouter(nn.Module):
    """Places pooled text embeddings in the four quadrants of `Partition.quadrants`: (N, d) -> students (N,).

    Args:
        axes: (d, 2), the two principal axes. cuts: (3,), the median along the first, and along the second in the lower
            and in the upper half.
    Raises:
        ValueError: axes or cuts of other shapes; at a call, embeddings that are not (N, d).
    """

    axes: Tensor
    cuts: Tensor

    def __init__(self, axes: Tensor, cuts: Tensor):
        super().__init__()
        if axes.ndim != 2 or axes.shape[1] != 2 or cuts.shape != (3,):
            raise ValueError(f"axes must be (d, 2) and cuts (3,), got {tuple(axes.shape)} and {tuple(cuts.shape)}")
        self.register_buffer("axes", axes.float())
        self.register_buffer("cuts", cuts.float())

    students = 4

    @classmethod
    def quadrants(cls, embeddings: Tensor) -> EmbeddingRouter:
        """The router whose answers on `embeddings` are `Partition.quadrants(embeddings)`."""
        Partition.quadrants(embeddings)  # checks them
        axes = principal_axes(embeddings)
        first, second = (embeddings.double() @ axes).T
        upper = upper_half(first)
        cuts = [between(first, upper)]
        for half in (False, True):
            own = second[upper == half]
            cuts.append(between(own, upper_half(own)))
        return cls(axes, torch.stack(cuts))

    def forward(self, embeddings: Tensor) -> Tensor:
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.axes):
            raise ValueError(f"embeddings must be (N, {len(self.axes)}), got {tuple(embeddings.shape)}")
        first, second = (embeddings.float() @ self.axes).T
        upper = (first >= self.cuts[0]).long()
        return 2 * upper + (second >= self.cuts[1:][upper]).long()


def between(values: Tensor, upper: Tensor) -> Tensor:
    """Halfway from the largest value below to the smallest above."""
    return (values[~upper].max() + values[upper].min()) / 2


def route(students: Sequence[Callable[..., Tensor]], chosen: Tensor, *inputs: Tensor) -> Tensor:
    """Each input row through its own student, in the order of the rows; every student that is needed runs once.

    Args:
        students: K networks, called with the rows of `inputs` that are theirs.
        chosen: (N,) int64, the student of each row. inputs: tensors whose first dimension is N.
    Raises:
        ValueError: no rows, or a student that is not there.
    """
    if not len(chosen):
        raise ValueError("route needs at least one request, got none")
    counts = torch.bincount(chosen.cpu(), minlength=len(students)).tolist()
    if len(counts) > len(students):
        raise ValueError(f"there are students 0 ... {len(students) - 1}, got {len(counts) - 1}")
    if max(counts) == len(chosen):  # all rows are one student's: nothing to sort
        return students[counts.index(len(chosen))](*inputs)
    order = chosen.argsort(stable=True)
    parts, start = [], 0
    for student, count in zip(students, counts, strict=True):
        if count:
            rows = order[start : start + count]
            parts.append(student(*(x[rows] for x in inputs)))
            start += count
    sorted_outputs = torch.cat(parts)
    outputs = torch.empty_like(sorted_outputs)
    outputs[order] = sorted_outputs
    return outputs
