"""nvdiffrast (CUDA) behind the interface of `Rasterizer`; it is imported only when an image is drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from .rasterizer import PackedMeshes, RasterOutput


def face_ranges(meshes: PackedMeshes) -> Tensor:
    """First face and number of faces of each image, (B, 2) int32 on the CPU, as nvdiffrast's range mode wants it."""
    count = torch.bincount(meshes.face_image, minlength=meshes.images)
    return torch.stack([count.cumsum(0) - count, count], -1).to("cpu", torch.int32)


def from_nvdiffrast(rast: Tensor) -> RasterOutput:
    """Its (B, H, W, 4) of u, v, z/w and triangle (row 0 at the bottom) as ours.

    u and v belong to the first two corners; the third takes the rest.
    """
    flipped = rast.flip(1)
    u, v, depth, triangle = flipped.unbind(-1)
    seen = triangle > 0
    bary = torch.stack([u, v, 1 - u - v], -1) * seen[..., None]
    return RasterOutput(triangle.detach().round().long(), bary, torch.where(seen, depth.detach(), 1.0))


class NvdiffrastRasterizer:
    """Range mode: packed meshes are drawn in one launch."""

    def __init__(self):
        self._context = None

    def rasterize(self, clip: Tensor, meshes: PackedMeshes, size: tuple[int, int]) -> RasterOutput:
        """See `Rasterizer`.

        Raises:
            ValueError: tensors that are not on a CUDA device.
        """
        if not clip.is_cuda:
            raise ValueError(
                f"nvdiffrast draws on CUDA devices only, got a tensor on {clip.device}: use torch's backend"
            )
        import nvdiffrast.torch as dr

        if self._context is None:
            self._context = dr.RasterizeCudaContext(device=clip.device)
        rast, _ = dr.rasterize(
            self._context, clip.float().contiguous(), meshes.faces.int(), list(size), ranges=face_ranges(meshes)
        )
        return from_nvdiffrast(rast)
