"""Shaded pictures of polygon meshes with matplotlib: flat faces, lit from the viewer's upper left, edges drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from torch import Tensor

LIGHT = np.array([-0.4, 0.6, 0.8]) / np.linalg.norm([-0.4, 0.6, 0.8])
FACE, NEW, BAD = "#9ecae1", "#fdae6b", "#e6550d"


def view(azimuth: float = 35.0, elevation: float = 25.0) -> np.ndarray:
    """The rotation whose rows are right, up and towards the viewer, for z upwards."""
    a, e = np.radians([azimuth, elevation])
    towards = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    return np.stack([right, np.cross(towards, right), towards])


def draw_mesh(
    axes: Axes,
    vertices: Tensor,
    faces: Sequence[Sequence[int]],
    colours: Sequence[str] | str = FACE,
    rotation: np.ndarray | None = None,
    edge: str = "0.15",
) -> None:
    """Paint the faces from back to front; a colour for all, or one for each.

    Args:
        axes: two-dimensional. vertices: (V, 3). faces: lists of vertices.
    """
    turned = vertices.double().numpy() @ (view() if rotation is None else rotation).T  # right, up, towards
    own = [colours] * len(faces) if isinstance(colours, str) else list(colours)
    order = sorted(range(len(faces)), key=lambda f: turned[list(faces[f]), 2].mean())
    shapes, fills = [], []
    for number in order:
        corners = turned[list(faces[number])]
        shade = 0.45 + 0.55 * abs(float(normal_of(corners) @ LIGHT))
        shapes.append(corners[:, :2])
        fills.append(np.clip(np.array(to_rgb(own[number])) * shade, 0, 1))
    axes.add_collection(PolyCollection(shapes, facecolors=fills, edgecolors=edge, linewidths=0.4))
    frame(axes, turned[:, :2])


def draw_points(axes: Axes, vertices: Tensor, rotation: np.ndarray | None = None, size: float = 6.0) -> None:
    """The vertices alone, farther ones paler."""
    turned = vertices.double().numpy() @ (view() if rotation is None else rotation).T
    depth = turned[:, 2]
    shade = 0.7 - 0.6 * (depth - depth.min()) / max(float(np.ptp(depth)), 1e-9)
    axes.scatter(turned[:, 0], turned[:, 1], c=[str(s) for s in shade], s=size, linewidths=0)
    frame(axes, turned[:, :2])


def normal_of(corners: np.ndarray) -> np.ndarray:
    """Unit normal of a polygon by Newell's sum, (3,); zero where it has no area."""
    normal = np.cross(corners, np.roll(corners, -1, 0)).sum(0)
    length = np.linalg.norm(normal)
    return normal / length if length > 0 else normal


def frame(axes: Axes, points: np.ndarray) -> None:
    """A square frame around the points, without axes."""
    if len(points):
        middle, half = (points.min(0) + points.max(0)) / 2, 0.53 * float(np.ptp(points, axis=0).max())
        axes.set_xlim(middle[0] - half, middle[0] + half)
        axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_aspect("equal")
    axes.set_axis_off()
