"""scikit-learn's digits with derived attributes: of the digit itself, and measured on its shape."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from .attributes import AttributeTable

ATTRIBUTES = ("Loop", "Even", "Five_Or_More", "Thick", "Slanted", "Wide")
LOOPED = (0, 6, 8, 9)
FRACTIONS = (0.5, 0.15)  # of the images, for train and val


def digits_pools(size: int = 32, seed: int = 0) -> dict[str, tuple[Tensor, AttributeTable]]:
    """Images (n, 3, size, size), uint8, and attributes of `train`, `val` and `test`.

    Thick, Slanted and Wide mean more than the median of the *training* images.
    """
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.images))
    ends = [0, *np.cumsum([round(f * len(order)) for f in FRACTIONS]), len(order)]
    rows = {s: order[a:b] for s, a, b in zip(("train", "val", "test"), ends, ends[1:], strict=False)}
    measured = np.stack([ink(digits.images), slant(digits.images), width(digits.images)], 1)
    thresholds = np.median(measured[rows["train"]], 0)
    label = digits.target
    of_label = np.stack([np.isin(label, LOOPED), label % 2 == 0, label >= 5], 1)
    values = np.concatenate([of_label, measured > thresholds], 1).astype(np.int8)
    names = tuple(f"digit-{i:04d}" for i in range(len(label)))
    table = AttributeTable(names, ATTRIBUTES, values, label.astype(np.int64))
    images = torch.from_numpy(digits.images).float()[:, None] / 16
    images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    pixels = (255 * images).round().byte().expand(-1, 3, -1, -1)
    return {stage: (pixels[torch.from_numpy(part)], table.rows(part)) for stage, part in rows.items()}


def ink(images: np.ndarray) -> np.ndarray:
    """Mean darkness of images (n, 8, 8)."""
    return images.mean((1, 2))


def slant(images: np.ndarray) -> np.ndarray:
    """How far the ink leans to the right going up: minus the covariance of row and column over the rows' variance."""
    weights, row, column = _moments(images)
    r, c = row - (weights * row).sum((1, 2), keepdims=True), column - (weights * column).sum((1, 2), keepdims=True)
    return -(weights * r * c).sum((1, 2)) / (weights * r * r).sum((1, 2))


def width(images: np.ndarray) -> np.ndarray:
    """Standard deviation of the ink across columns."""
    weights, _, column = _moments(images)
    mean = (weights * column).sum((1, 2))
    return np.sqrt((weights * column**2).sum((1, 2)) - mean**2)


def _moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row, column = np.meshgrid(np.arange(8.0), np.arange(8.0), indexing="ij")
    return images / images.sum((1, 2), keepdims=True), row[None], column[None]
