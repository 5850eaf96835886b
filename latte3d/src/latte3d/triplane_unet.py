"""The triplane U-Net: three planes in, three latent planes out, text cross-attended after each residual block.

The planes share all convolutions and meet in self-attention at the coarsest resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, plus the input."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, inputs),
            nn.SiLU(),
            nn.Conv2d(inputs, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.skip = nn.Identity() if inputs == width else nn.Conv2d(inputs, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.layers(x)


class Attention(nn.Module):
    """Queries (B, Q, width) attend to keys (B, K, key_width), K may differ from Q; residual."""

    def __init__(self, width: int, key_width: int | None = None, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Linear(width, width, bias=False)
        self.keys_values = nn.Linear(key_width or width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, keys: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """mask (B, K): True where a key counts."""
        queries = self.norm(x)
        split = (self.queries(queries), *self.keys_values(queries if keys is None else keys).chunk(2, -1))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in split)  # (B, heads, N, d)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None])
        return x + self.out(seen.transpose(1, 2).flatten(2))


class Level(nn.Module):
    """A residual block on each plane, then the text."""

    def __init__(self, inputs: int, width: int, text_width: int):
        super().__init__()
        self.block = ResidualBlock(inputs, width)
        self.attention = Attention(width, text_width)

    def forward(self, planes: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """planes (B, 3, C, R, R)."""
        x = self.block(planes.flatten(0, 1)).unflatten(0, planes.shape[:2])
        return from_tokens(self.attention(to_tokens(x), text, mask), x.shape)


def to_tokens(planes: Tensor) -> Tensor:
    """(B, 3, C, R, R) -> (B, 3 R², C)."""
    return planes.movedim(2, -1).flatten(1, 3)


def from_tokens(tokens: Tensor, shape: torch.Size) -> Tensor:
    """Back to planes of a shape (B, 3, C, R, R)."""
    return tokens.unflatten(1, (shape[1], shape[3], shape[4])).movedim(-1, 2)


def resize(planes: Tensor, factor: float) -> Tensor:
    """Half the resolution by means, or a multiple by bilinear interpolation."""
    flat = planes.flatten(0, 1)
    if factor < 1:
        resized = F.avg_pool2d(flat, round(1 / factor))
    else:
        resized = F.interpolate(flat, scale_factor=factor, mode="bilinear", align_corners=False)
    return resized.unflatten(0, planes.shape[:2])


class TriplaneUNet(nn.Module):
    """Planes (B, 3, inputs, R, R) to features (B, 3, widths[0], R, R).

    Args:
        inputs: channels of the scattered features. widths: of each level, multiples of 8; R is halved between them.
        text_width: of the text's tokens.
    """

    def __init__(self, inputs: int, widths: Sequence[int] = (32, 64), text_width: int = 32):
        super().__init__()
        self.factor = 2 ** (len(widths) - 1)
        self.embedding = nn.Parameter(torch.randn(3, widths[0], 1, 1) * 0.02)  # which plane is which
        self.enter = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Level(i, o, text_width) for i, o in zip([widths[0], *widths], widths, strict=False))
        self.exchange = Attention(widths[-1])
        self.middle = Level(widths[-1], widths[-1], text_width)
        self.up = nn.ModuleList(
            Level(i + o, o, text_width) for i, o in zip([widths[-1], *widths[:0:-1]], widths[::-1], strict=False)
        )

    def forward(self, planes: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Raises ValueError: a resolution that is no multiple of 2^(levels - 1)."""
        if planes.shape[-1] % self.factor:
            raise ValueError(f"the planes' resolution must be a multiple of {self.factor}, got {planes.shape[-1]}")
        x = self.enter(planes.flatten(0, 1)).unflatten(0, planes.shape[:2]) + self.embedding
        kept = []
        for i, level in enumerate(self.down):
            x = level(x if i == 0 else resize(x, 0.5), text, mask)
            kept.append(x)
        x = from_tokens(self.exchange(to_tokens(x)), x.shape)
        x = self.middle(x, text, mask)
        for i, level in enumerate(self.up):
            x = level(torch.cat([x if i == 0 else resize(x, 2), kept.pop()], 2), text, mask)
        return x
