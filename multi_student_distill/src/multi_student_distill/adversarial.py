"""The adversarial stage (DMD2): a small head on the fake score's bottleneck tells real from generated, both noised.

The head's loss is propagated into the fake score's backbone; in the student's step both are frozen.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import softplus


def gan_generator_loss(fake_logits: Tensor) -> Tensor:
    """softplus(-D(fake)): ln 2 at zero logits."""
    return softplus(-fake_logits).mean()


def gan_discriminator_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """softplus(D(fake)) + softplus(-D(real)): 2 ln 2 at zero logits."""
    return softplus(fake_logits).mean() + softplus(-real_logits).mean()


class ImageHead(nn.Module):
    """Bottleneck (N, C, S, S) -> logits (N,): convolutions down to one number, group norms between.

    Args:
        channels: C. size: S; at 8 these are DMD2's Conv4 s2 - GN32 - SiLU - Conv4 s4 - GN32 - SiLU - Conv1.
    """

    def __init__(self, channels: int, size: int):
        super().__init__()
        if size < 1 or channels % min(32, channels):
            raise ValueError(f"need a size >= 1 and channels divisible by their groups, got {size} and {channels}")
        groups = min(32, channels)
        layers: list[nn.Module] = []
        while size >= 8:
            layers += [nn.Conv2d(channels, channels, 4, 2, 1), nn.GroupNorm(groups, channels), nn.SiLU()]
            size //= 2
        layers += [nn.Conv2d(channels, channels, size), nn.GroupNorm(groups, channels), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).flatten()


class VectorHead(nn.Module):
    """Bottleneck (N, C) -> logits (N,)."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, channels), nn.RMSNorm(channels), nn.SiLU(), nn.Linear(channels, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).flatten()
