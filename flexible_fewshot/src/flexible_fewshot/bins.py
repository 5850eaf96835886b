"""Differences between methods in bins of the episodes' T-score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .data import FFSLDataModule
from .evidence import accuracies
from .intervals import Interval, over_episodes
from .study import Record
from .transferability import bin_of, episode_scores, transferability_score

Cell = tuple[str, int]  # condition and the position of its seed


def scores_of(data: FFSLDataModule) -> np.ndarray:
    """(E,): T-scores of the frozen test episodes, out of labels alone."""
    scores = transferability_score(data.table("train"), data.table("test"), data.split)
    return episode_scores(scores, data.episodes("test").contexts)


def paired_differences(records: Sequence[Record], cells: Sequence[Cell], first: str, second: str) -> np.ndarray:
    """first - second of all episodes of some cells, one after another."""
    parts = [accuracies(records, c, first)[k] - accuracies(records, c, second)[k] for c, k in cells]
    return np.concatenate(parts)


def binned(differences: np.ndarray, scores: np.ndarray, edges: np.ndarray) -> tuple[list[Interval], list[int]]:
    """Mean difference in bins of the T-score, and how many episodes are in each.

    A bin of fewer than two episodes has no interval: NaN.
    """
    which = bin_of(scores, edges)
    members = [differences[which == b] for b in range(len(edges) - 1)]
    nothing = Interval(float("nan"), float("nan"))
    return [over_episodes(m) if len(m) > 1 else nothing for m in members], [len(m) for m in members]
