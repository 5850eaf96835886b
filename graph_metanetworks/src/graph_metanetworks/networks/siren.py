"""SIRENs (Sitzmann et al. 2020): MLPs with sines that hold an image or a signal in their weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Siren(nn.Module):
    """sin(ω (W x + b)) layers and a linear last one, plus a constant. Keys: seq.{i}.weight, seq.{i}.bias.

    sizes: n_0 .. n_L. omega: ω. shift: added to the output.
    """

    def __init__(self, sizes: Sequence[int], omega: float = 30.0, shift: float = 0.5):
        super().__init__()
        self.omega, self.shift = omega, shift
        self.seq = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.seq[:-1]:
            x = torch.sin(self.omega * layer(x))
        return self.seq[-1](x) + self.shift


def split_layers(flat: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """(B, P) -> weights (B, n_i, n_{i-1}) and biases (B, n_i) of each layer, in the order of the state dict."""
    found, start = [], 0
    for inputs, outputs in pairwise(sizes):
        weight = flat[:, start : start + inputs * outputs].unflatten(1, (outputs, inputs))
        start += inputs * outputs
        found.append((weight, flat[:, start : start + outputs]))
        start += outputs
    if start != flat.shape[1]:
        raise ValueError(f"an MLP {list(sizes)} has {start} parameters, got {flat.shape[1]}")
    return found


def run_sirens(flat: Tensor, x: Tensor, sizes: Sequence[int], omega: float, shift: float = 0.5) -> Tensor:
    """B SIRENs at the same n points. flat: (B, P). x: (n, n_0). Returns (B, n, n_L)."""
    layers = split_layers(flat, sizes)
    h = x.to(flat).expand(len(flat), -1, -1)
    for i, (weight, bias) in enumerate(layers):
        h = torch.baddbmm(bias[:, None], h, weight.transpose(1, 2))
        h = torch.sin(omega * h) if i + 1 < len(layers) else h + shift
    return h


def initial_sirens(count: int, sizes: Sequence[int], omega: float, generator: torch.Generator) -> Tensor:
    """SIREN's own random initialisation, (count, P)."""
    parts = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        bound = 1 / inputs if i == 0 else math.sqrt(6 / inputs) / omega
        parts.append(bound * (2 * torch.rand(count, inputs * outputs, generator=generator) - 1))
        parts.append(
            (2 * torch.rand(count, outputs, generator=generator) - 1) / math.sqrt(inputs) * (1 if i == 0 else bound)
        )
    return torch.cat(parts, 1)


def fit_sirens(
    targets: Tensor,
    x: Tensor,
    sizes: Sequence[int],
    omega: float,
    steps: int,
    rate: float,
    seed: int,
    shift: float = 0.5,
    chunk: int = 512,
) -> tuple[Tensor, Tensor]:
    """One SIREN per target from its own random start, all at once, by full-batch Adam.

    Args:
        targets: (B, n, n_L). x: (n, n_0).
    Returns:
        Flat parameters (B, P) and mean squared errors (B,).
    """
    generator = torch.Generator().manual_seed(seed)
    start = initial_sirens(len(targets), sizes, omega, generator)
    flats, errors = [], []
    for flat, target in zip(start.split(chunk), targets.split(chunk), strict=True):
        flat = flat.clone().requires_grad_()
        optimizer = torch.optim.Adam([flat], lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, rate / 20)
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            error = (run_sirens(flat, x, sizes, omega, shift) - target).square().mean((1, 2))
            error.sum().backward()
            optimizer.step()
            schedule.step()
        flats.append(flat.detach())
        with torch.no_grad():
            errors.append((run_sirens(flat, x, sizes, omega, shift) - target).square().mean((1, 2)))
    return torch.cat(flats), torch.cat(errors)


def image_grid(rows: int, columns: int) -> Tensor:
    """(rows · columns, 2): (x, y) of every pixel in [-1, 1], row by row; x runs along a row."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)
