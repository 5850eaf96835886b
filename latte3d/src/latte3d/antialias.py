"""Silhouettes with gradients: every silhouette edge blends the two pixels that it passes between.

nvdiffrast reads the edge from the triangle that a pixel shows, and so finds none where triangles are smaller than
pixels. Here the edges themselves walk the screen, so coverage is right at any triangle size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .rasterizer import PackedMeshes, RasterOutput
from .torch_rasterizer import cross2, to_screen


class Edges(NamedTuple):
    """ends (E, 2): vertices. opposite (E,): a third vertex of one incident face. front, back (E,): incident faces that
    turn their front, or their back, to the camera."""

    ends: Tensor
    opposite: Tensor
    front: Tensor
    back: Tensor


class Crossings(NamedTuple):
    """Where silhouette edges pass between pixel centres.

    foreground, background (P,): flat pixel indices, the edge's face is on the former's side. distance (P,): from the
    foreground's centre to the edge in pixels, in [0, 1], differentiable. depth (P,): z/w of the edge there.
    """

    foreground: Tensor
    background: Tensor
    distance: Tensor
    depth: Tensor


def edges_on_screen(faces: Tensor, screen: Tensor) -> Edges:
    """All undirected edges, with the orientation of their faces on screen (V, 2)."""
    a, b, c = screen[faces].unbind(1)
    front = cross2(b - a, c - a) < 0  # counter-clockwise with y up is clockwise with y down
    corners = torch.arange(3, device=faces.device)
    ends = torch.stack([faces[:, corners], faces[:, (corners + 1) % 3]], -1).reshape(-1, 2)  # (3F, 2)
    opposite = faces[:, (corners + 2) % 3].reshape(-1)
    key = ends.amin(1) * len(screen) + ends.amax(1)
    unique, inverse = torch.unique(key, return_inverse=True)
    chosen = torch.empty_like(unique).scatter_(0, inverse, torch.arange(len(key), device=key.device))
    facing = front.repeat_interleave(3).long()
    fronts = torch.zeros_like(unique).index_add(0, inverse, facing)
    backs = torch.zeros_like(unique).index_add(0, inverse, 1 - facing)
    return Edges(ends[chosen], opposite[chosen], fronts, backs)


def silhouettes(edges: Edges) -> Edges:
    """Edges between a front and a back face, and those of one face only."""
    kept = ((edges.front > 0) & (edges.back > 0)) | (edges.front + edges.back == 1)
    return Edges(*(part[kept] for part in edges))


def crossings(edges: Edges, screen: Tensor, z: Tensor, image: Tensor, size: tuple[int, int]) -> Crossings:
    """Walk each edge along its longer screen axis, one row or column of pixel centres after another."""
    height, width = size
    a, b = (screen[edges.ends] - 0.5).unbind(1)  # (E, 2): pixel centres at integers
    steep = (b - a)[:, 1].abs() >= (b - a)[:, 0].abs()  # walks rows
    along_a, along_b = torch.where(steep, a[:, 1], a[:, 0]), torch.where(steep, b[:, 1], b[:, 0])
    last = torch.where(steep, height, width)
    first = along_a.minimum(along_b).detach().ceil().clamp(min=0).minimum(last).long()
    stop = along_a.maximum(along_b).detach().ceil().clamp(min=0).minimum(last).long()
    count = (stop - first).clamp(min=0)
    edge = torch.arange(len(first), device=first.device).repeat_interleave(count)
    line = torch.arange(len(edge), device=edge.device) - (count.cumsum(0) - count - first).repeat_interleave(count)

    share = (line - along_a[edge]) / (along_b - along_a)[edge]  # of the way from a to b
    across = (
        torch.where(steep, a[:, 0], a[:, 1])[edge] * (1 - share) + torch.where(steep, b[:, 0], b[:, 1])[edge] * share
    )
    depth = (z[edges.ends[edge, 0]] * (1 - share) + z[edges.ends[edge, 1]] * share).detach()
    low = across.detach().floor()
    fraction = across - low  # from the pixel before the edge
    limit = torch.where(steep, width, height)[edge]
    valid = (low >= 0) & (low + 1 < limit)

    direction = (b - a).detach()
    side = cross2(direction, (screen[edges.opposite] - 0.5 - a).detach())
    after = side.sign() == torch.where(steep, -direction[:, 1], direction[:, 0]).sign()  # face lies to larger `across`
    after = after[edge]
    pixels = []
    for step in (0, 1):
        at = low.long() + step
        x, y = torch.where(steep[edge], at, line), torch.where(steep[edge], line, at)
        pixels.append((image[edges.ends[edge, 0]] * height + y) * width + x)
    found = Crossings(
        torch.where(after, pixels[1], pixels[0]),
        torch.where(after, pixels[0], pixels[1]),
        torch.where(after, 1 - fraction, fraction),
        depth,
    )
    return Crossings(*(part[valid] for part in found))


def antialias(color: Tensor, raster: RasterOutput, clip: Tensor, meshes: PackedMeshes) -> Tensor:
    """Blend pixels on both sides of visible silhouette edges by the area that the edge gives to either.

    The gradient in `clip` is that of coverage: an edge that moves by δ pixels changes a row by δ (foreground -
    background). Values stay in the hull of the two colours.

    Args:
        color: (B, H, W, C), such as of `interpolate`. raster: of the same picture. clip: (V, 4).
    Raises:
        ValueError: a picture of another size than the raster.
    """
    if color.shape[:3] != raster.tri_id.shape:
        raise ValueError(f"the picture is {tuple(color.shape[:3])}, the raster {tuple(raster.tri_id.shape)}")
    size = raster.tri_id.shape[1:]
    in_front = clip.detach()[meshes.outline, 3].amin(-1) > 0
    faces = meshes.outline[in_front]
    safe = torch.where(clip[:, 3:] > 0, clip, torch.ones_like(clip))  # of dropped faces: no division by 0
    screen, z = to_screen(safe, size), (safe[:, 2] / safe[:, 3]).detach()
    edges = silhouettes(edges_on_screen(faces, screen.detach()))
    found = crossings(edges, screen, z, meshes.vertex_image, size)

    depth = raster.depth.flatten()
    slack = _slack(screen.detach(), z, meshes)[torch.div(found.foreground, size[0] * size[1], rounding_mode="floor")]
    visible = (depth[found.background] > found.depth) & (depth[found.foreground] >= found.depth - slack)
    found = Crossings(*(part[visible] for part in found))
    return _blend(color.flatten(0, 2), found).view_as(color)


def _slack(screen: Tensor, z: Tensor, meshes: PackedMeshes) -> Tensor:
    """How far in front of its silhouette a surface may be one pixel further in, (B,), in z/w.

    A sphere of radius R pixels comes sqrt(2R) pixels nearer within one pixel: the share sqrt(2 / R) of half its own
    range of depths. R is half of what the mesh takes up on screen.
    """

    def extent(values: Tensor) -> Tensor:  # (V,) -> (B,)
        low = values.new_full((meshes.images,), torch.inf).scatter_reduce(0, meshes.vertex_image, values, "amin")
        high = values.new_full((meshes.images,), -torch.inf).scatter_reduce(0, meshes.vertex_image, values, "amax")
        return high - low

    radius = extent(screen[:, 0]).maximum(extent(screen[:, 1])).clamp(min=2) / 2
    return extent(z) / 2 * (2 / radius).sqrt() + 1e-5  # rounding, for what faces the camera squarely


def _blend(color: Tensor, found: Crossings) -> Tensor:
    """Add to each pixel its share of what lies across the edge; shares that sum to more than 1 are scaled to 1."""
    into_background = found.distance > 0.5
    target = torch.where(into_background, found.background, found.foreground)
    source = torch.where(into_background, found.foreground, found.background)
    share = (found.distance - 0.5).abs()  # (P,)
    total = share.new_zeros(len(color)).index_add(0, target, share).clamp(min=1)
    share = share / total[target]
    return color.index_add(0, target, share[:, None] * (color[source] - color[target]))
