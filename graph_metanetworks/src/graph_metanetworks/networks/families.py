"""The architectures of the zoo: six families of classifiers of 8x8 digits; each has its width as only parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .equivariant import EquivariantLinear


def pixels(images: Tensor) -> Tensor:
    """(n, 8, 8) -> (n, 64)."""
    return images.flatten(1)


def maps(images: Tensor) -> Tensor:
    """(n, 8, 8) -> (n, 1, 8, 8)."""
    return images[:, None]


def patches(images: Tensor) -> Tensor:
    """(n, 8, 8) -> 16 patches of 2x2 pixels, (n, 16, 4)."""
    return images.unflatten(1, (4, 2)).unflatten(3, (4, 2)).transpose(2, 3).flatten(3).flatten(1, 2)


def placed_patches(images: Tensor) -> Tensor:
    """Patches, spread to [-2, 2], with sin and cos of their row and column, (n, 16, 8): a set knows no order."""
    place = torch.arange(4.0) * torch.pi / 4
    row, column = (grid.flatten() for grid in torch.meshgrid(place, place, indexing="ij"))
    code = torch.stack([row.sin(), row.cos(), column.sin(), column.cos()], -1)
    return torch.cat([4 * patches(images) - 2, 2 * code.expand(len(images), -1, -1).to(images)], -1)


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def cnn(width: int, norm: bool = False) -> nn.Module:
    """Three 3x3 convolutions, two of stride 2, global pooling."""
    layers: list[nn.Module] = []
    for inputs, stride in ((1, 1), (width, 2), (width, 2)):
        layers.append(nn.Conv2d(inputs, width, 3, stride, padding=1))
        layers += [nn.GroupNorm(2, width)] if norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def normalised_cnn(width: int) -> nn.Module:
    return cnn(width, norm=True)


class ResidualCNN(nn.Module):
    """A stem of stride 2, a residual block with group norms, global pooling."""

    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, 2, padding=1)
        self.first = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(2, width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(2, width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.second(self.first(x)))
        return self.head(x.mean((2, 3)))


def deep_sets(width: int) -> nn.Module:
    """Two equivariant layers of twice the width, each with a norm, mean over the set."""
    hidden = 2 * width
    first, second = EquivariantLinear(8, hidden), EquivariantLinear(hidden, hidden)
    return nn.Sequential(
        first,
        nn.LayerNorm(hidden),
        nn.GELU(),
        second,
        nn.LayerNorm(hidden),
        nn.GELU(),
        SetMean(),
        nn.Linear(hidden, 10),
    )


class SetMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class ViT(nn.Module):
    """16 patches, learned positions, one encoder block of two heads with the norms first, mean over tokens."""

    def __init__(self, width: int):
        super().__init__()
        self.embed = nn.Linear(4, width)
        self.position = nn.Parameter(0.1 * torch.randn(1, 16, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.down(torch.nn.functional.gelu(self.up(self.norm2(x))))
        return self.head(x.mean(1))


@dataclass(frozen=True)
class Family:
    """build: width -> network. read: images (n, 8, 8) -> its input. rate: multiplies its learning rates."""

    build: Callable[[int], nn.Module]
    read: Callable[[Tensor], Tensor]
    rate: float = 1.0


FAMILIES = {
    "mlp": Family(mlp, pixels),
    "cnn": Family(cnn, maps),
    "cnn_norm": Family(normalised_cnn, maps),
    "residual": Family(ResidualCNN, maps),
    "deep_sets": Family(deep_sets, placed_patches, rate=0.25),
    "vit": Family(ViT, patches),
}
