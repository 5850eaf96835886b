"""Optimizers with their schedules, by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from .lars import LARS


def optimizer_with_schedule(
    name: str, groups: list[tuple[nn.Module, float]], weight_decay: float, steps: int
) -> dict[str, Any]:
    """`adamw` with one cycle up and down, or `lars` with a cosine down; stepped once a batch.

    Args:
        groups: modules with their (largest) rates.
        steps: all optimizer steps that there will be.
    Raises:
        ValueError: no such optimizer, or no parameters.
    """
    parameters = [{"params": list(module.parameters()), "lr": lr} for module, lr in groups]
    parameters = [group for group in parameters if group["params"]]
    rates = [group["lr"] for group in parameters]
    steps = max(int(steps), 1)
    if name == "adamw":
        optimizer = torch.optim.AdamW(parameters, weight_decay=weight_decay)
        schedule = OneCycleLR(optimizer, max_lr=rates, total_steps=steps + 1)
    elif name == "lars":
        optimizer = LARS(parameters, lr=max(rates), weight_decay=weight_decay)
        schedule = CosineAnnealingLR(optimizer, steps)
    else:
        raise ValueError(f"unknown optimizer {name!r}, choose from adamw, lars")
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
