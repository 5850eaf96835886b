"""Scores on held-out shapes: IoU and colours of fields, and what their surfaces look like when they are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cameras import ring
from .judge import AttributeJudge, agreement, attributes_of
from .library import Library
from .marching_tetrahedra import grid_vertices
from .metrics import highpass_correlation, mask_iou, volume_iou
from .networks import Fields, Latte3D, dummy_cloud
from .rasterizer import get_rasterizer, pack
from .shapes import COLORS, TRIPLES, Shape, draw_shapes, is_held_out
from .surface import SurfaceRendering, extract, field_shade, render_surface
from .volsdf import VolSDFRenderer, VolumeQuery, bake

VIEWS = ring(4, elevation=20.0, start=20.0)
SIZE = 64  # pixels of drawn surfaces
CELLS = 32  # of their grid


@torch.no_grad()
def held_out_scores(
    networks: Latte3D,
    text: nn.Module,
    library: Library,
    shapes: Sequence[Shape],
    points: int,
    alpha: float | None = None,
) -> dict[str, Tensor]:
    """Of each held-out shape, (N,): iou_text, iou_cloud, color_text, color_cloud (0 or 1).

    Args:
        library, shapes: the same objects in the same order. points: of the dummy cloud.
        alpha: told to networks that were trained with an amortised one.
    """
    words = text([captions[0] for captions in library.captions])
    cells = library.volume.shape[-1] - 1
    truth = library.volume[:, 0].flatten(1)
    corners = grid_vertices(cells).expand(len(truth), -1, -1)
    weight = None if alpha is None else torch.full((len(truth),), alpha)
    scores = {}
    for name, clouds in (("text", dummy_cloud(points).expand(len(truth), -1, -1)), ("cloud", library.clouds)):
        fields = networks(clouds, words, weight)
        scores[f"iou_{name}"] = volume_iou(fields.sdf(corners), truth)
        colors = fields.color(library.clouds[..., :3])
        right = [named_color(c[shape.is_body(cloud[:, :3])]) == shape.color
                 for c, cloud, shape in zip(colors, library.clouds, shapes, strict=True)]  # fmt: skip
        scores[f"color_{name}"] = torch.tensor(right).float()
    return scores


def named_color(colors: Tensor) -> str:
    """The name of the colour nearest in direction to the mean of (P, 3): a pattern darkens, it does not tint."""
    names = list(COLORS)
    known = F.normalize(torch.tensor([COLORS[name] for name in names]), dim=-1)
    return names[int((known @ colors.mean(0)).argmax())]


def draw_surface(fields: Fields) -> SurfaceRendering | None:
    """Four views of one object's isosurface, None where it has none."""
    try:
        meshes = extract(fields, CELLS)
    except ValueError:
        return None
    packed = pack(meshes, views=len(VIEWS.fov))
    return render_surface(
        packed, VIEWS, SIZE, field_shade(fields, len(VIEWS.fov)), torch.ones(3), get_rasterizer("torch")
    )


def held_out_prompts(each: int, seed: int) -> list[Shape]:
    """Shapes of the unseen triples whose captions all differ, `each` of every triple."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Shape] = {}
    for triple in (triple for triple in TRIPLES if is_held_out(triple)):
        wanted = len(found) + each
        while len(found) < wanted:
            (shape,) = draw_shapes([triple], 1, generator)
            found.setdefault(shape.caption(), shape)
    return list(found.values())


@torch.no_grad()
def retrieval_hits(
    networks: Latte3D, text: nn.Module, prompts: Sequence[str], points: int, judge: AttributeJudge
) -> Tensor:
    """1 where an object made from its prompt alone is said to fit that prompt better than all others, (N,)."""
    drawn = []
    for prompt in prompts:
        rendering = draw_surface(networks(dummy_cloud(points)[None], text([prompt])))
        drawn.append(torch.ones(len(VIEWS.fov), SIZE, SIZE, 3) if rendering is None else rendering.color)
    return hits(judge, drawn, prompts)


@torch.no_grad()
def hits(judge: AttributeJudge, drawn: Sequence[Tensor], prompts: Sequence[str]) -> Tensor:
    """Of views (4, S, S, 3) of one object for each prompt; among equal ones it is a miss."""
    told = judge(torch.cat(list(drawn)))
    similarity = agreement(told, torch.tensor([attributes_of(prompt) for prompt in prompts]), len(VIEWS.fov))
    ahead = (similarity >= similarity.diagonal()[:, None]).sum(1) - 1
    return (ahead == 0).float()


@torch.no_grad()
def surface_scores(
    networks: Latte3D, text: nn.Module, library: Library, shapes: Sequence[Shape], points: int
) -> dict[str, Tensor]:
    """Of drawn surfaces: detail_text, detail_cloud (correlation of fine detail with the truth, of patterned shapes
    alone) and silhouette (IoU of the mesh's masks with the volume's opacity, of all shapes).

    Where there is no surface, they are 0.
    """
    found: dict[str, list[float]] = {"detail_text": [], "detail_cloud": [], "silhouette": []}
    for index, shape in enumerate(shapes):
        words = text([library.captions[index][0]])
        truth = shape.render(VIEWS, SIZE, n=CELLS) if shape.pattern != "plain" else None
        for name, cloud in (("text", dummy_cloud(points)[None]), ("cloud", library.clouds[index : index + 1])):
            fields = networks(cloud, words)
            rendering = draw_surface(fields)
            if truth is not None:
                found[f"detail_{name}"].append(0.0 if rendering is None else detail(rendering, truth))
            if name == "text":
                found["silhouette"].append(0.0 if rendering is None else silhouette(rendering, bake(fields, CELLS)))
    return {name: torch.tensor(values) for name, values in found.items()}


def detail(rendering: SurfaceRendering, truth: SurfaceRendering) -> float:
    """High-pass correlation where both see a surface, mean of the views."""
    return float(highpass_correlation(rendering.color, truth.color, (rendering.seen & truth.seen).float()).mean())


def silhouette(rendering: SurfaceRendering, volume: Tensor) -> float:
    """IoU of a mesh's masks with where its volume (1, 4, n+1, n+1, n+1) is opaque, mean of the views.

    β is so small that the density's halo is no wider than a fraction of a pixel, and rays have samples to match.
    """
    opacity = VolSDFRenderer(SIZE // 2, 192)(VolumeQuery(volume), VIEWS, 0.004, torch.ones(3)).opacity
    return float(mask_iou(F.avg_pool2d(rendering.mask, 2), opacity).mean())
