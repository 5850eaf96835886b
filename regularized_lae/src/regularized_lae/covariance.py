"""The second moment C = XᵀX/n of centred data: all that a linear autoencoder ever sees of them.

Every loss of this package needs C only through the product W C, so the same formula serves samples (streaming,
minibatches: O(n d k), C is never built) and an exact covariance matrix (O(d² k), whatever n was).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor


class Covariance(ABC):
    """C = XᵀX/n of centred rows X; abstract, see `SampleCovariance` and `DenseCovariance`."""

    dim: int  # d

    @abstractmethod
    def rows_times(self, weights: Tensor) -> Tensor:
        """W C for weights W of shape (..., k, d); returns (..., k, d)."""

    @abstractmethod
    def trace(self) -> Tensor:
        """tr C, the total variance; a scalar."""

    @abstractmethod
    def to(self, *args, **kwargs) -> Covariance:
        """The same second moment on another device or dtype, as `torch.Tensor.to`."""


class SampleCovariance(Covariance):
    """C of n centred samples, never built: W C = (W Xᵀ) X / n.

    Args:
        samples: X, shape (n, d), already centred.
    Raises:
        ValueError: X is not a matrix with at least one row.
    """

    def __init__(self, samples: Tensor):
        if samples.ndim != 2 or len(samples) == 0:
            raise ValueError(f"samples must be (n, d) with n >= 1, got {tuple(samples.shape)}")
        self.samples = samples
        self.dim = samples.shape[1]

    def rows_times(self, weights: Tensor) -> Tensor:
        return (weights @ self.samples.mT) @ self.samples / len(self.samples)

    def trace(self) -> Tensor:
        return self.samples.square().sum() / len(self.samples)

    def to(self, *args, **kwargs) -> SampleCovariance:
        return SampleCovariance(self.samples.to(*args, **kwargs))


class DenseCovariance(Covariance):
    """An exact covariance matrix.

    Args:
        matrix: C, shape (d, d), symmetric.
    Raises:
        ValueError: C is not square.
    """

    def __init__(self, matrix: Tensor):
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"a covariance must be (d, d), got {tuple(matrix.shape)}")
        self.matrix = matrix
        self.dim = len(matrix)

    def rows_times(self, weights: Tensor) -> Tensor:
        return weights @ self.matrix

    def trace(self) -> Tensor:
        return self.matrix.trace()

    def to(self, *args, **kwargs) -> DenseCovariance:
        return DenseCovariance(self.matrix.to(*args, **kwargs))


class RunningCovariance:
    """Mean and covariance of a stream of batches, merged in float64 (Chan, Golub & LeVeque 1983).

    One pass, O(d²) memory; a batch may have any number of rows. Unlike sums of squares, nothing cancels when the mean
    is large beside the spread.
    """

    def __init__(self, dim: int):
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)  # (d,)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64)  # Σ (x - mean)(x - mean)ᵀ

    def update(self, batch: Tensor) -> RunningCovariance:
        """Add a batch of samples, shape (n, d); returns self.

        Raises:
            ValueError: another number of columns.
        """
        if batch.ndim != 2 or batch.shape[1] != len(self.mean):
            raise ValueError(f"a batch must be (n, {len(self.mean)}), got {tuple(batch.shape)}")
        if len(batch) == 0:
            return self
        batch = batch.to(torch.float64)
        batch_mean = batch.mean(0)
        centred = batch - batch_mean
        shift = batch_mean - self.mean
        total = self.count + len(batch)
        self.scatter += centred.mT @ centred + torch.outer(shift, shift) * (self.count * len(batch) / total)
        self.mean += shift * (len(batch) / total)
        self.count = total
        return self

    @property
    def covariance(self) -> Tensor:
        """C = Σ (x - mean)(x - mean)ᵀ / n, shape (d, d), float64.

        Raises:
            ValueError: fewer than 2 samples so far.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 samples, got {self.count}")
        return self.scatter / self.count


def running_covariance(batches: Iterable[Tensor], dim: int) -> RunningCovariance:
    """Mean and covariance of all samples in `batches`, each (n, d), without holding them together in memory."""
    running = RunningCovariance(dim)
    for batch in batches:
        running.update(batch)
    return running
