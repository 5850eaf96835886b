"""Stage 1's renderer: density from signed distance (VolSDF, Yariv et al., NeurIPS 2021) and rays marched through it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .cameras import Cameras
from .marching_tetrahedra import grid_vertices
from .networks import Fields


def density(sdf: Tensor, beta: float | Tensor) -> Tensor:
    """σ = Ψ(-s) / β with the Laplace distribution's Ψ: (1 - e^{s/β} / 2) / β inside, e^{-s/β} / 2β outside."""
    decay = (-sdf.abs() / beta).exp() / 2
    return torch.where(sdf < 0, 1 - decay, decay) / beta


class Rendering(NamedTuple):
    """Images of B cameras: color (B, S, S, 3) over the background, opacity (B, S, S), depth (B, S, S), expected
    distance along the ray."""

    color: Tensor
    opacity: Tensor
    depth: Tensor


def box_interval(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (..., 3) enter and leave [-1, 1]³; equal where they miss it."""
    inverse = 1 / torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    first, second = (-1 - origins) * inverse, (1 - origins) * inverse
    near = first.minimum(second).amax(-1).clamp(min=0)
    return near, first.maximum(second).amin(-1).maximum(near)


def bake(fields: Fields, n: int) -> Tensor:
    """Signed distance and colour at the corners of n³ cells, (B, 4, n+1, n+1, n+1), axes x, y, z."""
    corners = grid_vertices(n, fields.geometry.dtype, fields.geometry.device).expand(len(fields.geometry), -1, -1)
    values = torch.cat([fields.sdf(corners)[..., None], fields.color(corners)], -1)
    return values.transpose(1, 2).unflatten(2, (n + 1,) * 3)


def eikonal(volume: Tensor) -> Tensor:
    """Mean (|∇s| - 1)² by central differences of a baked field's signed distance; it keeps the surface sharp."""
    sdf = volume[:, 0]
    spacing = 2 / (sdf.shape[-1] - 1)
    inner = [slice(None)] + [slice(1, -1)] * 3
    slopes = []
    for axis in (1, 2, 3):
        ahead, behind = list(inner), list(inner)
        ahead[axis], behind[axis] = slice(2, None), slice(None, -2)
        slopes.append((sdf[tuple(ahead)] - sdf[tuple(behind)]) / (2 * spacing))
    norm = (torch.stack(slopes, -1).square().sum(-1) + 1e-12).sqrt()
    return (norm - 1).square().mean()


class VolumeQuery(NamedTuple):
    """Reads a baked volume trilinearly: one evaluation of the networks serves all rays of all views."""

    volume: Tensor

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor]:
        at = points.flip(-1)[:, :, None, None]
        found = F.grid_sample(self.volume, at, padding_mode="border", align_corners=True).flatten(2)
        return found[:, 0], found[:, 1:].transpose(1, 2)


class FieldQuery(NamedTuple):
    """Evaluates the networks at every sample, for GPUs."""

    fields: Fields

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self.fields.sdf(points), self.fields.color(points)


class VolSDFRenderer(NamedTuple):
    """samples: on each ray, one in each of as many equal parts. size: of the square images."""

    size: int = 32
    samples: int = 32

    def __call__(
        self,
        query: VolumeQuery | FieldQuery,
        cameras: Cameras,
        beta: float | Tensor,
        background: Tensor,
        generator: torch.Generator | None = None,
    ) -> Rendering:
        """Render objects, each seen by the same number of cameras side by side.

        Args:
            query: points (B, P, 3) -> signed distance (B, P) and colour (B, P, 3) of B objects.
            cameras: B * views. background: RGB, (3,) or one for each camera (B * views, 3).
            generator: draws samples within their parts; without one they lie in the middle.
        """
        origins, directions = cameras.rays(self.size)  # (BV, S, S, 3)
        near, far = box_interval(origins, directions)
        part = torch.full((*near.shape, self.samples), 0.5, device=near.device)
        if generator is not None:
            part = torch.rand(part.shape, generator=generator).to(near)
        step = (far - near)[..., None] / self.samples
        distance = near[..., None] + (torch.arange(self.samples, device=near.device) + part) * step  # (BV, S, S, K)
        points = origins[..., None, :] + distance[..., None] * directions[..., None, :]

        objects = len(query.volume) if isinstance(query, VolumeQuery) else len(query.fields.geometry)
        if len(points) % objects:
            raise ValueError(f"expected as many cameras for each of {objects} objects, got {len(points)} cameras")
        sdf, color = query(points.view(objects, -1, 3))
        sdf, color = sdf.reshape(distance.shape), color.reshape(points.shape)
        return composite(density(sdf, beta) * step, color, distance, background)


def composite(thickness: Tensor, color: Tensor, distance: Tensor, background: Tensor) -> Rendering:
    """Emission and absorption along rays: thickness σδ (..., K), colour (..., K, 3), distance (..., K)."""
    passed = (-(thickness.cumsum(-1) - thickness)).exp()  # light that arrives at each sample
    weight = passed * (1 - (-thickness).exp())
    opacity = weight.sum(-1)
    behind = background.view(-1, 1, 1, 3) if background.ndim == 2 else background
    mixed = (weight[..., None] * color).sum(-2) + (1 - opacity)[..., None] * behind
    return Rendering(mixed, opacity, (weight * distance).sum(-1))
