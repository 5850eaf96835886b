"""Volume rendering of P prompts at once on nerfacc's batched functions: the same code on CPU and GPU.

σ and colour at samples in the box give weights w_i = T_i (1 − exp(−σ_i δ_i)), and the pixel Σ w_i c_i over the
background. nerfacc's packed functions need its CUDA kernels; `packed.py` uses them only where they work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from nerfacc import accumulate_along_rays, render_weight_from_density
from torch import Tensor, nn

from .background import ConstantBackground
from .cameras import Cameras
from .field import normals


@dataclass(frozen=True)
class RenderOutput:
    """Images of V views of P prompts.

    rgb (P, V, 3, H, W) in [0, 1]; opacity and depth (P, V, H, W), depth 0 where nothing is hit;
    normals (P, V, 3, H, W) weighted by opacity, or None; weights (P, R, S) of the samples; facing (P, R, S) is n·d,
    or None.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    weights: Tensor
    normals: Tensor | None = None
    facing: Tensor | None = None


class VolumeRenderer(nn.Module):
    """Renders fields over [-1, 1]³.

    Args:
        samples: S on each ray, between its entry into the box and its exit.
        resolution: H = W.
        importance: samples more, where the first S found matter (a second look-up).
    Raises:
        ValueError: sizes out of range.
    """

    def __init__(self, samples: int = 64, resolution: int = 64, importance: int = 0):
        super().__init__()
        if samples < 1 or resolution < 1 or importance < 0:
            raise ValueError(
                "samples and resolution must be at least 1 and importance at least 0, "
                f"got {samples}, {resolution} and {importance}"
            )
        self.samples, self.resolution, self.importance = samples, resolution, importance

    def render(
        self,
        field: nn.Module,
        w: Tensor,
        cameras: Cameras,
        generator: torch.Generator | None = None,
        background: nn.Module | None = None,
        with_normals: bool = False,
    ) -> RenderOutput:
        """Images of the fields with modulations w (P, G) by cameras (P, V).

        Args:
            generator: jitters the samples within their intervals; None takes the middles.
            background: takes the modulations that the field leaves over; white if None.
            with_normals: also −∇σ, differentiable; costs a second pass backwards.
        Raises:
            ValueError: not as many rows of cameras as of modulations.
        """
        if len(w) != len(cameras.elevation):
            raise ValueError(f"w is for {len(w)} prompts, the cameras for {len(cameras.elevation)}")
        own = getattr(field, "size", w.shape[1])
        w, behind = w[:, :own], w[:, own:]
        origins, directions = cameras.rays(self.resolution)  # (P, R, 3)
        edges = box_edges(origins, directions, self.samples)  # (P, R, S + 1)
        if self.importance:
            with torch.no_grad():
                density = self.evaluate(field, w, origins, directions, edges, None)[0]
                weights = transmitted(edges, density)
            edges = refined_edges(edges, weights, self.importance, generator)
        density, rgb, x, t = self.evaluate(field, w, origins, directions, edges, generator)
        weights = transmitted(edges, density)
        opacity = accumulate_along_rays(weights)  # (P, R, 1)
        colour = (background or ConstantBackground())(behind, directions)
        pixels = accumulate_along_rays(weights, rgb) + (1 - opacity) * colour
        depth = accumulate_along_rays(weights, t[..., None]) / opacity.clamp(min=1e-6)
        n = facing = None
        if with_normals:
            n = normals(field, w, x.flatten(1, 2), torch.is_grad_enabled()).reshape(x.shape)
            facing = (n * directions[:, :, None]).sum(-1)
            n = self.images(accumulate_along_rays(weights, n))
        return RenderOutput(
            self.images(pixels), self.images(opacity)[:, :, 0], self.images(depth)[:, :, 0], weights, n, facing
        )

    def evaluate(
        self,
        field: nn.Module,
        w: Tensor,
        origins: Tensor,
        directions: Tensor,
        edges: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Density (P, R, S), colour (P, R, S, 3), points (P, R, S, 3) and distances (P, R, S), one in each interval."""
        part = 0.5
        if generator is not None:
            part = torch.rand(edges[..., 1:].shape, generator=generator, device=generator.device).to(edges)
        t = edges[..., :-1] + part * (edges[..., 1:] - edges[..., :-1])
        x = origins[:, :, None] + t[..., None] * directions[:, :, None]
        density, rgb = field(w, x.flatten(1, 2))
        return density.reshape(t.shape), rgb.reshape(x.shape), x, t

    def images(self, pixels: Tensor) -> Tensor:
        """(P, V · H · W, C) -> (P, V, C, H, W)."""
        size = self.resolution
        return pixels.unflatten(1, (-1, size, size)).movedim(-1, 2)


def box_edges(origins: Tensor, directions: Tensor, samples: int) -> Tensor:
    """Borders (P, R, S + 1) of equal intervals between entry into [-1, 1]³ and exit; all alike for rays that miss."""
    inverse = 1 / torch.where(directions.abs() < 1e-9, 1e-9, directions)
    one, other = (-1 - origins) * inverse, (1 - origins) * inverse
    near = torch.minimum(one, other).amax(-1, keepdim=True).clamp(min=0)
    far = torch.maximum(torch.maximum(one, other).amin(-1, keepdim=True), near)
    return near + (far - near) * torch.linspace(0, 1, samples + 1, device=origins.device)


def transmitted(edges: Tensor, density: Tensor) -> Tensor:
    """Weights (P, R, S) of the intervals, by nerfacc."""
    flat = edges.flatten(0, 1)
    weights, _, _ = render_weight_from_density(flat[:, :-1], flat[:, 1:], density.flatten(0, 1))
    return weights.reshape(density.shape)


def refined_edges(edges: Tensor, weights: Tensor, more: int, generator: torch.Generator | None) -> Tensor:
    """Borders (P, R, S + more + 1): `more` new ones by inverting the cumulative weights, among the old."""
    density = weights + 1e-4
    cumulative = torch.cumsum(density / density.sum(-1, keepdim=True), -1)
    cumulative = torch.cat([torch.zeros_like(cumulative[..., :1]), cumulative], -1)  # (P, R, S + 1)
    place = (torch.arange(more, device=edges.device) + 0.5) / more
    u = place.expand(*edges.shape[:-1], more).contiguous()
    if generator is not None:
        u = u + (torch.rand(u.shape, generator=generator, device=generator.device).to(u) - 0.5) / more
    right = torch.searchsorted(cumulative, u, right=True).clamp(1, cumulative.shape[-1] - 1)
    c0, c1 = cumulative.gather(-1, right - 1), cumulative.gather(-1, right)
    e0, e1 = edges.gather(-1, right - 1), edges.gather(-1, right)
    new = e0 + (e1 - e0) * ((u - c0) / (c1 - c0).clamp(min=1e-9)).clamp(0, 1)
    return torch.cat([edges, new], -1).sort(-1).values
