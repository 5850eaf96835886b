"""Procedural meshes of at most 48 vertices: four families that differ in genus and in the sides of their faces.

Each function draws one closed mesh from a generator; `posed` turns, stretches and jitters it and shuffles its
vertices, so that nothing but positions tells its connectivity.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from .errors import NotRepresentable
from .halfedge import HalfedgeMesh

LARGEST = 48  # vertices


def ring(count: int, radius: float, height: float) -> Tensor:
    """A circle of vertices at one height, (m, 3)."""
    angle = 2 * math.pi * torch.arange(count) / count
    return torch.stack([radius * angle.cos(), radius * angle.sin(), torch.full((count,), height)], 1)


def integer(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A number between low and high."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def torus(around: int, across: int, tube: float) -> HalfedgeMesh:
    """Quads on a torus of radii 1 and `tube`, around x across vertices, each at least 3."""
    u, v = torch.meshgrid(
        2 * math.pi * torch.arange(around) / around, 2 * math.pi * torch.arange(across) / across, indexing="ij"
    )
    distance = 1 + tube * v.cos()
    positions = torch.stack([distance * u.cos(), distance * u.sin(), tube * v.sin()], -1).reshape(-1, 3)
    faces = [
        [
            a * across + b,
            (a + 1) % around * across + b,
            (a + 1) % around * across + (b + 1) % across,
            a * across + (b + 1) % across,
        ]
        for a in range(around)
        for b in range(across)
    ]
    return HalfedgeMesh.from_polygons(positions, faces)


def random_torus(generator: torch.Generator) -> HalfedgeMesh:
    """5 to 9 vertices around, 3 to 5 across."""
    across = integer(3, 5, generator)
    return torus(integer(5, min(9, LARGEST // across), generator), across, uniform(0.3, 0.5, generator))


def random_hull(generator: torch.Generator) -> HalfedgeMesh:
    """Triangles: the convex hull of 12 to 40 points spread over a sphere."""
    count = integer(12, 40, generator)
    points = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    for _ in range(10):  # push them apart
        offset = points[:, None] - points
        points = points + 0.3 / count * (offset / (offset.norm(dim=-1, keepdim=True) ** 3 + 1e-3)).sum(1)
        points = torch.nn.functional.normalize(points, dim=1)
    hull = ConvexHull(points.double().numpy())
    faces = torch.from_numpy(hull.simplices).long()
    normal = torch.linalg.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    outward = (normal * points[faces].mean(1)).sum(-1) > 0
    return HalfedgeMesh.from_polygons(points, torch.where(outward[:, None], faces, faces.flip(1)))


def prisms(radii: list[float], heights: list[float], sides: int) -> HalfedgeMesh:
    """Stacked prisms: rings of `sides` vertices joined by quads, an n-gon at both ends."""
    layers = len(radii)
    positions = torch.cat([ring(sides, r, h) for r, h in zip(radii, heights, strict=True)])
    faces = [list(range(sides))[::-1], list(range((layers - 1) * sides, layers * sides))]
    for k in range(layers - 1):
        for i in range(sides):
            j = (i + 1) % sides
            faces.append([k * sides + i, k * sides + j, (k + 1) * sides + j, (k + 1) * sides + i])
    return HalfedgeMesh.from_polygons(positions, faces)


def random_prisms(generator: torch.Generator, least: int = 3, most: int = 8) -> HalfedgeMesh:
    """2 to 5 rings of `least` to `most` vertices."""
    sides = integer(least, most, generator)
    layers = integer(2, min(5, LARGEST // sides), generator)
    side = 2 * math.sin(math.pi / sides)
    radii = [uniform(0.7, 1.2, generator) for _ in range(layers)]
    heights = torch.tensor([uniform(0.8, 1.4, generator) * max(side, 0.5) for _ in range(layers)]).cumsum(0).tolist()
    return prisms(radii, heights, sides)


def polycube(cells: Tensor, x: Tensor, y: Tensor, z: Tensor) -> HalfedgeMesh:
    """The quads around the filled cells of a box, bool (a, b, c); x, y and z are the grid's coordinates.

    Raises:
        NotRepresentable: cells that meet only along an edge or at a corner.
    """
    sizes = [n + 1 for n in cells.shape]
    filled = {tuple(cell) for cell in cells.nonzero().tolist()}
    faces = []
    for cell in sorted(filled):
        for axis in range(3):
            for step in (-1, 1):
                beside = list(cell)
                beside[axis] += step
                if tuple(beside) in filled:
                    continue
                b, c = (axis + 1) % 3, (axis + 2) % 3
                corners = []
                for at_b, at_c in ((0, 0), (1, 0), (1, 1), (0, 1)):
                    corner = list(cell)
                    corner[axis] += step > 0
                    corner[b] += at_b
                    corner[c] += at_c
                    corners.append((corner[0] * sizes[1] + corner[1]) * sizes[2] + corner[2])
                faces.append(corners if step > 0 else corners[::-1])
    used, flat = torch.unique(torch.tensor(faces), return_inverse=True)
    grid = torch.cartesian_prod(x, y, z)
    return HalfedgeMesh.from_polygons(grid[used], flat)


def random_polycube(generator: torch.Generator) -> HalfedgeMesh:
    """2 to 6 cells that grew together, or a frame of 8 around a hole: quads, genus 0 or 1."""
    while True:
        if uniform(0, 1, generator) < 0.4:
            cells = torch.ones(3, 3, 1, dtype=torch.bool)
            cells[1, 1] = False
        else:
            cells = torch.zeros(3, 3, 2, dtype=torch.bool)
            cells[1, 1, 0] = True
            wanted = integer(2, 6, generator)
            while int(cells.sum()) < wanted:
                place = tuple(integer(0, n - 1, generator) for n in cells.shape)
                neighbours = [
                    tuple(p + s * (a == axis) for a, p in enumerate(place)) for axis in range(3) for s in (-1, 1)
                ]
                if any(all(0 <= p < n for p, n in zip(q, cells.shape, strict=True)) and cells[q] for q in neighbours):
                    cells[place] = True
        steps = [torch.tensor([uniform(0.7, 1.3, generator) for _ in range(n + 1)]).cumsum(0) for n in cells.shape]
        try:
            mesh = polycube(cells, *steps)
        except NotRepresentable:
            continue
        if len(mesh.vertices) <= LARGEST:
            return mesh


FAMILIES: dict[str, Callable[[torch.Generator], HalfedgeMesh]] = {
    "tori": random_torus,
    "hulls": random_hull,
    "prisms": random_prisms,
    "polycubes": random_polycube,
}


def random_wide_prisms(generator: torch.Generator) -> HalfedgeMesh:
    """Caps of 10 to 12 sides, which training never shows."""
    return random_prisms(generator, 10, 12)


HELD_OUT: dict[str, Callable[[torch.Generator], HalfedgeMesh]] = {"wide prisms": random_wide_prisms}


def posed(mesh: HalfedgeMesh, generator: torch.Generator, jitter: float = 0.01) -> HalfedgeMesh:
    """Stretch by 0.7 to 1.3 along three axes, turn, jitter by a share of the size, centre, scale to unit radius,
    shuffle.
    """
    x = mesh.vertices.float()
    x = x * torch.tensor([uniform(0.7, 1.3, generator) for _ in range(3)])
    turn, triangle = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    turn = turn * torch.sign(torch.diagonal(triangle))
    turn = turn * torch.det(turn)
    x = normalised(x @ turn.T)
    x = x + jitter * torch.randn(x.shape, generator=generator)
    return shuffled(mesh, normalised(x), torch.randperm(len(x), generator=generator))


def normalised(x: Tensor) -> Tensor:
    """Centred, with root mean square distance 1 from the centre."""
    x = x - x.mean(0)
    return x / x.square().sum(1).mean().sqrt().clamp_min(1e-12)


def shuffled(mesh: HalfedgeMesh, positions: Tensor, order: Tensor) -> HalfedgeMesh:
    """The mesh at other positions, its vertex order[i] now number i. Holes stay holes."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    tail, head = rank[mesh.tail], rank[mesh.head]
    to = torch.argsort(tail * len(order) + head)
    back = torch.empty_like(to)
    back[to] = torch.arange(len(to))
    turned = HalfedgeMesh.from_rotation(positions[order], tail[to], head[to], back[mesh.succ[to]])
    hole = torch.zeros(len(turned.is_hole), dtype=torch.bool)
    hole[turned.face] = mesh.hole_halfedges[to]
    return turned.with_holes(hole)
