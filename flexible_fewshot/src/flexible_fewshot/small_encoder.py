"""The encoder of the CPU experiments: four convolutions for images of 16 to 64 pixels."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from .film import Film, modulate


class SmallEncoder(nn.Module):
    """conv3x3-BN-ReLU with width, 2, 4 and 8 times width channels; the first of stride 2, pooling before the last two.

    `maps` gives the last map (B, D, H/8, W/8) and calling it h, its average over space, (B, D); D = 8 width.
    """

    def __init__(self, width: int = 16):
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 8 * width]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2 if n == 0 else 1, padding=1, bias=False)
            for n, (i, o) in enumerate(itertools.pairwise(widths))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths[1:])
        self.pool = nn.MaxPool2d(2)
        self.channels = widths[1:]  # of the maps that a task may modulate
        self.features = widths[-1]

    def maps(self, x: Tensor, film: Film | None = None) -> Tensor:
        for n, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if n >= 2:
                x = self.pool(x)
            x = modulate(norm(conv(x)), film, n).relu()
        return x

    def forward(self, x: Tensor, film: Film | None = None) -> Tensor:
        return self.maps(x, film).mean((-2, -1))
