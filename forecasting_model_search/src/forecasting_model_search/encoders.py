"""Embeddings of checkpoints for the deep kernel: none (DyHPO), FLAT, STAT and NFN. The graph metanetwork has its own
file.

Every encoder maps stacks of checkpoints to (n, out). `out` is 0 where weights are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .parameter_graph import ParameterGraph
from .weights import Checkpoint, Stack, stack_checkpoints

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class WeightEncoder(nn.Module):
    """Base: `encode` one stack of a single architecture, (B, out)."""

    out: int = 0

    def encode(self, stack: Stack) -> Tensor:
        raise NotImplementedError

    def forward(self, checkpoints: Sequence[Checkpoint | None]) -> Tensor:
        """(n, out), in the order of the checkpoints; zeros where there is none."""
        device = next(self.parameters()).device
        stacks = stack_checkpoints(checkpoints, device)
        if not stacks:
            return torch.zeros(len(checkpoints), self.out, device=device)
        embedded = self.encode_all(stacks)
        if len(stacks) == 1 and len(embedded) == len(checkpoints):
            return embedded
        order = torch.cat([stack.rows for stack in stacks])
        return embedded.new_zeros(len(checkpoints), embedded.shape[1]).index_copy(0, order, embedded)

    def encode_all(self, stacks: list[Stack]) -> Tensor:
        """(n, out), one stack behind the other."""
        return torch.cat([self.encode(stack) for stack in stacks])


class NoEncoder(WeightEncoder):
    """Weights are not looked at: the surrogate of DyHPO."""

    def forward(self, checkpoints):
        return torch.zeros(len(checkpoints), 0)


class FlatEncoder(WeightEncoder):
    """All weights in a row, zeros behind them to a common length, and one linear layer. Not permutation-invariant.

    Args:
        length: the common one; longer networks are refused.
        out: size of the embedding.
    """

    def __init__(self, length: int, out: int = 128):
        super().__init__()
        self.length, self.out = length, out
        self.linear = nn.Linear(length, out)

    def encode(self, stack: Stack) -> Tensor:
        row = torch.cat([tensor.flatten(1) for tensor in stack.weights.values()], 1)  # (B, P)
        if row.shape[1] > self.length:
            raise ValueError(f"FLAT was made for up to {self.length} parameters, got a network of {row.shape[1]}")
        return self.linear(nn.functional.pad(row, (0, self.length - row.shape[1])))


class StatEncoder(WeightEncoder):
    """Mean, variance and five quantiles of every tensor, batch norm, one linear layer. Invariant and cheap.

    Tensors are matched by their place, so networks of other architectures share a column with what stands there.

    Args:
        tensors: how many tensors the largest architecture has. out: size of the embedding.
    """

    def __init__(self, tensors: int, out: int = 32):
        super().__init__()
        self.tensors, self.out = tensors, out
        width = tensors * (2 + len(QUANTILES))
        self.norm = nn.BatchNorm1d(width)
        self.linear = nn.Linear(width, out)
        self.register_buffer("quantiles", torch.tensor(QUANTILES), persistent=False)

    def statistics(self, stack: Stack) -> Tensor:
        """(B, tensors, 7)."""
        if len(stack.weights) > self.tensors:
            raise ValueError(f"STAT was made for up to {self.tensors} tensors, got a network of {len(stack.weights)}")
        columns = []
        for tensor in stack.weights.values():
            row = tensor.flatten(1)
            moments = [row.mean(1, keepdim=True), row.var(1, correction=0, keepdim=True)]
            columns.append(torch.cat([*moments, row.quantile(self.quantiles, dim=1).T], 1))
        known = torch.stack(columns, 1)
        return nn.functional.pad(known, (0, 0, 0, self.tensors - known.shape[1]))

    def encode_all(self, stacks: list[Stack]) -> Tensor:
        rows = torch.cat([self.statistics(stack).flatten(1) for stack in stacks])
        if self.training and len(rows) == 1:  # batch statistics need two rows
            return self.linear(torch.zeros_like(rows))
        return self.linear(self.norm(rows))


class NPLinear(nn.Module):
    """Linear map of weights and biases that commutes with permutations of hidden neurons (neural functional network,
    NP).

    A weight W_l (B, c, out, in) receives itself, its row and column means, its mean, the column means of the layer
    above, the row means of the layer below, the bias beside and below it; a bias receives itself, the mean of its row,
    and its mean.
    """

    def __init__(self, layers: int, inputs: int, outputs: int):
        super().__init__()
        self.for_weight = nn.ModuleList(nn.Linear(9 * inputs, outputs) for _ in range(layers))
        self.for_bias = nn.ModuleList(nn.Linear(5 * inputs, outputs) for _ in range(layers))

    def forward(self, weights: list[Tensor], biases: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Channels last: weights (B, out, in, c), biases (B, out, c)."""
        new_weights, new_biases = [], []
        for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
            rows, columns, mean = w.mean(2, keepdim=True), w.mean(1, keepdim=True), w.mean((1, 2), keepdim=True)
            above = weights[layer + 1].mean(1)[:, :, None] if layer + 1 < len(weights) else torch.zeros_like(rows)
            below = weights[layer - 1].mean(2)[:, None] if layer else torch.zeros_like(columns)
            bias_below = biases[layer - 1][:, None] if layer else torch.zeros_like(columns)
            beside = b[:, :, None]
            parts = [w, rows, columns, mean, above, below, beside, bias_below, b.mean(1)[:, None, None]]
            new_weights.append(self.for_weight[layer](torch.cat([p.expand_as(w) for p in parts], -1)))
            parts = [b, w.mean(2), above[:, :, 0], b.mean(1, keepdim=True), w.mean((1, 2))[:, None]]
            new_biases.append(self.for_bias[layer](torch.cat([p.expand_as(b) for p in parts], -1)))
        return new_weights, new_biases


