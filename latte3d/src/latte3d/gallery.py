"""Pictures of what trained cells make, beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .cameras import ring
from .checkpoints import load_networks
from .pipeline import Latte3DPipeline
from .shapes import Shape

CAMERA = ring(1, elevation=20.0, start=25.0)
POINTS_SEED = 5  # of the clouds that are drawn on shapes


def truth(shape: Shape, size: int) -> Tensor:
    """(size, size, 3)."""
    return shape.render(CAMERA, size).color[0]


def cloud_of(shape: Shape, points: int) -> Tensor:
    """(1, points, 6)."""
    return shape.cloud(points, torch.Generator().manual_seed(POINTS_SEED))[None]


class Drawer:
    """Draws the meshes of a checkpoint as the pipeline makes them, coloured at their vertices."""

    def __init__(self, checkpoint: str | Path, size: int, cells: int = 48):
        self.pipeline, self.size = Latte3DPipeline.from_pretrained(checkpoint, cells), size

    def __call__(self, shape: Shape, with_cloud: bool) -> Tensor:
        """By the shape's caption, (size, size, 3); white where there is no surface."""
        clouds = cloud_of(shape, len(self.pipeline.dummy)) if with_cloud else None
        try:
            (mesh,) = self.pipeline([shape.caption()], clouds)
        except ValueError:
            return torch.ones(self.size, self.size, 3)
        return mesh.render(CAMERA, self.size).color[0]


def gallery_rows(stage1: str | Path, stage2: str | Path, shapes: Sequence[Shape], size: int = 96) -> dict:
    """Prompt -> the truth, stage 1 and 2 by text alone, stage 2 with the shape's cloud."""
    first, second = Drawer(stage1, size), Drawer(stage2, size)
    return {
        shape.caption(): [truth(shape, size), first(shape, False), second(shape, False), second(shape, True)]
        for shape in shapes
    }


def crop_rows(stage1: str | Path, stage2: str | Path, shapes: Sequence[Shape], size: int = 192) -> dict:
    """Prompt -> the middle of large pictures with the shape's cloud: the truth, stage 1, stage 2."""
    first, second = Drawer(stage1, size, 64), Drawer(stage2, size, 64)
    rows = {}
    for shape in shapes:
        pictures = (truth(shape, size), first(shape, True), second(shape, True))
        rows[shape.caption()] = [middle(picture, size // 2) for picture in pictures]
    return rows


def middle(picture: Tensor, size: int) -> Tensor:
    """Its central size² pixels."""
    start = (len(picture) - size) // 2
    return picture[start : start + size, start : start + size]


@torch.no_grad()
def largest_change(before: str | Path, after: str | Path) -> float:
    """Of any weight of the geometry network between two checkpoints."""
    first, second = (load_networks(path)[0].geometry.state_dict() for path in (before, after))
    return max(float((second[name] - value).abs().max()) for name, value in first.items())
