"""What demo and reproduce measure, as plain records of what each trained model makes of each prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from .cameras import ring
from .mesh import HALF_OPAQUE, box_points, density_grid
from .metrics import RPrecision, RProbability, iou, psnr
from .retrieval import ShapeRetrieval
from .scenes import Scenes
from .shapes import ShapeField, render_truth

LEVELS = (2.0, HALF_OPAQUE, 15.0)  # IoU is reported at the middle one


@dataclass(frozen=True)
class StudySettings:
    """What is compared, and how much of it.

    Args:
        budgets: rendered frames for each training prompt. seeds: one training each.
        methods: what each changes in the config, by dotted names.
        rates: learning rate of each method at each budget; the config's own where none is given.
        sweep: the learning rates that `reproduce rates` tries, by method. sweep_seed: of that sweep alone.
        views, resolution, cells: of the evaluation: cameras around, pixels, and points along an edge of the box.
        retrieval_steps: of the retrieval network. workers: processes.
        finetune_steps, finetune_rates: of fine-tuning, by start.
        interpolation_steps, kappas, pairs: of training between prompts.
        shares: parts of the prompts that `reproduce scaling` trains on.
    """

    budgets: list[float] = field(default_factory=lambda: [24.0, 48.0, 96.0])
    seeds: list[int] = field(default_factory=lambda: [0])
    methods: dict[str, dict] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    sweep: dict[str, list[float]] = field(default_factory=dict)
    sweep_seed: int = 100
    views: int = 6
    resolution: int = 16
    cells: int = 40
    retrieval_steps: int = 500
    workers: int = 2
    finetune_steps: int = 30
    finetune_rates: dict[str, list[float]] = field(
        default_factory=lambda: {"amortised": [0.01], "another prompt": [0.02], "random": [0.02]}
    )
    interpolation_steps: int = 110
    kappas: list[float] = field(default_factory=lambda: [0.5, 2.0])
    pairs: list[str] = field(
        default_factory=lambda: [
            "slab-topped red sphere | ball-topped blue sphere",
            "ball-topped red cube | slab-topped green cube",
            "ball-topped green sphere | spike-topped green cone",
            "ball-topped blue cone | spike-topped blue cube",
        ]
    )
    shares: list[float] = field(default_factory=lambda: [0.125, 0.25, 0.5, 1.0])


@lru_cache(maxsize=4)
def truth(prompts: tuple[str, ...], views: int, resolution: int, cells: int) -> tuple[Tensor, Tensor]:
    """True occupancy (P, cells³) and images (P, views, 3, H, W) of prompts."""
    points = box_points(cells)[None]
    occupied = torch.cat([ShapeField([prompt]).inside(points) for prompt in prompts])
    return occupied, render_truth(list(prompts), ring(len(prompts), views), resolution)


@torch.no_grad()
def scene_records(
    scenes_of: Callable[[Sequence[str]], Scenes],
    prompts: Sequence[str],
    retrieval: ShapeRetrieval,
    settings: StudySettings,
    block: int = 9,
) -> list[dict]:
    """One record a prompt: IoU of the density, PSNR of the images, and retrieval among *all* candidates."""
    records = []
    for first in range(0, len(prompts), block):
        part = tuple(prompts[first : first + block])
        occupied, images = truth(part, settings.views, settings.resolution, settings.cells)
        scenes = scenes_of(part)
        density = density_grid(scenes, settings.cells)
        overlap = torch.stack([iou(density > level, occupied) for level in LEVELS], 1)  # (P, levels)
        shown = scenes.images(ring(len(part), settings.views), settings.resolution, 48).rgb.clamp(0, 1)
        decibels = psnr(shown, images).mean(1)
        for row, prompt in enumerate(part):
            scores = retrieval(shown[row])
            own = torch.full((settings.views,), retrieval.candidates.index(prompt))
            records.append(
                {
                    "prompt": prompt,
                    "iou": float(overlap[row, 1]),
                    "iou_levels": overlap[row].tolist(),
                    "psnr": float(decibels[row]),
                    "r_precision": float(RPrecision.values(scores, own).mean()),
                    "r_probability": float(RProbability.values(scores, own).mean()),
                }
            )
    return records


@torch.no_grad()
def path_length_ratio(images: Tensor) -> float:
    """Σ ‖x_{i+1} − x_i‖ / ‖x_n − x_0‖ of images (n, V, 3, H, W) along an interpolation; 1 is a straight line."""
    flat = images.flatten(1)
    return float(flat.diff(dim=0).norm(dim=1).sum() / (flat[-1] - flat[0]).norm())


@torch.no_grad()
def judged_loss(model, scenes: Scenes, prompts: Sequence[str], seed: int = 0, repeats: int = 4) -> Tensor:
    """(P,): mean squared distance in z between renders and what the prior's x̂₀ would have for `prompts`.

    Cameras, noise and t (of the middle range) are the same for all scenes and models.
    """
    prior, generator = model.prior, torch.Generator().manual_seed(seed)
    total = torch.zeros(len(prompts))
    for _ in range(repeats):
        cameras = model.cameras(1, 4, generator)
        cameras = type(cameras)(*(getattr(cameras, n).expand(len(prompts), -1) for n in cameras.__dataclass_fields__))
        z = 2 * model.renderer.render(scenes.field, scenes.w, cameras, None, scenes.background).rgb.flatten(0, 1) - 1
        t = torch.full((len(z),), int(torch.randint(200, 500, (), generator=generator)))
        noise = torch.randn(4, *z.shape[1:], generator=generator).repeat(len(prompts), 1, 1, 1)
        z_t = prior.add_noise(z, noise, t)
        a = prior.signal(t)
        eps = prior.predict_noise(z_t, t, model.condition(prompts, cameras), 1.0)
        clean = (z_t - (1 - a).sqrt() * eps) / a.sqrt()
        total += (clean - z).square().flatten(1).mean(1).reshape(len(prompts), -1).mean(1)
    return total / repeats
