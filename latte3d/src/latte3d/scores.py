"""Scores on held-out shapes: volume IoU and the body's colour, by text alone and with a cloud."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .library import Library
from .marching_tetrahedra import grid_vertices
from .metrics import volume_iou
from .networks import Latte3D, dummy_cloud
from .shapes import COLORS, Shape


@torch.no_grad()
def held_out_scores(
    networks: Latte3D, text: nn.Module, library: Library, shapes: Sequence[Shape], points: int
) -> dict[str, Tensor]:
    """Of each held-out shape, (N,): iou_text, iou_cloud, color_text, color_cloud (0 or 1).

    Args:
        library, shapes: the same objects in the same order. points: of the dummy cloud.
    """
    words = text([captions[0] for captions in library.captions])
    cells = library.volume.shape[-1] - 1
    truth = library.volume[:, 0].flatten(1)
    corners = grid_vertices(cells).expand(len(truth), -1, -1)
    scores = {}
    for name, clouds in (("text", dummy_cloud(points).expand(len(truth), -1, -1)), ("cloud", library.clouds)):
        fields = networks(clouds, words)
        scores[f"iou_{name}"] = volume_iou(fields.sdf(corners), truth)
        colors = fields.color(library.clouds[..., :3])
        right = [named_color(c[shape.is_body(cloud[:, :3])]) == shape.color
                 for c, cloud, shape in zip(colors, library.clouds, shapes, strict=True)]  # fmt: skip
        scores[f"color_{name}"] = torch.tensor(right).float()
    return scores


def named_color(colors: Tensor) -> str:
    """The name of the colour nearest in direction to the mean of (P, 3): a pattern darkens, it does not tint."""
    names = list(COLORS)
    known = torch.nn.functional.normalize(torch.tensor([COLORS[name] for name in names]), dim=-1)
    return names[int((known @ colors.mean(0)).argmax())]
