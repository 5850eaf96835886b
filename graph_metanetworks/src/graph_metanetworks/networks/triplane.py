"""A triplane: features of a point in space as the sum of three planes' features at its projections."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sample_planes(planes: Tensor, points: Tensor) -> Tensor:
    """planes: (3, d, N, N) for xy, xz and yz. points: (B, n, 3) in [-1, 1]. Returns (B, n, d), bilinear."""
    pairs = points[..., [0, 1]], points[..., [0, 2]], points[..., [1, 2]]
    features = 0
    for plane, pair in zip(planes, pairs, strict=True):
        grid = pair.flip(-1)[:, :, None]  # grid_sample wants (column, row)
        batch = plane.expand(len(points), *plane.shape)
        features = features + F.grid_sample(batch, grid, align_corners=True)[..., 0].transpose(1, 2)
    return features


class Triplane(nn.Module):
    """Three planes of features: points (B, n, 3) in [-1, 1] -> features (B, n, d).

    Args:
        features: d. resolution: N of each plane, (d, N, N).
    """

    def __init__(self, features: int, resolution: int):
        super().__init__()
        self.planes = nn.Parameter(0.1 * torch.randn(3, features, resolution, resolution))

    def forward(self, points: Tensor) -> Tensor:
        return sample_planes(self.planes, points)
