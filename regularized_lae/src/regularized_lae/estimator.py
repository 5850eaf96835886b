"""The paper's autoencoders as a scikit-learn estimator: components by gradient steps, at once or from a stream."""

from __future__ import annotations

import warnings
from numbers import Integral

import numpy as np
import torch
from scipy.linalg import qr
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.extmath import svd_flip
from sklearn.utils.validation import check_is_fitted, validate_data

from .autoencoder import LinearAutoencoder
from .covariance import Covariance, DenseCovariance, SampleCovariance
from .losses import l2_penalty, nested_dropout_expectation
from .methods import Method, method
from .metrics import unit_columns
from .penalties import check_penalties
from .rag import RAG, LatentMoment, imbalance


class RegularizedPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Principal components learnt by a linear autoencoder; no eigen- or singular value decomposition anywhere.

    Parameters
    ----------
    n_components : int or None
        k; None takes as many as the data have directions with variance, in a stream min(shape of the first batch).
    method : {"rag_balanced", "rag", "nonuniform", "nested", "uniform"}
        See `regularized_lae.METHODS`. "uniform" finds the subspace, not the components.
    learning_rate : float
        Step size in units of 1/s_1, the inverse of the largest variance. RAG is stable up to about 0.3 with momentum
        0.9.
    momentum : float
        Nesterov momentum.
    max_iter : int
        Steps of `fit`.
    tol : float
        `fit` stops when no entry of a step's (turned) gradient exceeds this fraction of s_1.
    penalty_low, penalty_high : float
        λ of the L2 methods are evenly spaced between these fractions of s_1. A component whose variance is below its λ
        is not learnt (its row of `components_` is zero).
    decay : float
        `partial_fit` divides the learning rate by 1 + decay · (batches seen): noise averages out.
    random_state : int, RandomState or None
        Initial weights.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Unit decoder columns in the order in which they were learnt to stand, which is by falling variance; signs as
        `svd_flip`.
    explained_variance_ : ndarray of shape (n_components,)
        Variance of the training data along each component (n - 1 in the denominator).
    explained_variance_ratio_ : ndarray of shape (n_components,)
    mean_ : ndarray of shape (n_features,)
    imbalance_ : float
        ‖W1W1ᵀ - W2ᵀW2‖: when it is not small, "rag" has stalled off the axes.
    n_iter_ : int
        Steps taken; batches seen by `partial_fit`.
    """

    def __init__(
        self,
        n_components=None,
        method="rag_balanced",
        *,
        learning_rate=0.1,
        momentum=0.9,
        max_iter=5000,
        tol=1e-6,
        penalty_low=0.03,
        penalty_high=0.3,
        decay=0.01,
        random_state=None,
    ):
        self.n_components = n_components
        self.method = method
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.max_iter = max_iter
        self.tol = tol
        self.penalty_low = penalty_low
        self.penalty_high = penalty_high
        self.decay = decay
        self.random_state = random_state

    def fit(self, X, y=None):
        """Learn the components of X, shape (n_samples, n_features), n_samples >= 2; y is ignored. Returns self.

        Raises ValueError for NaN, one row, or more components than X has directions with variance; warns
        (ConvergenceWarning) when max_iter was not enough.
        """
        self._check_parameters()
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self.mean_ = X.mean(0)
        centred = torch.as_tensor(X - self.mean_)
        covariance = SampleCovariance(centred)
        scale = _largest_variance(covariance)
        if scale > 0:
            covariance = SampleCovariance(centred / scale**0.5)
        if len(X) > X.shape[1]:
            covariance = DenseCovariance(covariance.samples.mT @ covariance.samples / len(X))
        rank = _rank(covariance)
        latents = rank if self.n_components is None else self.n_components
        if not 1 <= latents <= rank:
            raise ValueError(
                f"n_components={latents} must be between 1 and {rank}, the directions with variance that "
                f"n_samples={len(X)} and n_features={X.shape[1]} have here"
            )
        self._start(X.shape[1], latents)
        self._learn(covariance, self.max_iter, self.learning_rate, self.tol)
        self._set_components()
        self._variance = scale * self._variances(covariance)
        self._trace = scale * float(covariance.trace())
        self.n_samples_seen_ = len(X)
        self.explained_variance_ = self._variance * len(X) / (len(X) - 1)
        self.explained_variance_ratio_ = self._variance / self._trace
        return self

    def partial_fit(self, X, y=None):
        """One step on a batch of any number of rows, fewer than n_components too; returns self.

        The mean and the step size follow the stream. After `fit` it goes on from there.

        Raises:
            ValueError: n_components is not from 1 to n_features, or the batch has another number of
                features.
        """
        self._check_parameters()
        first = not hasattr(self, "n_samples_seen_")
        X = validate_data(self, X, dtype=np.float64, reset=first)
        if first:
            latents = min(X.shape) if self.n_components is None else self.n_components
            if not 1 <= latents <= X.shape[1]:
                raise ValueError(f"n_components={latents} must be between 1 and n_features={X.shape[1]}")
            self._start(X.shape[1], latents)
            self.n_samples_seen_, self.mean_, self._variance = 0, np.zeros(X.shape[1]), np.zeros(latents)
            self._trace = 0.0
        self.n_samples_seen_ += len(X)
        weight = len(X) / self.n_samples_seen_
        self.mean_ = self.mean_ + weight * (X.mean(0) - self.mean_)
        centred = X - self.mean_
        trace = (centred**2).sum(1).mean()
        self._trace += weight * (trace - self._trace)
        if scale := max(self._trace, trace):  # at least s_1, and this batch's, whose own step must be stable too
            rate = self.learning_rate / (1 + self.decay * self.n_iter_)
            self._learn(SampleCovariance(torch.as_tensor(centred / scale**0.5)), 1, rate, 0.0)
        self._set_components()
        self._variance = self._variance + weight * (((centred @ self.components_.T) ** 2).mean(0) - self._variance)
        self.explained_variance_ = self._variance
        self.explained_variance_ratio_ = self._variance / (self._trace or 1.0)
        return self

    def transform(self, X):
        """Centred X projected on the components, shape (n_samples, n_components)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return (X - self.mean_) @ self.components_.T

    def inverse_transform(self, X):
        """Codes, shape (n_samples, n_components), back in feature space, shape (n_samples, n_features)."""
        check_is_fitted(self)
        return np.asarray(X) @ self.components_ + self.mean_

    @property
    def _n_features_out(self):
        return len(self.components_)

    def _check_parameters(self):
        k = self.n_components
        if k is not None and (not isinstance(k, Integral) or isinstance(k, bool) or k < 1):
            raise ValueError(f"n_components must be a positive integer or None, got {k!r}")
        if not self.learning_rate > 0 or not 0 <= self.momentum < 1 or self.max_iter < 1:
            raise ValueError(
                "learning_rate must be > 0, momentum in [0, 1) and max_iter >= 1, "
                f"got {self.learning_rate}, {self.momentum} and {self.max_iter}"
            )

    def _start(self, dim: int, latents: int) -> None:
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        model = LinearAutoencoder(dim, latents, generator=torch.Generator().manual_seed(int(seed))).double()
        self._weights = (model.encoder.detach(), model.decoder.detach())
        self._optimizer_state = None
        self.n_iter_ = 0

    def _method(self, latents: int) -> Method:
        lam = torch.linspace(self.penalty_low, self.penalty_high, latents, dtype=torch.float64)
        check_penalties(lam)
        return method(self.method, lam)

    def _learn(self, covariance: Covariance, steps: int, rate: float, tol: float) -> None:
        """Steps on a covariance with largest variance about 1; the state of the optimizer outlives the call."""
        encoder, decoder = (weight.clone().requires_grad_() for weight in self._weights)
        chosen = self._method(len(encoder))
        moment = LatentMoment()
        sgd = torch.optim.SGD([encoder, decoder], lr=rate, momentum=self.momentum, nesterov=self.momentum > 0)
        optimizer = RAG(sgd, encoder, decoder, moment, balance=chosen.balance)
        if self._optimizer_state is not None:
            optimizer.load_state_dict(self._optimizer_state)
            optimizer.param_groups[0]["lr"] = rate
        converged = False
        for _ in range(steps):
            optimizer.zero_grad()
            loss = nested_dropout_expectation(encoder, decoder, covariance, chosen.survival)
            (loss + l2_penalty(encoder, decoder, chosen.lam)).backward()
            with torch.no_grad():
                moment.observe(chosen.rotate * (covariance.rows_times(encoder) @ encoder.mT))
            optimizer.step()
            self.n_iter_ += 1
            grown = self.n_iter_ > 100  # the tiny initial weights have tiny gradients too
            if grown and self.n_iter_ % 10 == 0 and max(w.grad.abs().max() for w in (encoder, decoder)) < tol:
                converged = True
                break
        if not bool(torch.isfinite(decoder).all()):
            raise ValueError(
                f"the weights diverged: learning_rate={self.learning_rate} is too large for momentum={self.momentum}"
            )
        if tol and not converged:
            warnings.warn(f"{steps} steps did not bring the gradient below tol={tol}", ConvergenceWarning, stacklevel=3)
        self._weights = (encoder.detach(), decoder.detach())
        self._optimizer_state = optimizer.state_dict()

    def _set_components(self) -> None:
        encoder, decoder = self._weights
        components = unit_columns(decoder).mT.numpy()
        _, self.components_ = svd_flip(None, components, u_based_decision=False)
        self.imbalance_ = float(torch.linalg.matrix_norm(imbalance(encoder, decoder)))

    def _variances(self, covariance: Covariance) -> np.ndarray:
        components = torch.as_tensor(self.components_)
        return (covariance.rows_times(components) * components).sum(-1).numpy()


def _rank(covariance: Covariance) -> int:
    """Directions with variance, by a pivoted QR decomposition of the covariance or of the samples."""
    matrix = covariance.matrix if isinstance(covariance, DenseCovariance) else covariance.samples
    diagonal = np.abs(np.diag(qr(matrix.numpy(), mode="r", pivoting=True)[0]))
    return int((diagonal > diagonal.max(initial=0) * max(matrix.shape) * np.finfo(float).eps).sum())


def _largest_variance(covariance: Covariance, steps: int = 100) -> float:
    """s_1 by power iteration, to the few digits that a step size needs."""
    vector = torch.ones(1, covariance.dim, dtype=torch.float64) + torch.linspace(
        0, 1, covariance.dim, dtype=torch.float64
    )
    for _ in range(steps):
        image = covariance.rows_times(vector)
        if not bool(image.any()):
            return 0.0
        vector = image / torch.linalg.vector_norm(image)
    return float(torch.linalg.vector_norm(covariance.rows_times(vector)))
