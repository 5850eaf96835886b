"""Differences between methods in bins of the episodes' T-score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .data import FFSLDataModule
from .evidence import accuracies
from .intervals import Interval, over_episodes
from .study import Record
from .transferability import episode_scores, equal_width_bins, transferability_score

Cell = tuple[str, int]  # condition and the position of its seed


def scores_of(data: FFSLDataModule) -> np.ndarray:
    """(E,): T-scores of the frozen test episodes, out of labels alone."""
    scores = transferability_score(data.table("train"), data.table("test"), data.split)
    return episode_scores(scores, data.episodes("test").contexts)


def paired_differences(records: Sequence[Record], cells: Sequence[Cell], first: str, second: str) -> np.ndarray:
    """first - second of all episodes of some cells, one after another."""
    parts = [accuracies(records, c, first)[k] - accuracies(records, c, second)[k] for c, k in cells]
    return np.concatenate(parts)


def binned(differences: np.ndarray, scores: np.ndarray, bins: int = 3) -> tuple[list[Interval], np.ndarray, list[int]]:
    """Mean difference in bins of equal width of the T-score; the edges; how many episodes are in each.

    A bin of fewer than two episodes has no interval: NaN.
    """
    edges, which = equal_width_bins(scores, bins)
    members = [differences[which == b] for b in range(bins)]
    nothing = Interval(float("nan"), float("nan"))
    return [over_episodes(m) if len(m) > 1 else nothing for m in members], edges, [len(m) for m in members]
