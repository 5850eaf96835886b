"""Class activation maps: where in an image a linear readout sees its evidence."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def cam(encoder: nn.Module, weight: Tensor, bias: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """w·f(u, v) on the last map, whose average over space plus b is the logit.

    Args:
        encoder: with `maps`. weight: (D,). bias: (). images: (B, 3, H, W) in [0, 1].
    Returns:
        Maps (B, h, w) and logits (B,).
    Raises:
        ValueError: the weight has not one entry for every feature.
    """
    encoder.eval()
    with torch.no_grad():
        maps = encoder.maps(images)
    if weight.shape != maps.shape[1:2]:
        raise ValueError(f"the encoder has {maps.shape[1]} features, the weight is {tuple(weight.shape)}")
    activation = torch.einsum("bdhw,d->bhw", maps, weight)
    return activation, activation.mean((-2, -1)) + bias


def unstandardised(weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The linear rule on h itself, of one that was fitted to (h - mean) / scale."""
    return weight / scale, bias - (weight * mean / scale).sum(-1)
