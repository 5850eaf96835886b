"""TADAM (Oreshkin et al. 2018): the task modulates every convolution; classes are told apart by scaled distances."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .film import Film


class TaskConditioning(nn.Module):
    """γ = γ0 g(c̄) + 1 and β = β0 h(c̄) for every modulated map, g and h residual MLPs of three layers.

    c̄ is the mean of the *positive* support features, since here only they share a class. γ0 and β0 start at zero, so
    that training starts from ProtoNet; `penalty` is their squared norm.
    """

    def __init__(self, features: int, channels: Sequence[int]):
        super().__init__()
        self.gammas = nn.ModuleList(_ResidualMLP(features, c) for c in channels)
        self.betas = nn.ModuleList(_ResidualMLP(features, c) for c in channels)
        self.gamma0 = nn.ParameterList(torch.zeros(c) for c in channels)
        self.beta0 = nn.ParameterList(torch.zeros(c) for c in channels)

    def forward(self, task: Tensor) -> Film:
        """c̄ (E, D) -> γ and β, (E, C) each, by layer."""
        parts = zip(self.gammas, self.betas, self.gamma0, self.beta0, strict=True)
        return [(gamma0 * g(task) + 1, beta0 * h(task)) for g, h, gamma0, beta0 in parts]

    def penalty(self) -> Tensor:
        """Σ |γ0|² + |β0|²."""
        return sum(p.square().sum() for p in [*self.gamma0, *self.beta0])


class _ResidualMLP(nn.Module):
    def __init__(self, features: int, outputs: int):
        super().__init__()
        self.first, self.second = nn.Linear(features, outputs), nn.Linear(outputs, outputs)
        self.third = nn.Linear(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        x = x + self.second(x).relu()
        return x + self.third(x)


def per_image(film: Film, images: int) -> Film:
    """(E, C) modulations of episodes, repeated for the images of each, (E * images, C)."""
    return [(g.repeat_interleave(images, 0), b.repeat_interleave(images, 0)) for g, b in film]
