"""Means with 95 % intervals over episodes and seeds, and differences paired by episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean and half the width of its 95 % interval."""

    mean: float
    half_width: float

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


def over_episodes(values: Sequence[float]) -> Interval:
    """mean ± 1.96 s / √E over episodes (not over images, which episodes share).

    Raises:
        ValueError: fewer than two episodes.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"an interval needs the values of at least two episodes, got shape {values.shape}")
    return Interval(float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values))))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Of first - second on the same episodes, episode by episode.

    Raises:
        ValueError: they are not as many.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"a paired difference needs the same episodes, got {first.shape} and {second.shape}")
    return over_episodes(first - second)


def over_seeds(by_seed: Sequence[Sequence[float]]) -> Interval:
    """Of values that differ in training seed and in episode: Student's interval over the seeds' means.

    One seed alone has the interval over its episodes, which says nothing of other seeds.
    """
    if len(by_seed) == 1:
        return over_episodes(by_seed[0])
    means = np.array([np.mean(values) for values in by_seed])
    quantile = stats.t.ppf(0.975, len(means) - 1)
    return Interval(float(means.mean()), float(quantile * means.std(ddof=1) / np.sqrt(len(means))))


def pooled(by_seed: Sequence[Sequence[float]]) -> Interval:
    """Over all episodes of all seeds, mean ± 1.96 s / √(episodes): how far the episodes settle it for these seeds."""
    return over_episodes(np.concatenate([np.asarray(values, dtype=float) for values in by_seed]))
