"""Skipping empty space: fields are evaluated only where an occupancy grid says so, in nerfacc's packed layout.

nerfacc's packed scans are CUDA kernels, compiled on first use: where that fails, on a CPU or a GPU without a toolkit,
the probe says no and the dense renderer is used. The samples are the dense ones, so both give the same image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from nerfacc import accumulate_along_rays, render_weight_from_density
from torch import Tensor, nn

from .background import ConstantBackground
from .cameras import Cameras
from .renderer import VolumeRenderer, box_edges

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]  # starts, ends, density, ray numbers, rays -> weights


@lru_cache(maxsize=8)
def packed_scans_work(device: str) -> bool:
    """Whether nerfacc's packed scan really runs here: it is called on two rays and its answer is compared."""
    try:
        ends = torch.tensor([1.0, 2.0, 1.0], device=device)
        found = packed_weights(ends - 1, ends, torch.ones_like(ends), torch.tensor([0, 0, 1], device=device), 2)
    except Exception:  # nerfacc fails in many ways: NotImplementedError, AttributeError, OSError, ImportError
        return False
    opaque = 1 - torch.tensor(-1.0).exp()
    expected = torch.stack([opaque, opaque * (1 - opaque), opaque])
    return bool(torch.allclose(found.cpu(), expected, atol=1e-5))


def packed_weights(starts: Tensor, ends: Tensor, density: Tensor, rays: Tensor, count: int) -> Tensor:
    """Weights of packed samples (M,) by nerfacc's CUDA scan."""
    return render_weight_from_density(starts, ends, density, ray_indices=rays, n_rays=count)[0]


@torch.no_grad()
def occupancy(field: nn.Module, w: Tensor, cells: int = 32, threshold: float = 1e-3) -> Tensor:
    """(cells, cells, cells), x first: cells whose centre, corners or neighbours hold density, for one prompt (1, G)."""
    places = torch.linspace(-1, 1, 2 * cells + 1, device=w.device)
    x = torch.stack(torch.meshgrid(places, places, places, indexing="ij"), -1).reshape(1, -1, 3)
    found = (field(w, x)[0] > threshold).float().reshape(1, 1, *[len(places)] * 3)
    inside = nn.functional.max_pool3d(found, 3, stride=2)  # both faces of each cell
    return nn.functional.max_pool3d(inside, 3, stride=1, padding=1)[0, 0] > 0


@torch.no_grad()
def render_packed(
    renderer: VolumeRenderer, field: nn.Module, w: Tensor, cameras: Cameras, occupied: Tensor, scan: Scan | None = None
) -> Tensor:
    """rgb (1, V, 3, H, W) of one prompt on white from the occupied samples alone.

    Args:
        occupied: see `occupancy`. scan: how weights of packed samples are found, nerfacc's if None.
    Raises:
        ValueError: several prompts. RuntimeError: nerfacc's packed scans do not work here.
    """
    if len(w) != 1:
        raise ValueError(f"an occupancy grid is that of one prompt, got modulations of {len(w)}")
    if scan is None:
        if not packed_scans_work(str(w.device)):
            raise RuntimeError(
                f"nerfacc's packed scans do not work on {w.device}, they need a CUDA toolkit: use VolumeRenderer.render"
            )
        scan = packed_weights
    origins, directions = cameras.rays(renderer.resolution)
    edges = box_edges(origins, directions, renderer.samples)[0]  # (R, S + 1)
    middle = (edges[:, :-1] + edges[:, 1:]) / 2
    x = origins[0, :, None] + middle[..., None] * directions[0, :, None]  # (R, S, 3)
    cell = ((x + 1) / 2 * len(occupied)).long().clamp(0, len(occupied) - 1)
    keep = occupied[cell[..., 0], cell[..., 1], cell[..., 2]]
    rays, sample = keep.nonzero(as_tuple=True)
    density, rgb = field(w, x[rays, sample][None])
    weights = scan(edges[rays, sample], edges[rays, sample + 1], density[0], rays, len(edges))
    colour = accumulate_along_rays(weights, rgb[0], rays, len(edges))
    opacity = accumulate_along_rays(weights, None, rays, len(edges))
    white = ConstantBackground()(w[:, :0], directions)[0]
    return renderer.images((colour + (1 - opacity) * white)[None])
