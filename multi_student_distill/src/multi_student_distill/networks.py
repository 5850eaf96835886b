"""The networks F of denoisers: a residual MLP for small data, and EDM's ADM U-Net, which is diffusers' UNet2DModel.

All are called as net(x, c_noise, labels); with `features=True` they also return their bottleneck.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

PATTERN = re.compile(r"(mlp|unet)-(\d+(?:-\d+)*)x(\d+)")
ADM_SIZES = {  # the paper's teacher, and the sizes that give its stated reductions of 42 and 71 % (inferred)
    "teacher": "unet-192-384-576-768x3",
    "small": "unet-160-320-320-640x3",
    "smaller": "unet-128-256-256-512x2",
}


class ResidualMLP(nn.Module):
    """RMSNorm - Linear - plus embedding - SiLU - Linear blocks over a vector; the output starts at zero.

    Args:
        shape: of one sample, which is flattened. classes: C. width, layers: of the residual stream.
    """

    frequencies: Tensor

    def __init__(self, shape: Sequence[int], classes: int, width: int = 256, layers: int = 3, waves: int = 8):
        super().__init__()
        self.shape, size = tuple(shape), math.prod(shape)
        waves_of = 2 * math.pi * 2.0 ** torch.linspace(-3, 2, waves, dtype=torch.float32)  # alike in any precision
        self.register_buffer("frequencies", waves_of, persistent=False)
        self.inlet = nn.Linear(size, width)
        self.noise = nn.Linear(2 * waves, width)
        self.label = nn.Embedding(classes, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(layers))
        self.outlet = nn.Linear(width, size)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor, features: bool = False):
        """x (N, *shape), c_noise (N,), labels (N,) -> (N, *shape), and with `features` the last stream (N, width)."""
        angle = c_noise[:, None] * self.frequencies
        embedding = silu(self.noise(torch.cat([angle.sin(), angle.cos()], -1)) + self.label(labels))
        h = self.inlet(x.flatten(1))
        for block in self.blocks:
            h = block(h, embedding)
        out = self.outlet(h).reshape(x.shape)
        return (out, h) if features else out


class ResidualBlock(nn.Module):
    """One block of `ResidualMLP`."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        return h + self.second(silu(self.first(self.norm(h)) + embedding))


class ImageUNet(nn.Module):
    """EDM's ADM network as diffusers' UNet2DModel, with attention on every level but the first.

    Args:
        shape: (channels, S, S). classes: C. channels: of each level. blocks: of each level.
    """

    def __init__(self, shape: Sequence[int], classes: int, channels: Sequence[int], blocks: int = 3):
        super().__init__()
        self.unet = build_unet(shape, classes, channels, blocks)

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor, features: bool = False):
        """x (N, C, S, S), c_noise (N,), labels (N,) -> (N, C, S, S), and with `features` the mid block's output."""
        return with_bottleneck(self.unet, features, x, c_noise, class_labels=labels)


def with_bottleneck(unet: nn.Module, features: bool, *inputs, **conditions):
    """The prediction of a diffusers U-Net, and with `features` what its mid block gave."""
    if not features:
        return unet(*inputs, **conditions, return_dict=False)[0]
    found: list[Tensor] = []
    handle = unet.mid_block.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    try:
        out = unet(*inputs, **conditions, return_dict=False)[0]
    finally:
        handle.remove()
    return out, found[0]


def build_unet(shape: Sequence[int], classes: int, channels: Sequence[int], blocks: int):
    """The diffusers model whose forward pass is that of EDM's ADM network for the same weights.

    Raises:
        ValueError: images that the levels do not divide, or channels that the groups do not.
    """
    from diffusers import UNet2DModel

    levels, groups = len(channels), min(32, min(channels) // 4)
    if levels < 2 or len(shape) != 3 or shape[1] != shape[2] or shape[1] % 2 ** (levels - 1):
        raise ValueError(f"{levels} levels need at least two and images (C, S, S) that they halve, got {tuple(shape)}")
    if not groups or any(c % groups for c in channels):
        raise ValueError(f"every level's channels must be a multiple of {max(groups, 4)}, got {list(channels)}")
    head = min(64, *channels[1:])
    return UNet2DModel(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        block_out_channels=tuple(channels),
        layers_per_block=blocks,
        down_block_types=("ResnetDownsampleBlock2D", *["AttnDownBlock2D"] * (levels - 1)),
        up_block_types=(*["AttnUpBlock2D"] * (levels - 1), "ResnetUpsampleBlock2D"),
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=head,
        norm_num_groups=groups,
        attn_norm_num_groups=groups,
        num_class_embeds=classes,
        dropout=0.0,
    )


def build_network(name: str, shape: Sequence[int], classes: int) -> nn.Module:
    """A network by name: `mlp-WIDTHxLAYERS` or `unet-CHANNELS-CHANNELS...xBLOCKS`.

    Raises:
        ValueError: no such name.
    """
    found = PATTERN.fullmatch(name)
    if not found:
        raise ValueError(f"unknown network {name!r}: expected mlp-64x2 or unet-32-64x1, width and depth as you like")
    sizes, depth = [int(s) for s in found[2].split("-")], int(found[3])
    if not depth or not min(sizes) or (found[1] == "mlp" and len(sizes) > 1):
        raise ValueError(f"network {name!r}: sizes must be positive, and one width for an MLP")
    if found[1] == "mlp":
        return ResidualMLP(shape, classes, sizes[0], depth)
    return ImageUNet(shape, classes, sizes, depth)


def bottleneck_shape(name: str, shape: Sequence[int]) -> tuple[int, int | None]:
    """Channels of a network's bottleneck, and its side for images."""
    found = PATTERN.fullmatch(name)
    sizes = [int(s) for s in found[2].split("-")]
    return (sizes[0], None) if found[1] == "mlp" else (sizes[-1], shape[1] // 2 ** (len(sizes) - 1))


def parameter_count(module: nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in module.parameters())
