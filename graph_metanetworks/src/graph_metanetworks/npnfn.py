"""NP-NFN: linear maps of an MLP's weights that commute with permutations of all its neurons (Zhou et al. 2023).

    H(W)^i_jk = Σ_s a1^{i,s} W^s_** + a2^i W^i_*k + a2'^i W^{i-1}_k* + a3^i W^i_j* + a3'^i W^{i+1}_*j + a4^i W^i_jk

A star is a mean. Biases take part in the same way: they are weights from a neuron that is always one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .batch import NetBatch

Weights = list[tuple[Tensor, Tensor]]  # for each layer W (B, n_i, n_{i-1}, c) and b (B, n_i, c)


def np_linear(weights: Sequence[Tensor], a1: Tensor, a: Tensor) -> list[Tensor]:
    """The map above on weights alone, one channel. weights: L matrices (n_i, n_{i-1}). a1: (L, L). a: (L, 5)."""
    result, means = [], torch.stack([W.mean() for W in weights])
    for i, W in enumerate(weights):
        H = a1[i] @ means + a[i, 0] * W.mean(0)[None, :] + a[i, 2] * W.mean(1)[:, None] + a[i, 4] * W
        if i > 0:
            H = H + a[i, 1] * weights[i - 1].mean(1)[None, :]
        if i + 1 < len(weights):
            H = H + a[i, 3] * weights[i + 1].mean(0)[:, None]
        result.append(H)
    return result


class NPLinear(nn.Module):
    """The same with channels and biases: a linear map of concatenated features for each layer's weights and biases."""

    def __init__(self, layers: int, inputs: int, outputs: int):
        super().__init__()
        shared = 2 * layers * inputs
        self.weight_maps, self.bias_maps = nn.ModuleList(), nn.ModuleList()
        for i in range(layers):
            before, after = int(i > 0), int(i + 1 < layers)
            self.weight_maps.append(nn.Linear(shared + inputs * (4 + 2 * before + after), outputs))
            self.bias_maps.append(nn.Linear(shared + inputs * (2 + after), outputs))

    def forward(self, weights: Weights) -> Weights:
        means = torch.cat([x for W, b in weights for x in (W.mean((1, 2)), b.mean(1))], -1)  # (B, 2 L c)
        result = []
        for i, (W, b) in enumerate(weights):
            rows, columns = W.shape[1:3]
            by_row = [W.mean(2), b]
            by_column = [W.mean(1)]
            if i > 0:
                by_column += [weights[i - 1][0].mean(2), weights[i - 1][1]]
            if i + 1 < len(weights):
                by_row.append(weights[i + 1][0].mean(1))
            row, column = torch.cat(by_row, -1), torch.cat(by_column, -1)
            world = means[:, None].expand(-1, rows, -1)
            parts = [
                W,
                row[:, :, None].expand(-1, -1, columns, -1),
                column[:, None].expand(-1, rows, -1, -1),
                world[:, :, None].expand(-1, -1, columns, -1),
            ]
            result.append((self.weight_maps[i](torch.cat(parts, -1)), self.bias_maps[i](torch.cat([row, world], -1))))
        return result


class NPNFN(nn.Module):
    """Edits an MLP's parameters: NP layers with ReLU, the order of inputs and outputs as learned features.

    sizes: n_0 .. n_L of the MLP, whose state is (weight, bias) per layer in order.
    """

    def __init__(self, sizes: Sequence[int], width: int = 16, depth: int = 3, scale: float = 0.01):
        super().__init__()
        self.sizes = list(sizes)
        layers = len(sizes) - 1
        widths = [2] + [width] * (depth - 1) + [1]
        self.first = nn.Parameter(0.1 * torch.randn(sizes[0]))
        self.last = nn.Parameter(0.1 * torch.randn(sizes[-1]))
        self.maps = nn.ModuleList(NPLinear(layers, a, b) for a, b in itertools.pairwise(widths))
        self.scale = nn.Parameter(torch.tensor(scale))

    def split(self, flat: Tensor) -> Weights:
        """(B, P) -> weights and biases with one channel.

        Raises:
            ValueError: P is not that of such an MLP.
        """
        expected = sum(n * m + n for m, n in zip(self.sizes, self.sizes[1:], strict=False))
        if flat.shape[1] != expected:
            raise ValueError(f"an MLP {self.sizes} has {expected} parameters, got {flat.shape[1]}")
        found, start = [], 0
        for m, n in zip(self.sizes, self.sizes[1:], strict=False):
            weight = flat[:, start : start + n * m].reshape(-1, n, m, 1)
            start += n * m
            found.append((weight, flat[:, start : start + n, None]))
            start += n
        return found

    def forward(self, batch: NetBatch) -> list[Tensor]:
        (flat,) = [flat for _, flat in batch.groups]
        weights = self.split(flat)
        marks = [(torch.zeros_like(W), torch.zeros_like(b)) for W, b in weights]
        marks[0] = (marks[0][0] + self.first[:, None], marks[0][1])
        marks[-1] = (marks[-1][0] + self.last[:, None, None], marks[-1][1] + self.last[:, None])
        x = [(torch.cat([W, m], -1), torch.cat([b, n], -1)) for (W, b), (m, n) in zip(weights, marks, strict=True)]
        for number, layer in enumerate(self.maps):
            x = layer(x)
            if number + 1 < len(self.maps):
                x = [(W.relu(), b.relu()) for W, b in x]
        change = torch.cat([part.flatten(1) for W, b in x for part in (W, b)], 1)
        return [flat + self.scale * change]
