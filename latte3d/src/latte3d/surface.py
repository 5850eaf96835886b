"""Stage 2's renderer: meshes to pixels, shaded at the surface point that each pixel sees, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .antialias import antialias
from .cameras import Cameras
from .marching_tetrahedra import grid_vertices, isosurface
from .networks import Fields
from .rasterizer import PackedMeshes, Rasterizer, RasterOutput, camera_depth, interpolate

Shade = Callable[[Tensor, RasterOutput], Tensor]


class SurfaceRendering(NamedTuple):
    """Images of N cameras: color (N, S, S, 3) over the background, mask (N, S, S) in [0, 1] with soft silhouettes,
    depth (N, S, S) along the viewing axis, 0 for background, and seen (N, S, S), True where there is a surface."""

    color: Tensor
    mask: Tensor
    depth: Tensor
    seen: Tensor


def render_surface(
    meshes: PackedMeshes, cameras: Cameras, size: int, shade: Shade, background: Tensor, rasterizer: Rasterizer
) -> SurfaceRendering:
    """Draw one mesh for each camera.

    Args:
        shade: (positions (N, S, S, 3), raster) -> RGB (N, S, S, 3); what it says of background pixels is not used.
        background: RGB, (3,) or (N, 3).
    """
    clip = meshes.clip(cameras)
    raster = rasterizer.rasterize(clip, meshes, (size, size))
    seen = (raster.tri_id > 0)[..., None]
    color = shade(interpolate(meshes.vertices, meshes.faces, raster), raster)
    behind = background.view(-1, 1, 1, 3) if background.ndim == 2 else background
    picture = torch.cat([torch.where(seen, color, behind.to(color)), seen.to(color)], -1)
    picture = antialias(picture, raster, clip, meshes)
    depth = camera_depth(clip, meshes.faces, raster)
    return SurfaceRendering(picture[..., :3], picture[..., 3], depth, seen.squeeze(-1))


def field_shade(fields: Fields, views: int) -> Shade:
    """The texture field at the positions of `views` images of each object."""

    def shade(positions: Tensor, raster: RasterOutput) -> Tensor:
        objects = len(positions) // views
        return fields.color(positions.view(objects, -1, 3)).view(positions.shape)

    return shade


def extract(fields: Fields, n: int) -> list[tuple[Tensor, Tensor]]:
    """Vertices and faces of each object by marching tetrahedra on n³ cells.

    Raises:
        ValueError: an object without a surface; it is named.
    """
    corners = grid_vertices(n, fields.geometry.dtype, fields.geometry.device).expand(len(fields.geometry), -1, -1)
    meshes = []
    for i, sdf in enumerate(fields.sdf(corners)):
        try:
            meshes.append(isosurface(sdf.view(n + 1, n + 1, n + 1)))
        except ValueError as error:
            raise ValueError(f"object {i} of {len(fields.geometry)}: {error}") from error
    return meshes


def sample_surface(
    vertices: Tensor, faces: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Points spread evenly by area: positions (count, 3), their faces (count,) and barycentric coordinates (count, 3).

    Raises:
        ValueError: the surface has no area.
    """
    a, b, c = vertices[faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1)
    if not float(area.sum()) > 0:
        raise ValueError(f"a surface of {len(faces)} faces has no area to put points on")
    face = torch.multinomial(area, count, replacement=True, generator=generator)
    root, share = torch.rand(2, count, generator=generator).to(vertices)
    root = root.sqrt()
    bary = torch.stack([1 - root, root * (1 - share), root * share], -1)
    return (bary[..., None] * vertices[faces[face]]).sum(1), face, bary
