"""The single meshes that `fit` is shown on: a hub, a boundary, two handles, pentagons, quads and triangles."""

from __future__ import annotations

import math

import torch
import trimesh
from scipy.spatial import ConvexHull

from .families import polycube, ring, torus
from .halfedge import HalfedgeMesh


def dodecahedron() -> HalfedgeMesh:
    """Twelve pentagons: the corners of a face are the vertices nearest to a vertex of the dual icosahedron."""
    golden = (1 + math.sqrt(5)) / 2
    cube = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    pairs = torch.cartesian_prod(torch.tensor([-1 / golden, 1 / golden]), torch.tensor([-golden, golden]))
    zero = torch.zeros(4)
    flat = [torch.stack(x, 1) for x in ((zero, *pairs.T), (*pairs.T, zero), (pairs[:, 1], zero, pairs[:, 0]))]
    vertices = torch.cat([cube, *flat])
    planes = torch.from_numpy(ConvexHull(vertices.double().numpy()).equations).float()
    normals = torch.unique((planes[:, :3] * 1e4).round(), dim=0) / 1e4
    faces = []
    for normal in normals:
        corners = (vertices @ normal).topk(5)[1]
        offset = vertices[corners] - vertices[corners].mean(0)
        across = torch.linalg.cross(normal, offset[0])
        angle = torch.atan2(offset @ across / across.norm(), offset @ offset[0] / offset[0].norm())
        faces.append(corners[angle.argsort()].tolist())
    return HalfedgeMesh.from_polygons(vertices, faces)


def bipyramid_mesh(rim: int) -> HalfedgeMesh:
    """Two apices over a rim of any size: each is a neighbour of all of it."""
    vertices = torch.cat([ring(rim, 1.0, 0.0), torch.tensor([[0.0, 0.0, 0.6], [0.0, 0.0, -0.6]])])
    faces = [[i, (i + 1) % rim, rim] for i in range(rim)] + [[(i + 1) % rim, i, rim + 1] for i in range(rim)]
    return HalfedgeMesh.from_polygons(vertices, faces)


def tube(around: int, along: int) -> HalfedgeMesh:
    """Quads on an open cylinder: two boundary loops."""
    vertices = torch.cat([ring(around, 1.0, 0.5 * k) for k in range(along)])
    faces = [
        [k * around + i, k * around + (i + 1) % around, (k + 1) * around + (i + 1) % around, (k + 1) * around + i]
        for k in range(along - 1)
        for i in range(around)
    ]
    return HalfedgeMesh.from_polygons(vertices, faces)


def capped_tube(around: int, along: int) -> HalfedgeMesh:
    """The tube with one end closed by a polygon: one boundary loop."""
    open_ = tube(around, along)
    return HalfedgeMesh.from_polygons(open_.vertices, [list(range(around))[::-1], *open_.to_polygons()])


def two_handles() -> HalfedgeMesh:
    """A slab of 5 x 3 cells with two holes: genus 2."""
    cells = torch.ones(5, 3, 1, dtype=torch.bool)
    cells[1, 1] = cells[3, 1] = False
    return polycube(cells, torch.arange(6.0), torch.arange(4.0), torch.arange(2.0))


def icosphere(subdivisions: int) -> HalfedgeMesh:
    """Triangles on a sphere: 12, 42, 162, 642, 2562, 10242 vertices."""
    made = trimesh.creation.icosphere(subdivisions=subdivisions)
    return HalfedgeMesh.from_polygons(torch.tensor(made.vertices).float(), torch.tensor(made.faces).long())


SHAPES = {
    "dodecahedron": dodecahedron,
    "64-gon bipyramid": lambda: bipyramid_mesh(64),
    "quad torus": lambda: torus(16, 8, 0.4),
    "capped tube": lambda: capped_tube(12, 6),
    "two handles": two_handles,
    "icosphere": lambda: icosphere(2),
}
