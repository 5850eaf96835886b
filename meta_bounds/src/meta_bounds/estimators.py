"""Estimators of a novel task's θ under one interface, each an affine map of X'y, so that every risk is exact.

θ_hat = o + W X'y + Σ_i W_i X_i'y_i covers least squares, ridge, pooled least squares, the MAP, plug-in empirical Bayes
and gradient descent from a learnt start. The averages over a hierarchy or over the orderings of a packing are closed
forms
too: nothing here is simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .hierarchical import HBLR, gram, inverse_spd
from .packing import Packing
from .setting import check_packing_holds, float64


@dataclass(frozen=True)
class Designs:
    """Features of all tasks, seen through X'X, with the model that the estimators may use.

    model: variances and Σ_θ. train: X'X of M tasks, (..., M, d, d), M = 0 allowed. novel: X'X, (..., d, d).
    """

    model: HBLR
    train: Tensor
    novel: Tensor

    @classmethod
    def of(cls, model: HBLR, train: Tensor, novel: Tensor) -> Designs:
        """From the features themselves, (..., M, n, d) and (..., k, d)."""
        return cls(model, gram(float64(train)), gram(float64(novel)))

    @property
    def M(self) -> int:
        return self.train.shape[-3]

    def variances(self) -> Tensor:
        """σ_i² of the training tasks, broadcasting against (..., M, d, d)."""
        return self.model.train_variance[..., None, None]


@dataclass(frozen=True)
class AffineEstimator:
    """θ_hat = offset + novel X'y + Σ_i training_i X_i'y_i, with its exact risks.

    designs: what it was made for. novel: W, (..., d, d). training: W_i, (..., M, d, d). offset: o, (..., d).
    """

    designs: Designs
    novel: Tensor
    training: Tensor
    offset: Tensor

    def estimate(self, training_moments: Tensor, novel_moment: Tensor) -> Tensor:
        """θ_hat from X_i'y_i (..., M, d) and X'y (..., d). (..., d)"""
        from_training = (self.training @ training_moments[..., None])[..., 0].sum(-2)
        return self.offset + from_training + (self.novel @ novel_moment[..., None])[..., 0]

    def variance(self) -> Tensor:
        """E|θ_hat - E θ_hat|² over the noise. (...)"""
        own = self.designs.model.novel_variance * trace(self.novel @ self.designs.novel @ self.novel.mT)
        training = trace(self.designs.variances() * self.training @ self.designs.train @ self.training.mT)
        return own + training.sum(-1)

    def risk(self, thetas: Tensor) -> Tensor:
        """E|θ_hat - θ_{M+1}|² over the noise, for given θ of all tasks, (..., M + 1, d), the novel one last. (...)"""
        bias = (self._of_thetas() @ thetas[..., None])[..., 0].sum(-2) + self.offset
        return bias.square().sum(-1) + self.variance()

    def hierarchy_risk(self, tau: Tensor) -> Tensor:
        """The same averaged over θ_i ~ N(τ, Σ_θ) around a given τ, (d,). (...)"""
        return self._average_risk(float64(tau), self.designs.model.task_cov, 0.0)

    def prior_risk(self) -> Tensor:
        """The same averaged over the model's proper prior of τ as well. (...)

        Raises:
            ValueError: the model's prior of τ is flat.
        """
        model = self.designs.model
        if model.tau_cov is None:
            raise ValueError("the model's prior of τ is flat: give tau_mean and tau_cov, or take hierarchy_risk")
        total = self._of_thetas().sum(-3)
        spread = trace(total @ torch.linalg.inv(model.prior.precision) @ total.mT)
        return self.hierarchy_risk(model.tau_mean) + spread

    def packing_risk(self, packing: Packing) -> Tensor:
        """The same averaged over all orderings of a packing: what Theorem 1 bounds. (...)

        Points dealt without replacement have covariance S and cross-covariance -S/(J - 1).
        """
        check_packing_holds(float64(self.designs.M), float64(packing.J))
        mean = packing.points.mean(0)
        centred = packing.points - mean
        return self._average_risk(mean, centred.mT @ centred / packing.J, -1 / (packing.J - 1))

    def _average_risk(self, mean: Tensor, covariance: Tensor, correlation: float) -> Tensor:
        """E|Σ_i L_i θ_i + o|² + variance, where cov(θ_i, θ_j) is `covariance`, times `correlation` when i != j."""
        maps = self._of_thetas()
        total = maps.sum(-3)
        bias = (total @ mean) + self.offset
        alone = trace(maps @ covariance @ maps.mT).sum(-1)
        together = trace(total @ covariance @ total.mT)
        return bias.square().sum(-1) + (1 - correlation) * alone + correlation * together + self.variance()

    def _of_thetas(self) -> Tensor:
        """L_i with E θ_hat - θ_{M+1} = o + Σ L_i θ_i, (..., M + 1, d, d), the novel task last."""
        own = self.novel @ self.designs.novel - torch.eye(self.designs.model.dim, dtype=torch.float64)
        training = self.training @ self.designs.train
        shape = torch.broadcast_shapes(own.shape[:-2], training.shape[:-3])
        own = own.expand(*shape, *own.shape[-2:])[..., None, :, :]
        return torch.cat([training.expand(*shape, *training.shape[-3:]), own], -3)


def least_squares(designs: Designs) -> AffineEstimator:
    """The novel task alone: (X'X)^-1 X'y; needs k >= d."""
    return _alone(designs, inverse_spd(designs.novel))


def ridge(designs: Designs) -> AffineEstimator:
    """The novel task alone, shrunk to zero by Σ_θ: (X'X/σ² + Σ_θ^-1)^-1 X'y/σ². Right only if τ = 0."""
    variance = designs.model.novel_variance[..., None, None]
    inverse = inverse_spd(designs.novel / variance + torch.linalg.inv(designs.model.task_cov))
    return _alone(designs, inverse / variance)


def pooled(designs: Designs) -> AffineEstimator:
    """All rows as if they were one task, each weighted by 1/σ²."""
    own = designs.model.novel_variance[..., None, None]
    total = inverse_spd((designs.train / designs.variances()).sum(-3) + designs.novel / own)
    weight = total[..., None, :, :] / designs.variances()
    weight = weight.expand(*weight.shape[:-3], designs.M, -1, -1)
    return AffineEstimator(designs, total / own, weight, _zeros(designs))


def maximum_a_posteriori(designs: Designs) -> AffineEstimator:
    """The HBLR's MAP, with C = Σ_θ + Σ_τ: τ is integrated out."""
    model = designs.model
    summary = _summary(designs)
    covariance = model.covariance(summary, designs.novel)
    _, pull = model.prior_precision(summary)
    return _from_start(designs, covariance @ pull, covariance / model.novel_variance[..., None, None])


def plug_in(designs: Designs) -> AffineEstimator:
    """Empirical Bayes with μ_τ for τ, as if it were known: Σ_θ in place of C. Close to the MAP for many tasks."""
    model = designs.model
    mean_map = inverse_spd(_summary(designs).precision)  # η -> μ_τ
    prior = torch.linalg.inv(model.task_cov)
    variance = model.novel_variance[..., None, None]
    covariance = inverse_spd(designs.novel / variance + prior)
    return _from_start(designs, covariance @ prior @ mean_map, covariance / variance)


def prior_mean(designs: Designs) -> AffineEstimator:
    """μ_τ, not adapted at all: what a meta-learner knows before it sees the novel task."""
    mean_map = inverse_spd(_summary(designs).precision)
    return _from_start(designs, mean_map, torch.zeros_like(designs.novel))


def gradient_steps(steps: int, rate: float) -> Callable[[Designs], AffineEstimator]:
    """Linear MAML: gradient descent from μ_τ on the mean squared error of the novel task's rows.

    After t steps θ = (I - B)^t μ_τ + (I - (I - B)^t) θ_LS with B = rate 2 X'X/k; the noise is not known to it.

    Args:
        steps: t.
        rate: in units of 1/λ_max of the Hessian, so that rates below 2 are stable.
    """

    def estimator(designs: Designs) -> AffineEstimator:
        mean_map = inverse_spd(_summary(designs).precision)
        top = torch.linalg.matrix_norm(designs.novel, 2)[..., None, None]
        step = rate / top
        identity = torch.eye(designs.model.dim, dtype=torch.float64)
        kept, gained = identity.expand_as(designs.novel), torch.zeros_like(designs.novel)
        for _ in range(steps):
            kept = kept - step * designs.novel @ kept
            gained = gained - step * designs.novel @ gained + step * identity
        return _from_start(designs, kept @ mean_map, gained)

    return estimator


ESTIMATORS: dict[str, Callable[[Designs], AffineEstimator]] = {
    "map": maximum_a_posteriori,
    "plug_in": plug_in,
    "gradient_steps": gradient_steps(5, 1.0),
    "prior_mean": prior_mean,
    "pooled": pooled,
    "ridge": ridge,
    "least_squares": least_squares,
}


def _summary(designs: Designs):
    """Λ and the prior of τ; the information is not needed."""
    nothing = torch.zeros(designs.train.shape[:-1], dtype=torch.float64)
    return designs.model.expect(designs.train, nothing, designs.M)


def _from_start(designs: Designs, start_map: Tensor, own: Tensor) -> AffineEstimator:
    """start_map η + own X'y, with η = Σ R_i X_i'y_i/σ_i² + T^-1 m."""
    shrink, _ = designs.model.task_terms(designs.train, designs.model.train_variance)
    training = start_map[..., None, :, :] @ shrink / designs.variances()
    return AffineEstimator(designs, own, training, (start_map @ designs.model.prior.information))


def _alone(designs: Designs, own: Tensor) -> AffineEstimator:
    return AffineEstimator(designs, own, torch.zeros_like(designs.train), _zeros(designs))


def _zeros(designs: Designs) -> Tensor:
    return torch.zeros(designs.model.dim, dtype=torch.float64)


def trace(matrix: Tensor) -> Tensor:
    """(..., d, d) -> (...)."""
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
