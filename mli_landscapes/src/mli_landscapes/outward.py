"""A regulariser that pulls the weights away from initialisation, and so breaks the MLI property at will."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


def outward_penalty(parameters: Iterable[Tensor], radius: float, strength: float) -> Tensor:
    """Σ_p s (|θ_p| - R)², over parameter tensors p: each is drawn to a sphere of radius R.

    Args:
        parameters: tensors of one network; of a stack, call it under `torch.vmap`.
        radius: R >= 0. strength: s >= 0.
    """
    return strength * sum((p.norm() - radius).square() for p in parameters)
