"""Antialiasing by pixel pairs, as nvdiffrast describes it: a pair reads the edge from the nearer pixel's triangle."""

from __future__ import annotations

import torch
from torch import Tensor

from latte3d.rasterizer import PackedMeshes, RasterOutput
from latte3d.torch_rasterizer import cross2, to_screen


def silhouette_edges(faces: Tensor, screen: Tensor) -> Tensor:
    """Whether each of a face's edges (F, 3) is a border, or between a front and a back face."""
    a, b, c = screen[faces].unbind(1)
    front = cross2(b - a, c - a) < 0
    corners = torch.arange(3)
    ends = torch.stack([faces[:, corners], faces[:, (corners + 1) % 3]], -1).sort(-1).values
    key = (ends[..., 0] * len(screen) + ends[..., 1]).flatten()
    unique, inverse = torch.unique(key, return_inverse=True)
    facing = front.repeat_interleave(3).long()
    fronts = torch.zeros_like(unique).index_add(0, inverse, facing)
    count = torch.bincount(inverse)
    kept = ((fronts > 0) & (fronts < count)) | (count == 1)
    return kept[inverse].view(-1, 3)


def antialias_by_pixel_pairs(color: Tensor, raster: RasterOutput, clip: Tensor, meshes: PackedMeshes) -> Tensor:
    """The picture (B, H, W, C) with pairs of neighbours blended."""
    size = raster.tri_id.shape[1:]
    screen = to_screen(clip, size)
    silhouette = silhouette_edges(meshes.faces, screen.detach())
    for axis in (2, 1):  # right neighbours, then lower ones
        color = _blend_along(axis, color, raster, screen, meshes.faces, silhouette)
    return color


def _blend_along(axis: int, color: Tensor, raster: RasterOutput, screen: Tensor, faces: Tensor, silhouette: Tensor):
    count = raster.tri_id.shape[axis] - 1
    first, second = (raster.tri_id.narrow(axis, start, count) for start in (0, 1))
    image, y, x = torch.nonzero(first != second, as_tuple=True)
    step = torch.tensor([axis == 2, axis == 1]).long()  # x, y
    other = (image, y + step[1], x + step[0])
    nearer_first = raster.depth[image, y, x] < raster.depth[other]
    tri = torch.where(nearer_first, raster.tri_id[image, y, x], raster.tri_id[other]) - 1
    centre = torch.stack([x, y], -1) + 0.5
    along, across = (0, 1) if axis == 2 else (1, 0)
    for k in range(3):
        a, b = screen[faces[tri, k]], screen[faces[tri, (k + 1) % 3]]
        rise = b[:, across] - a[:, across]
        share = (centre[:, across] - a[:, across]) / torch.where(rise.abs() < 1e-9, 1e-9, rise)
        at = a[:, along] + share * (b[:, along] - a[:, along]) - centre[:, along]  # from the first centre, in pixels
        hit = silhouette[tri, k] & (share >= 0) & (share < 1) & (at >= 0) & (at <= 1)
        here = tuple(index[hit] for index in (image, y, x))
        there = tuple(index[hit] for index in other)
        distance = torch.where(nearer_first, at, 1 - at)[hit]  # from the foreground
        foreground = [torch.where(nearer_first[hit], i, j) for i, j in zip(here, there, strict=True)]
        background = [torch.where(nearer_first[hit], j, i) for i, j in zip(here, there, strict=True)]
        grows = distance > 0.5
        target = tuple(torch.where(grows, j, i) for i, j in zip(foreground, background, strict=True))
        source = tuple(torch.where(grows, i, j) for i, j in zip(foreground, background, strict=True))
        color = color.index_put(
            target, (distance - 0.5).abs()[:, None] * (color[source] - color[target]), accumulate=True
        )
    return color
