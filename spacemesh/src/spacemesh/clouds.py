"""Points with normals on the surface of a mesh: what a generative model is conditioned on."""

from __future__ import annotations

import torch
from torch import Tensor

from .halfedge import HalfedgeMesh
from .triangulation import triangulate


def surface_points(mesh: HalfedgeMesh, count: int, generator: torch.Generator) -> Tensor:
    """Points spread evenly by area, with the unit normals of their triangles, (P, 6).

    Raises:
        ValueError: the surface has no area.
    """
    vertices, triangles = triangulate(mesh)
    a, b, c = vertices[triangles].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    area = normal.norm(dim=1)
    if not float(area.sum()) > 0:
        raise ValueError("the surface has no area to put points on")
    chosen = torch.multinomial(area, count, replacement=True, generator=generator)
    u, v = torch.rand(2, count, 1, generator=generator)
    root = u.sqrt()  # even within a triangle
    points = (1 - root) * a[chosen] + root * (1 - v) * b[chosen] + root * v * c[chosen]
    return torch.cat([points, torch.nn.functional.normalize(normal[chosen], dim=1)], 1)


def chamfer(points: Tensor, others: Tensor) -> float:
    """Mean distance to the nearest of the other set, both ways, halved."""
    distance = torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")  # exact at 0
    return float(distance.amin(0).mean() + distance.amin(1).mean()) / 2
