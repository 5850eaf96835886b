"""A training loss that is no number ends the run, so that no checkpoint without numbers is written."""

from __future__ import annotations

from torch import Tensor


def finite(loss: Tensor, step: int, lower: str) -> Tensor:
    """The loss as it is.

    Args:
        loss: (). step: of the trainer. lower: the settings that would keep it finite.
    Raises:
        ValueError: it is NaN or infinite.
    """
    if not bool(loss.detach().isfinite().all()):
        raise ValueError(
            f"step {step}: the training loss is {float(loss.detach())}, a finite one expected; lower {lower}"
        )
    return loss
