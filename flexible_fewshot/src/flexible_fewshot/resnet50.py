"""ResNet-50, the encoder for ImageNet-with-Attributes, with the parameter names of common SimCLR checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .film import Film, modulate
from .weights import load_weights

DEPTHS = (3, 4, 6, 3)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions with batch norm, four times wider at the end."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor, film: Film | None, layer: int) -> Tensor:
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        out = modulate(self.bn3(self.conv3(out)), film, layer)
        return (out + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet50(nn.Module):
    """width = 64 is ResNet-50: h has 2048 features, the last map of a 224-pixel image is 7 x 7.

    A task modulates the last normalisation of each of the 16 blocks.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs, self.channels = width, []
        for stage, depth in enumerate(DEPTHS):
            own, blocks = width * 2**stage, []
            for n in range(depth):
                blocks.append(Bottleneck(inputs, own, stride=2 if stage and n == 0 else 1))
                inputs = 4 * own
                self.channels.append(inputs)
            self.add_module(f"layer{stage + 1}", nn.ModuleList(blocks))
        self.features = inputs

    def maps(self, x: Tensor, film: Film | None = None) -> Tensor:
        x = self.pool(self.bn1(self.conv1(x)).relu())
        blocks = [block for stage in range(len(DEPTHS)) for block in getattr(self, f"layer{stage + 1}")]
        for layer, block in enumerate(blocks):
            x = block(x, film, layer)
        return x

    def forward(self, x: Tensor, film: Film | None = None) -> Tensor:
        return self.maps(x, film).mean((-2, -1))


def read_simclr_resnet50(path: str | Path, width: int = 64) -> ResNet50:
    """An off-the-shelf SimCLR ResNet-50: a state dict, or a dict with one under `state_dict` or `model`.

    Prefixes such as `module.`, `encoder.`, `backbone.` or `convnet.` are removed; heads and classifiers are left
    behind.

    Raises:
        ValueError: the file cannot be read without running code, or a weight of the encoder is missing or of another
            shape.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path}: not a file of plain tensors ({type(error).__name__}); save the state dict"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        raise ValueError(f"{path}: expected a state dict of tensors, got {type(content).__name__}")
    encoder = ResNet50(width)
    own = encoder.state_dict()
    found = {}
    for name, value in content.items():
        for start in (i for i in range(len(name)) if i == 0 or name[i - 1] == "."):
            if name[start:] in own and "projection" not in name[:start] and "target" not in name[:start]:
                found.setdefault(name[start:], value)
                break
    load_weights(encoder, found, str(path))
    return encoder