class NFNEncoder(WeightEncoder):
    """Two NP-linear layers on one chain of linear layers, learned codes of inputs and outputs, mean pool, linear layer.

    Args:
        graph: the one architecture that it reads. channels: of the hidden layer. out: size of the embedding.
    """

    def __init__(self, graph: ParameterGraph, channels: int = 32, out: int = 128):
        super().__init__()
        self.graph, self.out = graph, out
        names = [name.removesuffix(".weight") for name in graph.names if name.endswith(".weight")]
        shapes = dict(graph.shapes)
        if graph.names != [f"{n}.{kind}" for n in names for kind in ("weight", "bias")] or any(
            len(shapes[f"{n}.weight"]) < 2 for n in names
        ):
            raise ValueError(f"NFN reads one chain of layers with biases, got the tensors {', '.join(graph.names)}")
        self.layers = names
        sets = [graph.joints[0].source, *(j.target for j in graph.joints if j.name.endswith("weight"))]
        self.places = [j.shape[2] for j in graph.joints if j.name.endswith("weight")]
        inputs = max(self.places)
        self.input_code = nn.Parameter(torch.randn(graph.node_sets[sets[0]].size, inputs) * 0.1)
        self.output_code = nn.Parameter(torch.randn(graph.node_sets[sets[-1]].size, inputs) * 0.1)
        self.first, self.second = NPLinear(len(names), inputs, channels), NPLinear(len(names), channels, channels)
        self.linear = nn.Linear(2 * len(names) * channels, out)
        self.inputs = inputs

    def encode(self, stack: Stack) -> Tensor:
        if stack.graph != self.graph:
            raise ValueError("NFN reads the one architecture that it was made for; GMN and STAT read several")
        weights, biases = [], []
        for name, places in zip(self.layers, self.places, strict=True):
            w = stack.weights[f"{name}.weight"]
            scale = w.flatten(1).std(1).clamp_min(1e-8)[:, None, None, None]
            w = w.reshape(len(w), w.shape[1], -1, places) / scale
            weights.append(nn.functional.pad(w, (0, self.inputs - places)))
            biases.append(stack.weights[f"{name}.bias"][..., None].repeat(1, 1, self.inputs))
        weights[0] = weights[0] + self.input_code
        biases[-1] = biases[-1] + self.output_code
        weights, biases = self.first(weights, biases)
        weights, biases = self.second([w.relu() for w in weights], [b.relu() for b in biases])
        pooled = [w.relu().mean((1, 2)) for w in weights] + [b.relu().mean(1) for b in biases]
        return self.linear(torch.cat(pooled, 1))
