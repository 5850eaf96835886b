"""Environments, where tasks come from: polynomials and Gaussian designs for the hierarchy, and sinusoids."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .setting import Number, covariance_matrix, float64, positive

PAPER_TAU = (0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 1.0)  # of the paper's polynomial study, d = 7
AMPLITUDES, NOVEL_AMPLITUDES, PHASES = (1.0, 4.0), (3.0, 5.0), (0.0, math.pi / 2)


def polynomial_features(x: Tensor, d: int) -> Tensor:
    """x^0 ... x^(d-1). (..., n) -> (..., n, d)"""
    return x[..., None] ** torch.arange(d, dtype=x.dtype)


def polynomial_designs(shape: Sequence[int], d: int, generator: torch.Generator) -> Tensor:
    """Features of x ~ U[-1, 1], of a `shape` (..., n). (..., n, d)"""
    return polynomial_features(2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1, d)


def gaussian_designs(shape: Sequence[int], d: int, generator: torch.Generator) -> Tensor:
    """Rows from N(0, I), of a `shape` (..., n). (..., n, d)"""
    return torch.randn(*shape, d, generator=generator, dtype=torch.float64)


def sample_tasks(tau: Number, task_cov: Number, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """θ ~ N(τ, Σ_θ), (*shape, d).

    Args:
        tau: (d,).
        task_cov: a number s for s I, or (d, d).
        shape: of the tasks.
        generator: source.
    """
    tau = float64(tau)
    factor = torch.linalg.cholesky(covariance_matrix(task_cov, len(tau), "task_cov"))
    return tau + torch.randn(*shape, len(tau), generator=generator, dtype=torch.float64) @ factor.mT


def sample_targets(features: Tensor, thetas: Tensor, variance: Number, generator: torch.Generator) -> Tensor:
    """y = Xθ + N(0, σ²). (..., n, d) and (..., d) -> (..., n)"""
    mean = (features @ thetas[..., None])[..., 0]
    return mean + positive(variance=variance)[0].sqrt() * torch.randn(
        mean.shape, generator=generator, dtype=torch.float64
    )


def sample_sinusoids(
    tasks: int, amplitudes: tuple[float, float], phases: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Coefficients θ of A sin(x + φ) = θ_1 sin x + θ_2 cos x, A and φ uniform; linear, d = 2. (tasks, 2)"""
    uniform = torch.rand(2, tasks, generator=generator, dtype=torch.float64)
    amplitude = amplitudes[0] + (amplitudes[1] - amplitudes[0]) * uniform[0]
    phase = phases[0] + (phases[1] - phases[0]) * uniform[1]
    return amplitude[:, None] * torch.stack([phase.cos(), phase.sin()], -1)


def sinusoid_features(x: Tensor) -> Tensor:
    """(sin x, cos x), in which every sinusoid is linear. (..., n) -> (..., n, 2)"""
    return torch.stack([x.sin(), x.cos()], -1)
