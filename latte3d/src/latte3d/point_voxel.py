"""Features of coloured clouds by point-voxel convolution (PVCNN): neighbours meet in voxels, details stay in points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def grid_coordinates(points: Tensor, resolution: int) -> Tensor:
    """Cells (..., D) of points in [-1, 1]^D; what lies outside goes to the nearest cell."""
    return ((points + 1) / 2 * resolution).long().clamp(0, resolution - 1)


def scatter_mean(features: Tensor, cell: Tensor, cells: int) -> Tensor:
    """Mean of the features (B, N, C) of each cell (B, N), 0 where it is empty; (B, cells, C)."""
    batch = torch.arange(len(features), device=cell.device)[:, None] * cells
    flat = (cell + batch).flatten()
    total = features.new_zeros(len(features) * cells, features.shape[-1]).index_add(0, flat, features.flatten(0, 1))
    count = torch.bincount(flat, minlength=len(total)).clamp(min=1)
    return (total / count[:, None]).view(len(features), cells, -1)


def voxelise(points: Tensor, features: Tensor, resolution: int) -> Tensor:
    """Points (B, N, 3) with features (B, N, C) to a grid (B, C, R, R, R) of means, axes x, y, z."""
    x, y, z = grid_coordinates(points, resolution).unbind(-1)
    grid = scatter_mean(features, (x * resolution + y) * resolution + z, resolution**3)
    return grid.transpose(1, 2).unflatten(2, (resolution,) * 3)


def devoxelise(grid: Tensor, points: Tensor) -> Tensor:
    """Trilinear features (B, N, C) at points (B, N, 3) of a grid (B, C, R, R, R) with axes x, y, z."""
    at = points.flip(-1)[:, :, None, None]  # grid_sample wants the last axis first
    found = F.grid_sample(grid, at, mode="bilinear", padding_mode="border", align_corners=False)
    return found.flatten(2).transpose(1, 2)


def scatter_to_planes(points: Tensor, features: Tensor, resolution: int) -> Tensor:
    """Means of features on the planes yz, xz and xy, (B, 3, C, R, R)."""
    cells = grid_coordinates(points, resolution)
    planes = []
    for dropped in range(3):
        u, v = (cells[..., axis] for axis in range(3) if axis != dropped)
        plane = scatter_mean(features, u * resolution + v, resolution**2)
        planes.append(plane.transpose(1, 2).unflatten(2, (resolution, resolution)))
    return torch.stack(planes, 1)


class PointVoxelBlock(nn.Module):
    """Two 3³ convolutions on voxels, read back at the points, plus a linear layer on the points themselves."""

    def __init__(self, inputs: int, width: int, resolution: int):
        super().__init__()
        self.resolution = resolution
        # group norm, not batch norm: a single cloud at inference sees what training saw
        self.voxels = nn.Sequential(
            nn.Conv3d(inputs, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.LeakyReLU(0.1),
            nn.Conv3d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.LeakyReLU(0.1),
        )
        self.points = nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU(0.1))

    def forward(self, points: Tensor, features: Tensor) -> Tensor:
        grid = self.voxels(voxelise(points, features, self.resolution))
        return devoxelise(grid, points) + self.points(features)


class PointVoxelEncoder(nn.Module):
    """Coloured clouds (B, N, 6) to features (B, N, widths[-1]).

    Args:
        widths, resolutions: of each block; widths are multiples of 8.
    Raises:
        ValueError: not one resolution for each width; from a call, clouds of another shape.
    """

    def __init__(self, widths: Sequence[int] = (32,), resolutions: Sequence[int] = (12,)):
        super().__init__()
        if len(widths) != len(resolutions) or not widths:
            raise ValueError(
                f"expected one voxel resolution for each width, got {list(widths)} and {list(resolutions)}"
            )
        sizes = [6, *widths]
        self.blocks = nn.ModuleList(
            PointVoxelBlock(i, o, r) for i, o, r in zip(sizes[:-1], widths, resolutions, strict=True)
        )

    def forward(self, clouds: Tensor) -> Tensor:
        if clouds.ndim != 3 or clouds.shape[-1] != 6:
            raise ValueError(f"expected coloured clouds (B, N, 6) of xyz and rgb, got {tuple(clouds.shape)}")
        features = torch.cat([clouds[..., :3], clouds[..., 3:] * 2 - 1], -1)
        for block in self.blocks:
            features = block(clouds[..., :3], features)
        return features
