"""What training needs of shapes, made once: captions, coloured clouds, and views with their cameras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from .assets import Asset
from .cameras import Cameras, CameraSampler
from .marching_tetrahedra import grid_vertices
from .priors import depth_map
from .shapes import Shape
from .surface import SurfaceRendering
from .winding import mesh_field


class ShapeBatch(NamedTuple):
    """B objects, each with V views side by side.

    prompts: of the objects. clouds: (B, N, 6). cameras: (B * V). color (B * V, S, S, 3), mask (B * V, S, S) and
    depth (B * V, S, S) as `depth_map` makes it: the shapes' own renders. volume: signed distance and
    colour at the corners of a grid, (B, 4, n+1, n+1, n+1), or (B, 0) where they are not known.
    """

    prompts: list[str]
    clouds: Tensor
    cameras: Cameras
    color: Tensor
    mask: Tensor
    depth: Tensor
    volume: Tensor


class Library(NamedTuple):
    """N shapes with K sets of V views. Fields as in `ShapeBatch`, with N and K in front."""

    captions: list[tuple[str, ...]]
    clouds: Tensor
    to_world: Tensor  # (N, K, V, 4, 4)
    fov: Tensor  # (N, K, V)
    color: Tensor  # (N, K, V, S, S, 3)
    mask: Tensor  # (N, K, V, S, S)
    depth: Tensor  # (N, K, V, S, S)
    volume: Tensor  # (N, 4, n+1, n+1, n+1) or (N, 0)

    def batch(self, shapes: Tensor, sets: Tensor, captions: Sequence[int]) -> ShapeBatch:
        """Shapes (B,), a set of views of each (B,), and the number of a caption of each."""
        prompts = [self.captions[i][c % len(self.captions[i])] for i, c in zip(shapes.tolist(), captions, strict=True)]
        cameras = Cameras(self.to_world[shapes, sets].flatten(0, 1), self.fov[shapes, sets].flatten())
        views = (field[shapes, sets].flatten(0, 1) for field in (self.color, self.mask, self.depth))
        return ShapeBatch(prompts, self.clouds[shapes], cameras, *views, self.volume[shapes])

    def draw(self, size: int, generator: torch.Generator) -> ShapeBatch:
        """A training batch: shapes, views and captions drawn."""
        shapes = torch.randint(len(self.captions), (size,), generator=generator)
        sets = torch.randint(self.fov.shape[1], (size,), generator=generator)
        captions = torch.randint(2**30, (size,), generator=generator).tolist()
        return self.batch(shapes, sets, captions)


class PairedPrompts(NamedTuple):
    """Prompts that came without shapes, each with the shapes that may stand by it.

    prompts: P texts. candidates: (P, K), shapes of the library, as `ShapeRetriever.candidates` finds them.
    """

    library: Library
    prompts: list[str]
    candidates: Tensor

    def draw(self, size: int, generator: torch.Generator) -> ShapeBatch:
        """A training batch: prompts, one candidate of each, and views drawn."""
        chosen = torch.randint(len(self.prompts), (size,), generator=generator)
        picks = torch.randint(self.candidates.shape[1], (size,), generator=generator)
        sets = torch.randint(self.library.fov.shape[1], (size,), generator=generator)
        batch = self.library.batch(self.candidates[chosen, picks], sets, [0] * size)
        return batch._replace(prompts=[self.prompts[i] for i in chosen.tolist()])


class Drawn(NamedTuple):
    """An object before it is drawn: its captions, clouds by (points, generator), renders by (cameras, size), and
    signed distance and colour (P, 4) at points (P, 3), where these are known."""

    captions: tuple[str, ...]
    cloud: Callable[[int, torch.Generator], Tensor]
    render: Callable[[Cameras, int], SurfaceRendering]
    field: Callable[[Tensor], Tensor] | None


def of_shape(shape: Shape) -> Drawn:
    """All captions of a procedural shape, the plainest first."""
    captions = dict.fromkeys(shape.caption(synonyms) for synonyms in product((False, True), repeat=3))

    def field(points: Tensor) -> Tensor:
        return torch.cat([shape.sdf(points)[:, None], shape.rgb(points)], -1)

    return Drawn(tuple(captions), shape.cloud, shape.render, field)


def of_asset(asset: Asset) -> Drawn:
    """A mesh from a folder; its inside is where it winds around, so that open meshes have one too."""
    mesh = asset.mesh()
    return Drawn(asset.captions, mesh.cloud, mesh.render, lambda points: mesh_field(mesh, points))


def build_library(
    objects: Sequence[Drawn],
    cameras: CameraSampler,
    size: int = 32,
    sets: int = 4,
    points: int = 512,
    cells: int = 24,
    seed: int = 0,
    pictures: bool = True,
) -> Library:
    """Draw all objects.

    Args:
        cameras: draws a set of views. size: of the images. sets: of views of each object. points: of the clouds.
        cells: of the grid on whose corners fields are known. pictures: render the views; without it images are of one
            black pixel, and cameras and volumes alone are of use.
    """
    generator = torch.Generator().manual_seed(seed)
    corners = grid_vertices(cells)
    parts = []
    for drawn in objects:
        seen = cameras(sets, generator)  # (K * V)
        fields = (seen.to_world, seen.fov, *(views_of(drawn, seen, size) if pictures else no_views(len(seen.fov))))
        volume = torch.zeros(0) if drawn.field is None else drawn.field(corners).T.unflatten(1, (cells + 1,) * 3)
        split = [field.detach().unflatten(0, (sets, cameras.views)) for field in fields]
        parts.append((drawn.cloud(points, generator), *split, volume))
    return Library([drawn.captions for drawn in objects], *(torch.stack(field) for field in zip(*parts, strict=True)))


def views_of(drawn: Drawn, cameras: Cameras, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Colour, mask and depth map of each camera's view."""
    rendering = drawn.render(cameras, size)
    return rendering.color, rendering.mask, depth_map(rendering.depth, rendering.seen)


def no_views(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """In their place, images of one black pixel."""
    return torch.zeros(count, 1, 1, 3), torch.zeros(count, 1, 1), torch.zeros(count, 1, 1)
