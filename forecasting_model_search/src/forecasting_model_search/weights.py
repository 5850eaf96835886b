"""Checkpoints in stacks: those of one architecture become one tensor a parameter, so that an encoder reads all
at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .parameter_graph import ParameterGraph

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network and the graph of its architecture. `key` tells checkpoints apart (a cache may
    use it)."""

    weights: State
    graph: ParameterGraph
    key: str


@dataclass(frozen=True)
class Stack:
    """Weights of B networks of one architecture: name -> (B, ...). rows: their places among all that were stacked."""

    graph: ParameterGraph
    weights: dict[str, Tensor]
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)


def stack_checkpoints(checkpoints: Sequence[Checkpoint | None], device: torch.device | str = "cpu") -> list[Stack]:
    """One stack an architecture, in the order of first appearance. Values that are not finite become zeros.

    Places without a checkpoint are in no stack.
    """
    groups: dict[ParameterGraph, list[int]] = {}
    for row, checkpoint in enumerate(checkpoints):
        if checkpoint is not None:
            groups.setdefault(checkpoint.graph, []).append(row)
    stacks = []
    for graph, rows in groups.items():
        weights = {
            name: torch.stack([checkpoints[row].weights[name].float() for row in rows]).to(device).nan_to_num(0, 0, 0)
            for name, _ in graph.shapes
        }
        stacks.append(Stack(graph, weights, torch.tensor(rows, device=device)))
    return stacks


def fingerprint(weights: State) -> str:
    """A short hash of the numbers: equal weights have equal fingerprints."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.double().numpy().tobytes())  # numpy knows no bfloat16
    return digest.hexdigest()[:16]
