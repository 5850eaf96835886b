"""Test-time optimisation: stage 1 goes on with a single prompt, from the amortised weights."""

from __future__ import annotations

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from .cameras import CameraSampler
from .checkpoints import load_networks
from .data import StepBatches
from .library import Library
from .networks import dummy_cloud
from .pipeline import Latte3DPipeline
from .stages import VolumetricStage


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
    checkpoint: str,
    prompt: str,
    prior: str | nn.Module,
    steps: int = 100,
    cloud: Tensor | None = None,
    rate: float = 5e-4,
    guidance: float = 3.0,
    seed: int = 0,
) -> Latte3DPipeline:
    """The pipeline of a checkpoint after `steps` more steps on one prompt, under the prior alone (alpha 0).

    The density keeps stage 1's last width. Networks of stage 2 are refused: their geometry is frozen.

    Raises:
        ValueError: a checkpoint of stage 2, an unknown word, or less than one step.
    """
    if steps < 1:
        raise ValueError(f"expected at least one step, got {steps}")
    networks, text, sizes = load_networks(checkpoint)
    if networks.surface:
        raise ValueError(f"{checkpoint} is of stage 2, whose geometry is frozen: optimise one of stage 1")
    text([prompt])  # an unknown word is named before any work
    stage = VolumetricStage(
        list(text.vocabulary), prior, sizes, rate, alpha=0.0, guidance=guidance, beta=(0.025, 0.025), start=checkpoint,
        final_dummy=0.0, seed=seed,
    )  # fmt: skip
    library = prompt_library(prompt, dummy_cloud(sizes.points) if cloud is None else cloud, seed=seed)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "limit_val_batches": 0}
    trainer = Trainer(max_steps=steps, max_epochs=-1, accelerator="auto", devices=1, **quiet)
    batches = StepBatches(library, 1, seed, lambda: trainer.global_step)
    trainer.fit(stage, torch.utils.data.DataLoader(batches, batch_size=None))
    return Latte3DPipeline(stage.networks.cpu(), text, sizes.points)
