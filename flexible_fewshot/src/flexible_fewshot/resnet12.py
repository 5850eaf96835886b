"""ResNet-12, the backbone of the paper: as in TADAM, for 84-pixel images with an 11 x 11 last map."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from .film import Film, modulate


class Block(nn.Module):
    """Three 3x3 convolutions with batch norm and a 1x1 shortcut; add, pool, ReLU (none after the last block)."""

    def __init__(self, inputs: int, outputs: int, pool: int, last: bool):
        super().__init__()
        widths = [inputs, outputs, outputs, outputs]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in itertools.pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(3))
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        pad = nn.ConstantPad2d((0, 2 - pool, 0, 2 - pool), -torch.inf)  # a pool of stride 1 keeps the size
        self.pool = nn.Sequential(pad, nn.MaxPool2d(2, stride=pool, ceil_mode=True))
        self.last = last

    def forward(self, x: Tensor, film: Film | None, first: int) -> Tensor:
        shortcut = self.shortcut(x)
        for n, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = modulate(norm(conv(x)), film, first + n)
            if n < 2:
                x = x.relu()
        x = self.pool(x + shortcut)
        return x if self.last else x.relu()


class ResNet12(nn.Module):
    """Four blocks of 1, 2, 4 and 8 times `width` channels, pooled with strides 2, 2, 2, 1: 84-42-21-11-11 pixels.

    Poolings round up; the last is padded by one (with -inf) to keep 11 x 11. width = 64 has 7,996,800 parameters,
    width = 32 has 2,001,600. `features` is D = 8 width; h is the last map's average.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 8 * width]
        self.blocks = nn.ModuleList(
            Block(i, o, pool=2 if n < 3 else 1, last=n == 3) for n, (i, o) in enumerate(itertools.pairwise(widths))
        )
        self.channels = [width * 2 ** (n // 3) for n in range(12)]  # of the maps that a task may modulate
        self.features = widths[-1]

    def maps(self, x: Tensor, film: Film | None = None) -> Tensor:
        """(B, 3, 84, 84) -> (B, D, 11, 11)."""
        for n, block in enumerate(self.blocks):
            x = block(x, film, 3 * n)
        return x

    def forward(self, x: Tensor, film: Film | None = None) -> Tensor:
        return self.maps(x, film).mean((-2, -1))
