"""A multilayer perceptron as a list of weights with leading dimensions, so that runs and tasks are one product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

Weights = list[Tensor]  # W_1, b_1, W_2, b_2 ...: (..., in, out) and (..., 1, out)


def initial_weights(sizes: Sequence[int], seeds: Sequence[int]) -> Weights:
    """torch.nn.Linear's initial weights, U(±1/√inputs) biases included; one run per seed, the same seed starts alike.

    Args:
        sizes: inputs, hidden units ..., outputs.
        seeds: R of them.
    Returns:
        W (R, in, out) and b (R, 1, out) of each layer, float32.
    """
    runs = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        run = []
        for inputs, outputs in pairwise(sizes):
            uniform = 2 * torch.rand(inputs + 1, outputs, generator=generator) - 1
            run += (uniform / math.sqrt(inputs)).split([inputs, 1])
        runs.append(run)
    return [torch.stack(parts) for parts in zip(*runs, strict=True)]


def forward(weights: Weights, x: Tensor, last_linear: bool = True) -> Tensor:
    """Linear layers with ReLU between them; (..., n, in) -> (..., n, out), leading dimensions broadcast.

    Args:
        weights: W and b of every layer.
        x: inputs.
        last_linear: no ReLU after the last layer.
    """
    layers = len(weights) // 2
    for i in range(layers):
        x = x @ weights[2 * i] + weights[2 * i + 1]
        if i + 1 < layers or not last_linear:
            x = x.relu()
    return x
