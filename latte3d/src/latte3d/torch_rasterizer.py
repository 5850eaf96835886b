"""A rasterizer in pure torch whose cost is linear in fragments: pixel centres inside the screen boxes of triangles."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .rasterizer import PackedMeshes, RasterOutput

DEPTH_STEPS = 2**31 - 1  # depth and face share one 62-bit key: the least key is the nearest face


def to_screen(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixel coordinates (..., 2) as (x, y), y down; the centre of the first pixel is at (0.5, 0.5)."""
    height, width = size
    ndc = clip[..., :2] / clip[..., 3:]
    return torch.stack([(ndc[..., 0] + 1) * width / 2, (1 - ndc[..., 1]) * height / 2], -1)


def cross2(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


class TorchRasterizer(NamedTuple):
    """fragment_budget: fragments held at once; memory is about 200 bytes each."""

    fragment_budget: int = 2_000_000

    def rasterize(self, clip: Tensor, meshes: PackedMeshes, size: tuple[int, int]) -> RasterOutput:
        """See `Rasterizer`.

        Raises:
            ValueError: clip positions that are not (V, 4) of these meshes, or not finite.
        """
        if clip.shape != (len(meshes.vertices), 4):
            raise ValueError(f"expected clip positions ({len(meshes.vertices)}, 4), got {tuple(clip.shape)}")
        if not torch.isfinite(clip).all():
            raise ValueError("clip positions are not finite: look for NaN in the vertices or cameras")
        with torch.no_grad():
            winner, depth = self._nearest(clip.double(), meshes, size)
        return RasterOutput(winner, barycentric(clip, meshes.faces, winner, size), depth.to(clip.dtype))

    def _nearest(self, clip: Tensor, meshes: PackedMeshes, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """tri_id and depth (B, H, W) by the least key of all fragments."""
        height, width = size
        screen, z = to_screen(clip, size)[meshes.faces], (clip[:, 2] / clip[:, 3])[meshes.faces]  # (F, 3, 2), (F, 3)
        area = cross2(screen[:, 1] - screen[:, 0], screen[:, 2] - screen[:, 0])
        drawn = (clip[meshes.faces, 3] > 0).all(-1) & (area != 0)
        limit = torch.tensor([width - 1, height - 1], device=clip.device)
        corners = torch.where(drawn[:, None, None], screen, 0)
        low = (corners.amin(1) - 0.5).ceil().clamp(min=0).minimum(limit + 1).long()  # (F, 2): first, last pixel centre
        high = (corners.amax(1) - 0.5).floor().minimum(limit).clamp(min=-1).long()
        extent = (high - low + 1).clamp(min=0)
        fragments = torch.where(drawn, extent.prod(1), 0)  # (F,)

        none = DEPTH_STEPS << 31 | (2**31 - 1)
        keys = torch.full((meshes.images * height * width,), none, dtype=torch.long, device=clip.device)
        for chunk in self._chunks(fragments):
            count = fragments[chunk]
            face = chunk.repeat_interleave(count)
            place = torch.arange(len(face), device=clip.device) - (count.cumsum(0) - count).repeat_interleave(count)
            across = extent[face, 0]
            x, y = low[face, 0] + place % across, low[face, 1] + place // across
            weights = edge_weights(screen[face], torch.stack([x, y], -1) + 0.5) / area[face, None]
            at = (weights * z[face]).sum(-1)
            inside = (weights >= 0).all(-1) & (at.abs() <= 1)
            pixel = (meshes.face_image[face] * height + y) * width + x
            key = ((at + 1) / 2 * (DEPTH_STEPS - 1)).long() << 31 | face
            keys.scatter_reduce_(0, pixel[inside], key[inside], "amin")
        keys = keys.view(meshes.images, height, width)
        seen = keys != none
        depth = (keys >> 31).double() / (DEPTH_STEPS - 1) * 2 - 1
        return torch.where(seen, (keys & (2**31 - 1)) + 1, 0), torch.where(seen, depth, 1.0)

    def _chunks(self, fragments: Tensor) -> list[Tensor]:
        """Indices of faces that have fragments, split so that each part stays near the budget."""
        faces = torch.nonzero(fragments).flatten()
        part = fragments[faces].cumsum(0) // self.fragment_budget
        return list(faces.split(torch.unique_consecutive(part, return_counts=True)[1].tolist())) if len(faces) else []


def edge_weights(corners: Tensor, points: Tensor) -> Tensor:
    """Twice the signed areas of a point with the edges opposite to each corner: (P, 3, 2), (P, 2) -> (P, 3)."""
    a, b, c = (corners - points[:, None]).unbind(1)
    return torch.stack([cross2(b, c), cross2(c, a), cross2(a, b)], -1)


def barycentric(clip: Tensor, faces: Tensor, tri_id: Tensor, size: tuple[int, int]) -> Tensor:
    """Perspective-correct coordinates (B, H, W, 3) of pixel centres in the faces they see, differentiable in clip."""
    image, y, x = torch.nonzero(tri_id, as_tuple=True)
    corners = clip[faces[tri_id[image, y, x] - 1]]  # (P, 3, 4)
    points = torch.stack([x, y], -1).to(clip.dtype) + 0.5
    weights = edge_weights(to_screen(corners, size), points)
    weights = weights * weights.detach().sum(-1, keepdim=True).sign()  # both orientations are drawn
    weights = weights.clamp(min=0) / corners[..., 3]
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(clip.dtype).tiny)
    return weights.new_zeros(*tri_id.shape, 3).index_put((image, y, x), weights)
