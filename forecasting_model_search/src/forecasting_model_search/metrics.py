"""Kendall's τ of rankings, and regret over the epochs spent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def kendall_tau(predicted: Sequence[float], true: Sequence[float]) -> float:
    """τ-b between predicted and true *scores* of the same items in the same order. 0 where one of them is constant.

    Raises:
        ValueError: lengths differ, fewer than two, or values that are not finite.
    """
    a, b = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(f"expected two equally long lists of at least two scores, got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("scores must be finite: leave out diverged configurations")
    found = float(stats.kendalltau(a, b).statistic)
    return found if np.isfinite(found) else 0.0


def regret(scores: Sequence[float], best: float) -> np.ndarray:
    """Best possible score minus the best seen so far, after each epoch spent; NaN scores (diverged) count for
    nothing."""
    seen = np.where(np.isfinite(scores), scores, -np.inf)
    return best - np.maximum.accumulate(seen)
