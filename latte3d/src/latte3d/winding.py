"""Signed distance and colour around any mesh, closed or not: inside is where the surface winds around more than half.

The winding number is summed over sampled points as dipoles (Barill et al., SIGGRAPH 2018), without their tree: training
asks once for some thousands of grid corners.
"""

from __future__ import annotations

import math

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from .textured_mesh import TexturedMesh


def winding_number(points: Tensor, positions: Tensor, areas: Tensor, chunk: int = 2048) -> Tensor:
    """w(p) = sum of a_i n_i (x_i - p) / 4 pi |x_i - p|³ over M samples, (P,): 1 inside, 0 outside.

    Args:
        points: (P, 3). positions: x, (M, 3). areas: a n, normals times the area that each sample stands for, (M, 3).
    """
    spacing = areas.norm(dim=-1).mean().sqrt()  # closer than this a dipole is no surface
    outwards = (positions * areas).sum(-1)  # (M,)
    found = []
    for part in points.split(chunk):
        distance = torch.cdist(part, positions).clamp(min=float(spacing))  # (p, M)
        found.append(((outwards - part @ areas.T) / distance.pow(3)).sum(-1) / (4 * math.pi))
    return torch.cat(found)


def mesh_field(mesh: TexturedMesh, points: Tensor, samples: int = 4096, seed: int = 0) -> Tensor:
    """Signed distance, negative inside, and the colour of the nearest surface, (P, 4), at points (P, 3).

    Accurate to the spacing of the samples, about 0.02 for an object of radius 0.9.
    """
    position, color, face = mesh.sample(samples, torch.Generator().manual_seed(seed))
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    doubled = torch.linalg.cross(b - a, c - a)  # (F, 3)
    area = doubled.norm(dim=-1).sum() / 2 / samples
    areas = torch.nn.functional.normalize(doubled[face], dim=-1) * area
    inside = winding_number(points, position, areas) > 0.5
    distance, nearest = cKDTree(position.numpy()).query(points.numpy())
    distance = torch.as_tensor(distance, dtype=points.dtype)
    return torch.cat([torch.where(inside, -distance, distance)[:, None], color[torch.as_tensor(nearest)]], -1)
