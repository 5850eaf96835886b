"""Losses that keep scenes sparse, opaque and facing the camera; each is zero-weighted unless asked for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .renderer import RenderOutput


def sparsity(opacity: Tensor) -> Tensor:
    """mean √(opacity² + 0.01)."""
    return (opacity.square() + 0.01).sqrt().mean()


def orientation(weights: Tensor, facing: Tensor) -> Tensor:
    """Σ_i sg[w_i] max(0, n_i · d)², averaged over rays: normals that look away from the camera.

    Args:
        weights, facing: (P, R, S).
    """
    return (weights.detach() * facing.clamp(min=0).square()).sum(-1).mean()


def opacity_entropy(opacity: Tensor) -> Tensor:
    """Mean binary entropy in nats: pixels should be hit or not."""
    o = opacity.clamp(1e-3, 1 - 1e-3)
    return -(o * o.log() + (1 - o) * (1 - o).log()).mean()


@dataclass(frozen=True)
class Regularisers:
    """Their weights; orientation grows linearly from its first to its last value over training."""

    sparsity: float = 0.0
    orientation: float = 0.0
    orientation_end: float = 0.0
    entropy: float = 0.0

    @property
    def needs_normals(self) -> bool:
        return max(self.orientation, self.orientation_end) > 0

    def __call__(self, out: RenderOutput, progress: float) -> Tensor | float:
        """The weighted sum for one batch of renders."""
        total = 0.0
        if self.sparsity:
            total = total + self.sparsity * sparsity(out.opacity)
        if self.entropy:
            total = total + self.entropy * opacity_entropy(out.opacity)
        weight = self.orientation + (self.orientation_end - self.orientation) * progress
        if weight and out.facing is not None:
            total = total + weight * orientation(out.weights, out.facing)
        return total
