"""View-dependent prompting: the denoiser is told from where it looks; the mapping network never is."""

from __future__ import annotations

import torch
from torch import Tensor

VIEWS = ("front", "side", "back", "overhead")


def view_buckets(elevation: Tensor, azimuth: Tensor) -> Tensor:
    """Index into VIEWS for angles in degrees: overhead above 60, front within 45 of azimuth 0, back beyond 135.

    Args:
        elevation, azimuth: of any one shape (...).
    Returns:
        int64, (...).
    """
    turned = ((azimuth + 180) % 360 - 180).abs()
    bucket = torch.where(turned < 45, 0, torch.where(turned > 135, 2, 1))
    return torch.where(elevation > 60, 3, bucket)


def with_view(prompt: str, view: int) -> str:
    """The denoiser's prompt, such as `a red cube, front view`."""
    return f"{prompt}, {VIEWS[view]} view"
