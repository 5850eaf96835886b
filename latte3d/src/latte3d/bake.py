"""A texture for a mesh: unwrap it, find the surface point of every texel, ask the colour field there, fill seams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from .rasterizer import PackedMeshes, interpolate
from .textured_mesh import TexturedMesh
from .torch_rasterizer import TorchRasterizer


def unwrap(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """UV charts by xatlas: the vertex that each new one copies (N,), faces (F, 3) of new ones, their uvs (N, 2).

    Raises:
        ValueError: xatlas is not installed.
    """
    try:
        import xatlas
    except ImportError as error:
        raise ValueError("texture baking needs xatlas: pip install 'latte3d[bake]'") from error
    arrays = vertices.detach().cpu().numpy().astype(np.float32), faces.cpu().numpy().astype(np.uint32)
    copies, charts, uvs = xatlas.parametrize(*arrays)
    return tuple(
        torch.as_tensor(part.astype(kind)) for part, kind in ((copies, np.int64), (charts, np.int64), (uvs, "f4"))
    )


def texel_positions(vertices: Tensor, faces: Tensor, uvs: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """The surface point (R, R, 3) under each texel's centre, and whether there is one (R, R)."""
    flat = torch.cat([uvs * 2 - 1, torch.zeros_like(uvs[:, :1]), torch.ones_like(uvs[:, :1])], -1)
    zeros = torch.zeros(len(vertices), dtype=torch.long), torch.zeros(len(faces), dtype=torch.long)
    packed = PackedMeshes(vertices, faces, *zeros, 1, faces)
    raster = TorchRasterizer().rasterize(flat, packed, (resolution, resolution))
    return interpolate(vertices, faces, raster)[0], raster.tri_id[0] > 0


def fill_seams(texture: Tensor, known: Tensor) -> Tensor:
    """Give texels outside of all charts the colour of the nearest one inside: bilinear look-ups reach across borders.

    Raises:
        ValueError: no texel is known.
    """
    if not known.any():
        raise ValueError("no texel lies inside a chart: raise the texture's resolution")
    rows, columns = distance_transform_edt(~known.numpy(), return_distances=False, return_indices=True)
    return texture[torch.as_tensor(rows), torch.as_tensor(columns)]


def bake_texture(
    vertices: Tensor, faces: Tensor, color: Callable[[Tensor], Tensor], resolution: int = 512
) -> TexturedMesh:
    """A mesh with a texture of resolution² texels.

    Args:
        vertices: (V, 3). faces: (F, 3). color: positions (P, 3) -> RGB (P, 3).
    """
    copies, charts, uvs = unwrap(vertices, faces)
    split = vertices.detach()[copies]
    positions, known = texel_positions(split, charts, uvs, resolution)
    texture = torch.zeros(resolution, resolution, 3)
    with torch.no_grad():
        texture[known] = color(positions[known]).float()
    return TexturedMesh(split, charts, uvs=uvs, texture=fill_seams(texture, known))
