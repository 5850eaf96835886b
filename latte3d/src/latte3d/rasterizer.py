"""Triangles to pixels behind one interface, for meshes of any sizes in one batch; what follows needs no backend.

`Rasterizer.rasterize` says which triangle every pixel sees and where in it; `interpolate` carries attributes of
vertices there; `antialias` (antialias.py) makes silhouettes differentiable. Row 0 is at the top.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .cameras import Cameras


class PackedMeshes(NamedTuple):
    """One mesh for each of B images, one after another.

    vertices: (V, 3) world positions. faces: (F, 3) indices into all V. vertex_image (V,), face_image (F,): the image
    that each belongs to, ascending. images: B. outline: (F, 3), the faces with vertices at one place made one, so that
    an edge of two faces is not taken for two borders.
    """

    vertices: Tensor
    faces: Tensor
    vertex_image: Tensor
    face_image: Tensor
    images: int
    outline: Tensor

    def clip(self, cameras: Cameras) -> Tensor:
        """Clip positions (V, 4), each seen by the camera of its image."""
        matrix = cameras.clip_matrix().to(self.vertices)[self.vertex_image]
        return (matrix[:, :, :3] @ self.vertices[:, :, None]).squeeze(-1) + matrix[:, :, 3]


class RasterOutput(NamedTuple):
    """What pixels see.

    tri_id: (B, H, W), 1 + the index into the packed faces, 0 for background. bary: (B, H, W, 3) perspective-correct
    barycentric coordinates, 0 for background, differentiable in the clip positions. depth: (B, H, W), z/w in [-1, 1],
    1 for background.
    """

    tri_id: Tensor
    bary: Tensor
    depth: Tensor


class Rasterizer(Protocol):
    """A backend. Faces with a corner at or behind the camera plane are dropped whole; back faces are drawn."""

    def rasterize(self, clip: Tensor, meshes: PackedMeshes, size: tuple[int, int]) -> RasterOutput:
        """Draw packed meshes whose vertices are at clip (V, 4) into (height, width) pixels."""
        ...


def weld(vertices: Tensor, faces: Tensor) -> Tensor:
    """Faces that name the first of all vertices at one place: UV charts split them."""
    places, inverse = torch.unique(vertices, dim=0, return_inverse=True)
    index = torch.arange(len(vertices), device=faces.device)
    first = torch.full((len(places),), len(vertices), device=faces.device).scatter_reduce(0, inverse, index, "amin")
    return first[inverse][faces]


def pack(meshes: Sequence[tuple[Tensor, Tensor]], views: int = 1, welded: bool = False) -> PackedMeshes:
    """Pack (vertices, faces) pairs of any sizes, each for `views` images side by side.

    welded: find vertices at one place, for meshes whose charts split them; isosurfaces have none.

    Raises:
        ValueError: no mesh, a mesh without faces, or faces that name vertices it lacks.
    """
    if not meshes:
        raise ValueError("expected at least one mesh to draw")
    vertices, faces, vertex_image, face_image, outline = [], [], [], [], []
    offset = 0
    for i, (v, f) in enumerate(meshes):
        if len(f) == 0:
            raise ValueError(f"mesh {i} of {len(meshes)} has no faces: it cannot be drawn")
        if int(f.min()) < 0 or int(f.max()) >= len(v):
            raise ValueError(f"mesh {i} has {len(v)} vertices, but its faces name {int(f.min())} to {int(f.max())}")
        outer = weld(v, f) if welded else f
        for view in range(views):
            vertices.append(v)
            faces.append(f + offset)
            outline.append(outer + offset)
            vertex_image.append(torch.full((len(v),), i * views + view, device=v.device))
            face_image.append(torch.full((len(f),), i * views + view, device=v.device))
            offset += len(v)
    joined = (torch.cat(part) for part in (vertices, faces, vertex_image, face_image))
    return PackedMeshes(*joined, len(meshes) * views, torch.cat(outline))


def interpolate(attributes: Tensor, faces: Tensor, raster: RasterOutput) -> Tensor:
    """Attributes of packed vertices (V, C) where pixels see them, (B, H, W, C); background is 0.

    Only pixels that see something cost anything, and gradients flow to attributes and, by `bary`, to positions.
    """
    seen = raster.tri_id > 0
    corners = attributes[faces[raster.tri_id[seen] - 1]]  # (P, 3, C)
    values = (raster.bary[seen][..., None] * corners).sum(1)
    return values.new_zeros(*seen.shape, attributes.shape[1]).index_put((seen,), values)


def camera_depth(clip: Tensor, faces: Tensor, raster: RasterOutput) -> Tensor:
    """Distance along the viewing axis in world units, (B, H, W); background is 0."""
    return interpolate(clip[:, 3:], faces, raster).squeeze(-1)


def get_rasterizer(name: str = "auto") -> Rasterizer:
    """`torch`, `nvdiffrast`, or the latter where it is installed beside a CUDA device.

    Raises:
        ValueError: an unknown name, or nvdiffrast where it is not installed.
    """
    from .nvdiffrast_backend import NvdiffrastRasterizer
    from .torch_rasterizer import TorchRasterizer

    installed = importlib.util.find_spec("nvdiffrast") is not None
    if name == "auto":
        name = "nvdiffrast" if installed and torch.cuda.is_available() else "torch"
    if name == "torch":
        return TorchRasterizer()
    if name != "nvdiffrast":
        raise ValueError(f"no rasterizer {name!r}: choose auto, torch or nvdiffrast")
    if not installed:
        raise ValueError("nvdiffrast is not installed: install it from its repository, or choose the rasterizer torch")
    return NvdiffrastRasterizer()
