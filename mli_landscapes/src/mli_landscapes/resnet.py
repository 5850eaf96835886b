"""ResNets for CIFAR, depth 6n + 2, in four variants: what normalises a block, and does it start as identity?

`bn`     BatchNorm after every convolution (He et al. 2016, with the parameter-free shortcut "A").
`bn-i`   the same, but the gain of each block's last BatchNorm starts at 0 (Goyal et al. 2017).
`nbn-i`  no BatchNorm; a scalar gain on each residual branch starts at 0 (SkipInit, De & Smith 2020).
`fixup`  no BatchNorm; Fixup's scalars and initialisation (Zhang, Dauphin & Ma 2019).

In the last three, every block passes on its (non-negative) input at initialisation.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64)  # channels of the three stages; a stage after the first halves the resolution


def convolution(inputs: int, outputs: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """3 x 3, padded to keep the size, He-normal by fan-out; a bias starts at 0."""
    layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def scalar(value: float) -> nn.Parameter:
    """A learned number, shape ()."""
    return nn.Parameter(torch.tensor(value))


def shortcut(x: Tensor, channels: int, stride: int) -> Tensor:
    """Every stride-th pixel, then zero channels at the end: (B, C, H, W) -> (B, channels, H/stride, W/stride)."""
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, channels - x.shape[1]))


class BNStem(nn.Sequential):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(convolution(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU())


class PlainStem(nn.Sequential):
    """Convolution with bias, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(convolution(inputs, outputs, bias=True), nn.ReLU())


class FixupStem(nn.Module):
    """Convolution, scalar bias, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = convolution(inputs, outputs)
        self.bias = scalar(0.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + self.bias)


class Block(nn.Module):
    """relu(shortcut(x) + branch(x)); abstract.

    Args:
        inputs, outputs: channels before and after.
        stride: of the first convolution and the shortcut.
        branches: how many residual branches the network has (L); Fixup alone scales by it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, branches: int):
        super().__init__()
        self.outputs, self.stride = outputs, stride

    @abstractmethod
    def branch(self, x: Tensor) -> Tensor:
        """The residual: (B, inputs, H, W) -> (B, outputs, H/stride, W/stride)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H/stride, W/stride)."""
        return F.relu(shortcut(x, self.outputs, self.stride) + self.branch(x))


class BNBlock(Block):
    """Convolution, BatchNorm, ReLU, convolution, BatchNorm."""

    last_gain = 1.0

    def __init__(self, inputs: int, outputs: int, stride: int, branches: int):
        super().__init__(inputs, outputs, stride, branches)
        self.conv1, self.bn1 = convolution(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = convolution(outputs, outputs), nn.BatchNorm2d(outputs)
        nn.init.constant_(self.bn2.weight, self.last_gain)

    def branch(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))


class BNIdentityBlock(BNBlock):
    """A `BNBlock` whose last gain starts at 0."""

    last_gain = 0.0


class GainBlock(Block):
    """Convolution, ReLU, convolution, times a scalar gain that starts at 0; convolutions have biases."""

    def __init__(self, inputs: int, outputs: int, stride: int, branches: int):
        super().__init__(inputs, outputs, stride, branches)
        self.conv1 = convolution(inputs, outputs, stride, bias=True)
        self.conv2 = convolution(outputs, outputs, bias=True)
        self.gain = scalar(0.0)

    def branch(self, x: Tensor) -> Tensor:
        return self.gain * self.conv2(F.relu(self.conv1(x)))


class FixupBlock(Block):
    """Convolutions between scalar biases, times a scalar gain: gain conv2(relu(conv1(x + b1) + b2) + b3) + b4.

    The first convolution starts as He's times L^(-1/2) (L^(-1/(2m-2)) with m = 2 convolutions in a branch), the second
    at 0, gain 1, biases 0.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, branches: int):
        super().__init__(inputs, outputs, stride, branches)
        self.conv1 = convolution(inputs, outputs, stride)
        self.conv2 = convolution(outputs, outputs)
        self.bias1, self.bias2, self.bias3, self.bias4 = (scalar(0.0) for _ in range(4))
        self.gain = scalar(1.0)
        with torch.no_grad():
            self.conv1.weight.mul_(branches**-0.5)
            self.conv2.weight.zero_()

    def branch(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.conv1(x + self.bias1) + self.bias2)
        return self.gain * self.conv2(hidden + self.bias3) + self.bias4


class FixupHead(nn.Module):
    """Scalar bias, then a linear classifier that starts at 0: (B, features) -> (B, classes)."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.bias = scalar(0.0)
        self.linear = nn.Linear(features, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x + self.bias)


class Variant(NamedTuple):
    """The three kinds of parts that a network is made of."""

    stem: type[nn.Module]
    block: type[Block]
    head: type[nn.Module]


VARIANTS = {
    "bn": Variant(BNStem, BNBlock, nn.Linear),
    "bn-i": Variant(BNStem, BNIdentityBlock, nn.Linear),
    "nbn-i": Variant(PlainStem, GainBlock, nn.Linear),
    "fixup": Variant(FixupStem, FixupBlock, FixupHead),
}


class ResNet(nn.Module):
    """Stem, three stages of n blocks, mean over pixels, classifier.

    Args:
        depth: 6n + 2; the paper takes 20, 32, 44, 56.
        variant: `bn`, `bn-i`, `nbn-i` or `fixup`; see the module.
        classes: k.
        channels: of the images, 3 or 1; their size is free, from 8 x 8.
    Raises:
        ValueError: another depth or an unknown variant.
    """

    def __init__(self, depth: int = 20, variant: str = "bn", classes: int = 10, channels: int = 3):
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth must be 6n + 2 with n >= 1 (20, 32, 44, 56 in the paper), got {depth}")
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r}, choose from {', '.join(VARIANTS)}")
        parts = VARIANTS[variant]
        self.stem = parts.stem(channels, WIDTHS[0])
        self.blocks = nn.Sequential(*_blocks(parts.block, (depth - 2) // 6))
        self.head = parts.head(WIDTHS[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, classes)."""
        features = self.blocks(self.stem(images))  # (B, 64, H/4, W/4)
        return self.head(features.mean((2, 3)))


def _blocks(block: type[Block], per_stage: int) -> list[Block]:
    blocks, inputs = [], WIDTHS[0]
    for width in WIDTHS:
        for _ in range(per_stage):
            stride = 1 if width == inputs else 2
            blocks.append(block(inputs, width, stride, len(WIDTHS) * per_stage))
            inputs = width
    return blocks
