"""How many updates a fit makes, and the one-cycle schedule over them."""

from __future__ import annotations

import math

import torch
from pytorch_lightning import Trainer


def planned_steps(trainer: Trainer) -> int:
    """Updates until max_epochs or max_steps. Batches by budget differ in number from epoch to epoch: all are counted.

    Lightning's own estimate would load the data before a checkpoint is restored, and a resumed run would begin with the
    order of epoch 0.
    """
    if trainer.max_steps > 0:
        return trainer.max_steps
    if trainer.datamodule is None:
        return int(trainer.estimated_stepping_batches)
    loader, steps = trainer.datamodule.train_dataloader(), 0
    for epoch in range(trainer.max_epochs):
        loader.batch_sampler.sampler.set_epoch(epoch)
        steps += math.ceil(len(loader) / trainer.accumulate_grad_batches)
    return steps


def one_cycle(optimizer: torch.optim.Optimizer, rate: float, trainer: Trainer) -> dict:
    """What `configure_optimizers` returns: up to `rate`, and down to nearly nothing at the last update."""
    steps = max(2, planned_steps(trainer))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
