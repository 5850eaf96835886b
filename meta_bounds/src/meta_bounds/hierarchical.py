"""The hierarchical Bayesian linear model (HBLR): closed-form MAP, exact risk, and what is left of it in the limits.

θ_i = τ + ξ_i with ξ_i ~ N(0, Σ_θ) and flat τ; y_i = X_i θ_i + N(0, σ_i² I). The paper has Σ_θ = σ_θ² I.
Targets enter by X'y and features by X'X alone, so nothing of size n x n is ever built. With A_i = X_i'X_i/σ_i²:

    R_i = (I + A_i Σ_θ)^-1,   P_i = R_i A_i = X_i'(X_i Σ_θ X_i' + σ_i² I)^-1 X_i
    Λ = Σ_τ^-1 = Σ_i P_i,     η = Λ μ_τ = Σ_i R_i X_i'y_i/σ_i²
    C = Σ_θ + Σ_τ,            C^-1 = (I + Λ Σ_θ)^-1 Λ,   C^-1 μ_τ = (I + Λ Σ_θ)^-1 η
    Σ = (X'X/σ² + C^-1)^-1,   MAP = Σ (X'y/σ² + C^-1 μ_τ)

The last three lines need no inverse of Λ, which is 0 without training tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from .setting import Number, covariance_matrix, float64, positive


class TrainingSummary(NamedTuple):
    """All that the training tasks tell; sums over tasks, so it adds up and grows with M by cumulative sums.

    precision: Λ, (..., d, d). information: η, (..., d); its expectation when it stands for given θ. scatter:
    covariance of η for given θ, Σ R_i A_i R_i', (..., d, d).
    """

    precision: Tensor
    information: Tensor
    scatter: Tensor


class Posterior(NamedTuple):
    """N(mean, covariance) of the novel θ; the mean is the MAP. (..., d) and (..., d, d)."""

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True)
class HBLR:
    """The model with known variances.

    Args:
        dim: d.
        task_cov: Σ_θ, a number s for s I, or (d, d).
        train_variance: σ_i² of the training tasks: a number, or a tensor that broadcasts against the tasks (..., M).
        novel_variance: σ_{M+1}², a number or a tensor that broadcasts against the leading dimensions of the novel task.
        tau_mean, tau_cov: a proper prior τ ~ N(m, T) instead of the flat one; both or none.
    Raises:
        ValueError: a variance that is not positive, or a covariance that is not one.
    """

    dim: int
    task_cov: Number
    train_variance: Number
    novel_variance: Number
    tau_mean: Number | None = None
    tau_cov: Number | None = None
    prior: TrainingSummary = field(init=False, repr=False)

    def __post_init__(self):
        d = self.dim
        train, novel = positive(train_variance=self.train_variance, novel_variance=self.novel_variance)
        object.__setattr__(self, "train_variance", train)
        object.__setattr__(self, "novel_variance", novel)
        object.__setattr__(self, "task_cov", covariance_matrix(self.task_cov, d, "task_cov"))
        if (self.tau_mean is None) != (self.tau_cov is None):
            raise ValueError("a prior of τ needs both tau_mean and tau_cov")
        none = torch.zeros(d, d, dtype=torch.float64)
        precision, information = none, none[0]
        if self.tau_cov is not None:
            mean = float64(self.tau_mean)
            if mean.shape != (d,):
                raise ValueError(f"tau_mean must be ({d},), got {tuple(mean.shape)}")
            precision = torch.linalg.inv(covariance_matrix(self.tau_cov, d, "tau_cov"))
            information = precision @ mean
        object.__setattr__(self, "prior", TrainingSummary(precision, information, none))

    def fit(self, features: Tensor | Sequence[Tensor], targets: Tensor | Sequence[Tensor]) -> TrainingSummary:
        """Summary of training data: (..., M, n, d) and (..., M, n), or lists of M tasks of any sizes."""
        grams, moments = moments_of_tasks(features, targets, self.dim)
        return self.accumulate(grams, moments, M=grams.shape[-3])

    def accumulate(self, grams: Tensor, moments: Tensor, M: int | Sequence[int]) -> TrainingSummary:
        """Summary after the first M tasks, from X'X (..., T, d, d) and X'y (..., T, d), T >= M.

        Args:
            M: one number, or several: then a dimension of their length leads all fields, at the price of one.
        """
        shrink, information = self.task_terms(grams, self.train_variance)
        weighted = (shrink @ moments[..., None])[..., 0] / self.train_variance[..., None]
        return self._summary(information, weighted, shrink, M)

    def expect(self, grams: Tensor, thetas: Tensor, M: int | Sequence[int]) -> TrainingSummary:
        """The same in expectation over the noise, for given θ (..., T, d): what exact risks are made of."""
        shrink, information = self.task_terms(grams, self.train_variance)
        return self._summary(information, (information @ thetas[..., None])[..., 0], shrink, M)

    def task_terms(self, grams: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """R_i = (I + A_i Σ_θ)^-1 and P_i = R_i A_i of every task, (..., M, d, d) each.

        Raises:
            ValueError: grams of another shape.
        """
        if grams.shape[-2:] != (self.dim, self.dim):
            raise ValueError(f"grams must be (..., {self.dim}, {self.dim}), got {tuple(grams.shape)}")
        A = grams / variance[..., None, None]
        identity = torch.eye(self.dim, dtype=torch.float64)
        shrink = torch.linalg.inv(identity + A @ self.task_cov)  # eigenvalues in (0, 1]
        information = shrink @ A
        return shrink, (information + information.mT) / 2

    def prior_precision(self, summary: TrainingSummary) -> tuple[Tensor, Tensor]:
        """C^-1 (..., d, d), what the training tasks say of a novel θ, and (I + Λ Σ_θ)^-1, which takes η to C^-1 μ_τ."""
        identity = torch.eye(self.dim, dtype=torch.float64)
        pull = torch.linalg.inv(identity + summary.precision @ self.task_cov)
        precision = pull @ summary.precision
        return (precision + precision.mT) / 2, pull

    def covariance(self, summary: TrainingSummary, gram: Tensor) -> Tensor:
        """Σ = (X'X/σ² + C^-1)^-1 of the novel task, (..., d, d).

        Raises:
            ValueError: novel and training tasks together leave a direction of θ undetermined.
        """
        precision, _ = self.prior_precision(summary)
        return inverse_spd(gram / self.novel_variance[..., None, None] + precision)

    def adapt(self, summary: TrainingSummary, features: Tensor, targets: Tensor) -> Posterior:
        """The MAP and its covariance for a novel task of k rows, (..., k, d) and (..., k)."""
        gram, moment = moments_of_task(features, targets, self.dim)
        return self.posterior(summary, gram, moment)

    def posterior(self, summary: TrainingSummary, gram: Tensor, moment: Tensor) -> Posterior:
        """The same from X'X (..., d, d) and X'y (..., d)."""
        covariance = self.covariance(summary, gram)
        _, pull = self.prior_precision(summary)
        total = moment / self.novel_variance[..., None] + (pull @ summary.information[..., None])[..., 0]
        return Posterior((covariance @ total[..., None])[..., 0], covariance)

    def log_evidence(self, summary: TrainingSummary, gram: Tensor, moment: Tensor, energy: Tensor, rows: int) -> Tensor:
        """log p(y | training data) of the novel task, up to a constant free of its σ²; compare several variances with
        it.

        Args:
            summary: of the training data.
            gram, moment, energy: X'X (..., d, d), X'y (..., d) and y'y (...) of the novel task.
            rows: k.
        Returns:
            (...), the novel variances broadcast against the rest.
        """
        precision, pull = self.prior_precision(summary)
        mean = torch.linalg.solve(precision, (pull @ summary.information[..., None])[..., 0])
        variance = self.novel_variance
        rest = moment - (gram @ mean[..., None])[..., 0]
        squares = energy - 2 * (moment * mean).sum(-1) + (mean * (gram @ mean[..., None])[..., 0]).sum(-1)
        total = gram / variance[..., None, None] + precision
        solved = torch.linalg.solve(total, rest.expand(total.shape[:-1])[..., None])[..., 0]
        misfit = squares / variance - (rest * solved).sum(-1) / variance**2
        return -(misfit + rows * variance.log() + torch.linalg.slogdet(total).logabsdet) / 2

    def bayes_risk(self, summary: TrainingSummary, gram: Tensor) -> Tensor:
        """tr Σ: the MAP's squared error averaged over hierarchy and noise, at any τ (flat) or over its prior. (...)"""
        return self.covariance(summary, gram).diagonal(dim1=-2, dim2=-1).sum(-1)

    def risk(self, expected: TrainingSummary, gram: Tensor, theta: Tensor) -> Tensor:
        """The MAP's squared error for given θ of all tasks, averaged over the noise; exact. (...)

        Bias H η - G θ and variance tr(Σ F Σ) + tr(H V H'), with F = X'X/σ², G = Σ C^-1, H = Σ (I + Λ Σ_θ)^-1 and V the
        summary's scatter. Derived here.

        Args:
            expected: of `expect`.
            gram: X'X of the novel task, (..., d, d).
            theta: the novel θ, (..., d).
        """
        bias, variance = self.bias_and_variance(expected, gram, theta)
        return bias.square().sum(-1) + variance

    def bias_and_variance(self, expected: TrainingSummary, gram: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The two parts of `risk`: (..., d) and (...)."""
        precision, pull = self.prior_precision(expected)
        information = gram / self.novel_variance[..., None, None]
        covariance = inverse_spd(information + precision)
        H = covariance @ pull
        bias = (H @ expected.information[..., None] - covariance @ precision @ theta[..., None])[..., 0]
        own = covariance @ information @ covariance
        variance = (own + H @ expected.scatter @ H.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
        return bias, variance

    def worst_case_risk(self, grams: Tensor, gram: Tensor) -> Tensor:
        """An upper bound on the MAP's risk when every θ may be anywhere in the unit ball; flat τ. (...)

        variance + (Σ_i |H P_i|_2 + |G|_2)², spectral norms. Derived here.

        Args:
            grams: X'X of the training tasks, (..., M, d, d).
            gram: of the novel task, (..., d, d).
        """
        summary = self.expect(grams, torch.zeros(grams.shape[:-1], dtype=torch.float64), grams.shape[-3])
        _, variance = self.bias_and_variance(summary, gram, torch.zeros(self.dim, dtype=torch.float64))
        precision, pull = self.prior_precision(summary)
        covariance = self.covariance(summary, gram)
        _, information = self.task_terms(grams, self.train_variance)
        reach = torch.linalg.matrix_norm((covariance @ pull)[..., None, :, :] @ information, 2).sum(-1)
        return variance + (reach + torch.linalg.matrix_norm(covariance @ precision, 2)).square()

    def plateau(self, gram: Tensor, M: Number = float("inf")) -> Tensor:
        """tr (X'X/σ² + M/(M+1) Σ_θ^-1)^-1: the risk left when n -> ∞, for M tasks or infinitely many. (...)

        Positive at any fixed k: no amount of training data replaces the novel task's own.
        """
        M = float64(M)
        weight = torch.where(torch.isinf(M), 1, M / (M + 1))
        precision = weight[..., None, None] * torch.linalg.inv(self.task_cov)
        total = gram / self.novel_variance[..., None, None] + precision
        return inverse_spd(total).diagonal(dim1=-2, dim2=-1).sum(-1)

    def _summary(self, information, weighted, shrink, M: int | Sequence[int]) -> TrainingSummary:
        """Sums over the first M tasks, the prior of τ added. (..., T, d, d), (..., T, d), (..., T, d, d)."""
        scatter = information @ shrink.mT
        terms, tasks = (information, weighted, scatter), information.shape[-3]
        sizes = [M] if isinstance(M, int) else list(M)
        if not sizes or min(sizes) < 0 or max(sizes) > tasks:
            raise ValueError(f"M must be from 0 to the {tasks} tasks given, got {M}")
        dims = (-3, -2, -3)
        if isinstance(M, int):
            sums = [term.narrow(dim, 0, M).sum(dim) for term, dim in zip(terms, dims, strict=True)]
        else:
            sums = [first_sums(term, dim, sizes) for term, dim in zip(terms, dims, strict=True)]
        return TrainingSummary(*(total + own for total, own in zip(sums, self.prior, strict=True)))


def first_sums(terms: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Sums of the first `sizes` entries along `dim`, in a leading dimension."""
    totals = terms.cumsum(dim).movedim(dim, 0)
    totals = torch.cat([torch.zeros_like(totals[:1]), totals])
    return totals[torch.as_tensor(sizes)]


def inverse_spd(matrix: Tensor) -> Tensor:
    """The inverse of symmetric positive definite matrices (..., d, d), by Cholesky.

    Raises:
        ValueError: one is singular to rounding.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    diagonal = factor.diagonal(dim1=-2, dim2=-1).square()
    scale = matrix.diagonal(dim1=-2, dim2=-1)
    lost = diagonal < matrix.shape[-1] * torch.finfo(matrix.dtype).eps * scale
    if failed.any() or lost.any() or not torch.isfinite(matrix).all():
        raise ValueError(
            f"singular design: the data leave some of the {matrix.shape[-1]} directions of θ undetermined; give more "
            "rows (k >= d without training tasks), remove features that depend on others, or shrink their scale"
        )
    return torch.cholesky_inverse(factor)


def gram(features: Tensor) -> Tensor:
    """X'X of rows, (..., n, d) -> (..., d, d)."""
    return features.mT @ features


def moments_of_task(features: Tensor, targets: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """X'X (..., d, d) and X'y (..., d) of rows (..., n, d) and targets (..., n).

    Raises:
        ValueError: shapes that do not fit, no rows, or a value that is not finite.
    """
    features, targets = float64(features), float64(targets)
    if features.ndim < 2 or features.shape[-1] != dim or features.shape[:-1] != targets.shape:
        raise ValueError(
            f"features must be (..., n, {dim}) and targets (..., n) with the same leading sizes, got "
            f"{tuple(features.shape)} and {tuple(targets.shape)}"
        )
    if features.shape[-2] == 0:
        raise ValueError("a task needs at least one row, got 0")
    if not torch.isfinite(features).all() or not torch.isfinite(targets).all():
        raise ValueError("features and targets must be finite, found NaN or infinity: drop or impute those rows")
    return gram(features), (features.mT @ targets[..., None])[..., 0]


def moments_of_tasks(features, targets, dim: int) -> tuple[Tensor, Tensor]:
    """X'X (..., M, d, d) and X'y (..., M, d) of tasks (..., M, n, d), or of lists of M tasks of any sizes.

    Raises:
        ValueError: another number of target vectors than tasks, or features of another shape.
    """
    if isinstance(features, Tensor):
        if features.ndim < 3:
            raise ValueError(f"training features must be (..., M, n, {dim}), got {tuple(features.shape)}")
        return moments_of_task(features, targets, dim)
    if len(features) != len(targets) or not len(features):
        raise ValueError(f"need one target vector per task, got {len(features)} tasks and {len(targets)} vectors")
    pairs = [moments_of_task(x, y, dim) for x, y in zip(features, targets, strict=True)]
    return torch.stack([p[0] for p in pairs], -3), torch.stack([p[1] for p in pairs], -2)
