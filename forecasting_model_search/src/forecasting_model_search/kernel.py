"""Exact Gaussian-process regression on features, with GPyTorch's kernels and likelihood, and a Cholesky factor that
grows.

k = s² exp(−|φ − φ'|² / 2ℓ²), constant mean m, noise σ² ≥ 1e-4. With r = y − m and S = K + σ²I:
    minus log marginal likelihood / n = (½ rᵀS⁻¹r + ½ log|S| + (n/2) log 2π) / n,
    posterior μ = m + k*ᵀS⁻¹r, v = s² − k*ᵀS⁻¹k*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean
from torch import Tensor, nn

NOISE_FLOOR = 1e-4
JITTERS = (0.0, 1e-8, 1e-6, 1e-4, 1e-2)


class RBFProcess(nn.Module):
    """Kernel, mean and noise of the process; GPyTorch holds the parameters and their constraints."""

    def __init__(self):
        super().__init__()
        self.covariance = ScaleKernel(RBFKernel())
        self.mean = ConstantMean()
        self.likelihood = GaussianLikelihood(noise_constraint=GreaterThan(NOISE_FLOOR))
        self.likelihood.noise = 0.1

    @property
    def noise(self) -> Tensor:
        return self.likelihood.noise.squeeze()

    @property
    def signal(self) -> Tensor:
        return self.covariance.outputscale

    def kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """K of features (n, d) and (m, d), (n, m), in float64."""
        return self.covariance.forward(a.double(), b.double())

    def negative_log_likelihood(self, features: Tensor, scores: Tensor) -> Tensor:
        """Minus the log marginal likelihood per row, of features (n, d) and scores (n,)."""
        residual = scores.double() - self.mean.constant.double()
        factor = cholesky_with_jitter(self.with_noise(self.kernel(features, features)))
        whitened = torch.linalg.solve_triangular(factor, residual[:, None], upper=False)[:, 0]
        n = len(residual)
        return (whitened.square().sum() / 2 + factor.diagonal().log().sum() + n / 2 * math.log(2 * math.pi)) / n

    def with_noise(self, kernel: Tensor) -> Tensor:
        return kernel + self.noise.double() * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)


class NotPositiveDefiniteError(ValueError):
    """No jitter of the ladder makes a kernel matrix positive definite."""


def cholesky_with_jitter(matrix: Tensor) -> Tensor:
    """Lower factor of a matrix that is positive definite up to rounding, with the least jitter of a ladder that works.

    Raises:
        NotPositiveDefiniteError: none works, or the matrix is not finite.
    """
    for jitter in JITTERS:
        scale = jitter * matrix.detach().diagonal().mean()
        factor, failed = torch.linalg.cholesky_ex(
            matrix + scale * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        )
        if not failed and bool(factor.detach().isfinite().all()):
            return factor
    raise NotPositiveDefiniteError(
        f"a {len(matrix)} x {len(matrix)} kernel matrix is not positive definite, even with jitter {JITTERS[-1]:g}"
    )


@dataclass(frozen=True)
class Posterior:
    """The process given some rows. features (n, d), factor (n, n) lower with factor factorᵀ = S, whitened = factor⁻¹ r.

    `extend` adds rows in O(n²) each; the parameters of the process must not change meanwhile.
    """

    process: RBFProcess
    features: Tensor
    scores: Tensor
    factor: Tensor
    whitened: Tensor

    @classmethod
    def of(cls, process: RBFProcess, features: Tensor, scores: Tensor) -> Posterior:
        """From nothing, O(n³)."""
        with torch.no_grad():
            factor = cholesky_with_jitter(process.with_noise(process.kernel(features, features)))
            residual = scores.double() - process.mean.constant.double()
            whitened = torch.linalg.solve_triangular(factor, residual[:, None], upper=False)[:, 0]
        return cls(process, features, scores.double(), factor, whitened)

    def extend(self, features: Tensor, scores: Tensor) -> Posterior:
        """With more rows (k, d) and (k,): only their part of the factor is computed."""
        if not len(features):
            return self
        with torch.no_grad():
            cross = self.process.kernel(self.features, features)  # (n, k)
            below = torch.linalg.solve_triangular(self.factor, cross, upper=False)  # (n, k)
            own = self.process.with_noise(self.process.kernel(features, features)) - below.T @ below
            corner = cholesky_with_jitter(own)
            n, k = cross.shape
            factor = self.factor.new_zeros(n + k, n + k)
            factor[:n, :n], factor[n:, :n], factor[n:, n:] = self.factor, below.T, corner
            residual = scores.double() - self.process.mean.constant.double() - below.T @ self.whitened
            whitened = torch.linalg.solve_triangular(corner, residual[:, None], upper=False)[:, 0]
        return Posterior(
            self.process,
            torch.cat([self.features, features]),
            torch.cat([self.scores, scores.double()]),
            factor,
            torch.cat([self.whitened, whitened]),
        )

    def predict(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the noiseless function at features (m, d): two tensors (m,)."""
        with torch.no_grad():
            cross = self.process.kernel(self.features, features)  # (n, m)
            solved = torch.linalg.solve_triangular(self.factor, cross, upper=False)
            mean = self.process.mean.constant.double() + solved.T @ self.whitened
            variance = self.process.signal.double() - solved.square().sum(0)
        return mean, variance.clamp_min(0)
