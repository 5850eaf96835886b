"""Distances between sets of samples: Fréchet, k-nearest-neighbour precision and recall, energy, histogram."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """|a - b|² + tr(A + B - 2 (A^{1/2} B A^{1/2})^{1/2}), in float64; the inner root by eigenvalues, never negative."""
    a, b = cov_a.double(), cov_b.double()
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    shift = (mean_a.double() - mean_b.double()).square().sum()
    return max(0.0, float(shift + a.trace() + b.trace() - 2 * inner))


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Between Gaussians fitted to two sets of features, (N, d) and (M, d).

    Raises:
        ValueError: fewer than two rows, two widths, or features that are not finite.
    """
    for features in (features_a, features_b):
        if features.ndim != 2 or len(features) < 2 or not bool(features.isfinite().all()):
            raise ValueError(f"features must be finite (N >= 2, d), got shape {tuple(features.shape)}")
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(f"features must have one width, got {features_a.shape[1]} and {features_b.shape[1]}")
    a, b = features_a.double(), features_b.double()
    return gaussian_frechet_distance(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())


def classwise_frechet_distance(features_a: Tensor, labels_a: Tensor, features_b: Tensor, labels_b: Tensor) -> float:
    """The mean over classes of b of the Fréchet distance within each."""
    found = [frechet_distance(features_a[labels_a == c], features_b[labels_b == c]) for c in labels_b.unique().tolist()]
    return sum(found) / len(found)


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> tuple[float, float]:
    """Shares of generated rows within a k-nearest-neighbour ball of the real rows, and the other way round.

    Args:
        real: (N, d). generated: (M, d). k: neighbours that set a ball's radius (Kynkäänniemi et al., 2019).
    Returns:
        Precision and recall, both between 0 and 1.
    Raises:
        ValueError: k below 1, or a set of no more than k rows.
    """
    if min(len(real), len(generated)) <= k or k < 1:
        raise ValueError(f"k must be at least 1 and below both counts, got {k}, {len(real)} and {len(generated)}")
    between = torch.cdist(real, generated)
    radius = torch.cdist(real, real).kthvalue(k + 1, dim=1).values  # itself is the first
    own = torch.cdist(generated, generated).kthvalue(k + 1, dim=1).values
    precision = (between <= radius[:, None]).any(0).double().mean()
    recall = (between <= own).any(1).double().mean()
    return float(precision), float(recall)


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, pairs of a row with itself left out; 0 in expectation for one law.

    Args:
        a: samples (N, d). b: samples (M, d). N and M are at least 2.
    """
    within_a = torch.cdist(a, a).sum() / (len(a) * (len(a) - 1))
    within_b = torch.cdist(b, b).sum() / (len(b) * (len(b) - 1))
    return float(2 * torch.cdist(a, b).mean() - within_a - within_b)


def histogram_distance(a: Tensor, b: Tensor, bins: int = 56, extent: float = 0.8) -> float:
    """Σ |p - q| of two-dimensional histograms over [-extent, extent]², between 0 and 2; outliers count at the edge."""

    def shares(points: Tensor) -> Tensor:
        cell = ((points.clamp(-extent, extent * 0.999999) + extent) / (2 * extent) * bins).long()
        return torch.bincount(cell[:, 0] * bins + cell[:, 1], minlength=bins**2) / len(points)

    return float((shares(a) - shares(b)).abs().sum())
