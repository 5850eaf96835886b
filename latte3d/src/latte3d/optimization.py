"""Test-time optimisation: a stage goes on with a single prompt, from the amortised weights."""

from __future__ import annotations

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from .cameras import CameraSampler
from .checkpoints import PACKAGED, load_networks
from .data import StepBatches
from .library import Library
from .networks import dummy_cloud
from .pipeline import Latte3DPipeline
from .stages import SurfaceStage, VolumetricStage


def prompt_library(prompt: str, cloud: Tensor, sets: int = 64, views: int = 4, seed: int = 0) -> Library:
    """One prompt under many sets of views, without pictures: of a shape, at most its cloud (N, 6) is known."""
    cameras = CameraSampler(views=views)(sets, torch.Generator().manual_seed(seed))
    pictures = torch.zeros(1, sets, views, 1, 1)
    return Library(
        [(prompt,)],
        cloud[None],
        cameras.to_world.unflatten(0, (1, sets, views)),
        cameras.fov.unflatten(0, (1, sets, views)),
        *(pictures[..., None].expand(-1, -1, -1, -1, -1, 3), pictures, pictures),
        torch.zeros(1, 0),
    )


def optimise(
    checkpoint: str | None,
    prompt: str,
    prior: str | nn.Module | None = None,
    steps: int = 100,
    cloud: Tensor | None = None,
    rate: float = 5e-4,
    guidance: float = 3.0,
    times: tuple[float, float] = (0.5, 0.8),
    seed: int = 0,
    progress: bool = True,
) -> Latte3DPipeline:
    """The pipeline of a checkpoint after `steps` more steps on one prompt, under the prior alone (alpha 0).

    Of stage 1, shape and colours go on; of stage 2, colours alone, for its geometry is frozen.

    Args:
        checkpoint: see `load_networks`.
        prior: multi-view for stage 1, depth-conditioned for stage 2; null: the packaged one.
        cloud: (N, 6) of a shape to follow, null: the dummy sphere.
        times: bounds of the distillation's, as shares of all. progress: show a bar.
    Raises:
        ValueError: an unknown word, or less than one step.
    """
    if steps < 1:
        raise ValueError(f"expected at least one step, got {steps}")
    networks, text, sizes = load_networks(checkpoint)
    text([prompt])  # an unknown word is named before any work
    make = surface_stage if networks.surface else volumetric_stage
    common = {"sizes": sizes, "rate": rate, "guidance": guidance, "start": str(checkpoint or PACKAGED), "seed": seed}
    stage = make(list(text.vocabulary), prior, times, common)
    library = prompt_library(prompt, dummy_cloud(sizes.points) if cloud is None else cloud, seed=seed)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "limit_val_batches": 0}
    quiet["enable_progress_bar"] = progress
    trainer = Trainer(max_steps=steps, max_epochs=-1, accelerator="auto", devices=1, **quiet)
    batches = StepBatches(library, 1, seed, lambda: trainer.global_step)
    trainer.fit(stage, torch.utils.data.DataLoader(batches, batch_size=None))
    return Latte3DPipeline(stage.networks.cpu(), text, sizes.points)


def volumetric_stage(words: list[str], prior: str | nn.Module | None, times, common: dict) -> VolumetricStage:
    """Stage 1 where it stopped: the density keeps its last width, and the cloud is the one that is given."""
    prior, (low, high) = "multi_view" if prior is None else prior, times
    bounds = {"least": (low, low), "largest": (high, high)}
    return VolumetricStage(words, prior, alpha=0.0, beta=(0.025, 0.025), final_dummy=0.0, **bounds, **common)


def surface_stage(words: list[str], prior: str | nn.Module | None, times, common: dict) -> SurfaceStage:
    """Stage 2, colours alone."""
    bounds = {"least": times[0], "largest": times[1]}
    return SurfaceStage(words, "depth" if prior is None else prior, dummy=0.0, **bounds, **common)
