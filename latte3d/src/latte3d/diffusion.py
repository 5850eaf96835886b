"""What score distillation needs of a diffusion model: noise levels, and an estimate of the clean image."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .cameras import Cameras
from .networks import Text


class Condition(NamedTuple):
    """What a prior is told about images, the views of an object side by side.

    text: of the objects (B). cameras: of the images (B * views), for multi-view priors. depth (B * views, 1, S, S) in
    [0, 1], nearer is larger and 0 is background, and place (B * views, 2, S, S), each pixel's x and y in [-1, 1] of the
    whole image: for depth-conditioned priors.
    """

    text: Text
    cameras: Cameras | None = None
    depth: Tensor | None = None
    place: Tensor | None = None


class Prior(Protocol):
    """A frozen image model. alphas_cumprod (T,): ᾱ of its times."""

    alphas_cumprod: Tensor

    def encode(self, images: Tensor) -> Tensor:
        """RGB (N, S, S, 3) in [0, 1] to what is diffused, (N, C, s, s), differentiable."""
        ...

    def denoise_pair(self, noisy: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Estimates of the clean images with the text and without it; t (N,)."""
        ...


def level(alphas_cumprod: Tensor, t: Tensor) -> Tensor:
    """ᾱ of times (N,), as (N, 1, 1, 1)."""
    return alphas_cumprod.to(t.device)[t][:, None, None, None]


def add_noise(x: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """x_t = sqrt(ᾱ) x + sqrt(1 - ᾱ) ε."""
    return alpha.sqrt() * x + (1 - alpha).sqrt() * noise


def clean_from(prediction: Tensor, noisy: Tensor, alpha: Tensor, kind: str) -> Tensor:
    """The clean image by a network's prediction, of a kind as diffusers names them.

    Raises:
        ValueError: another kind than sample, epsilon and v_prediction.
    """
    if kind == "sample":
        return prediction
    if kind == "epsilon":
        return (noisy - (1 - alpha).sqrt() * prediction) / alpha.sqrt()
    if kind == "v_prediction":
        return alpha.sqrt() * noisy - (1 - alpha).sqrt() * prediction
    raise ValueError(f"expected a prediction of sample, epsilon or v_prediction, got {kind!r}")


def noise_from(clean: Tensor, noisy: Tensor, alpha: Tensor) -> Tensor:
    """ε that an estimate of the clean image implies."""
    return (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()


class TimeRange(NamedTuple):
    """Bounds of t / T that close in over training, linearly: (first, last) of the least and of the largest time."""

    least: tuple[float, float] = (0.98, 0.02)
    largest: tuple[float, float] = (0.98, 0.5)

    def at(self, progress: float) -> tuple[float, float]:
        """Bounds after a share of the steps in [0, 1]."""
        share = min(max(progress, 0.0), 1.0)
        return tuple(first + share * (last - first) for first, last in (self.least, self.largest))

    def draw(self, objects: int, times: int, progress: float, generator: torch.Generator) -> Tensor:
        """One time for each object, (B,)."""
        low, high = self.at(progress)
        share = low + (high - low) * torch.rand(objects, generator=generator)
        return (share * times).long().clamp(0, times - 1)
