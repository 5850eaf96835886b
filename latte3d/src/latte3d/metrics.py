"""Agreement of shapes and images: IoU of volumes and masks, Chamfer distance, retrieval, detail, FID of renders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import sqrtm
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional as F


def volume_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of the insides (negative) of signed distances (B, P) at the same points, (B,).

    Raises:
        ValueError: two shapes.
    """
    return _iou(first < 0, second < 0)


def mask_iou(first: Tensor, second: Tensor, threshold: float = 0.5) -> Tensor:
    """Of images (B, ...) above a threshold, (B,); two empty ones agree.

    Raises:
        ValueError: two shapes.
    """
    return _iou(first > threshold, second > threshold)


def _iou(first: Tensor, second: Tensor) -> Tensor:
    if first.shape != second.shape:
        raise ValueError(f"expected two fields of one shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    both, either = (first & second).flatten(1).sum(1), (first | second).flatten(1).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def chamfer_distance(first: Tensor, second: Tensor) -> float:
    """Mean distance of points (N, 3) to the nearest of (M, 3), and back, averaged.

    Raises:
        ValueError: an empty cloud.
    """
    if not len(first) or not len(second):
        raise ValueError(f"expected two clouds with points, got {len(first)} and {len(second)}")
    a, b = first.detach().cpu().numpy(), second.detach().cpu().numpy()
    return float((cKDTree(b).query(a)[0].mean() + cKDTree(a).query(b)[0].mean()) / 2)


def retrieval_at_k(similarity: Tensor, k: int) -> float:
    """Share of rows (N, N) whose own column is among the k largest; of equal values all others count first."""
    own = similarity.diagonal()[:, None]
    ahead = (similarity >= own).sum(1) - 1
    return float((ahead < k).float().mean())


def highpass_correlation(images: Tensor, truth: Tensor, mask: Tensor, width: int = 5) -> Tensor:
    """Pearson correlation of the fine detail of images (N, S, S, 3) with the truth's where mask (N, S, S) is set, (N,).

    Detail is what a mean over width² pixels takes away; 0 where either has none. Blurred textures score near 0 whatever
    their colours.
    """

    def detail(pictures: Tensor) -> Tensor:
        planes = pictures.movedim(-1, 1)
        blurred = F.avg_pool2d(planes, width, 1, width // 2, count_include_pad=False)
        return (planes - blurred).movedim(1, -1) * mask[..., None]

    def centred(values: Tensor) -> Tensor:
        count = 3 * mask.sum((1, 2)).clamp(min=1)
        mean = values.sum((1, 2, 3)) / count
        return (values - mean[:, None, None, None]) * mask[..., None]

    a, b = centred(detail(images)).flatten(1), centred(detail(truth)).flatten(1)
    scale = (a.square().sum(1) * b.square().sum(1)).sqrt()
    return torch.where(scale > 1e-12, (a * b).sum(1) / scale.clamp(min=1e-12), 0.0)


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """|m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½) of features (N, D) and (M, D).

    Raises:
        ValueError: fewer than two samples.
    """
    a, b = (features.detach().double().cpu().numpy() for features in (first, second))
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a covariance needs at least two samples, got {len(a)} and {len(b)}")
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    spread = np.trace(covariances[0] + covariances[1] - 2 * root)
    return float(np.square(a.mean(0) - b.mean(0)).sum() + spread)


def render_fid(feature_fn: Callable[[Tensor], Tensor], renders: Tensor, references: Tensor) -> float:
    """Fréchet distance of two sets of images (N, S, S, 3) in the features (N, D) of any network.

    With Inception's features it is the usual FID; with masks for images, the paper's Mask-FID.

    Raises:
        ValueError: fewer than two images.
    """
    return frechet_distance(feature_fn(renders), feature_fn(references))
