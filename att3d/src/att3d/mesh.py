"""Scenes as meshes: marching cubes on the density, colours of the field at the vertices."""

from __future__ import annotations

import numpy as np
import torch
import trimesh
from skimage.measure import marching_cubes

from .scenes import Scenes

HALF_OPAQUE = 6.93  # ln 2 / 0.1: a tenth of the box's half width swallows half of the light


def box_points(resolution: int) -> torch.Tensor:
    """(resolution³, 3) points of [-1, 1]³, x slowest."""
    places = torch.linspace(-1, 1, resolution)
    return torch.stack(torch.meshgrid(places, places, places, indexing="ij"), -1).reshape(-1, 3)


@torch.no_grad()
def density_grid(scenes: Scenes, resolution: int, block: int = 2**17) -> torch.Tensor:
    """Density (P, resolution³) at `box_points`."""
    points = box_points(resolution).to(scenes.w.device)
    parts = [scenes.density(part.expand(len(scenes), -1, -1)) for part in points.split(max(1, block // len(scenes)))]
    return torch.cat(parts, 1)


@torch.no_grad()
def to_mesh(scenes: Scenes, resolution: int = 96, level: float = HALF_OPAQUE) -> trimesh.Trimesh:
    """The surface σ = level of one scene, closed at the box, with vertex colours.

    Raises:
        ValueError: several scenes, or a field that never reaches the level.
    """
    if len(scenes) != 1:
        raise ValueError(f"a mesh is made of one scene, got {len(scenes)}")
    density = density_grid(scenes, resolution)[0].reshape(resolution, resolution, resolution).cpu().numpy()
    if not density.max() > level:
        raise ValueError(
            f"the field is empty: its density is at most {density.max():.3g}, below the level {level:.3g}; "
            "lower the level or train longer"
        )
    padded = np.pad(density, 1)
    step = 2 / (resolution - 1)
    vertices, faces, _, _ = marching_cubes(padded, level, spacing=(step,) * 3)
    vertices = np.clip(vertices - step - 1, -1, 1)
    at = torch.from_numpy(vertices.astype(np.float32))[None].to(scenes.w.device)
    colours = scenes.field(scenes.own_w(), at)[1][0].clamp(0, 1).cpu().numpy()
    colours = np.concatenate([colours, np.ones_like(colours[:, :1])], 1)
    mesh = trimesh.Trimesh(vertices, faces, vertex_colors=(255 * colours).round().astype(np.uint8), process=False)
    if mesh.volume < 0:
        mesh.invert()
    return mesh
