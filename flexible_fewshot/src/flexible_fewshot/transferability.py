"""The T-score: how well test attributes can be told from training attributes, labels alone (no image is looked at)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from .attributes import UNKNOWN, AttributeTable
from .splits import AttributeSplit


def transferability_score(
    train: AttributeTable, held_out: AttributeTable, split: AttributeSplit, group: str = "test"
) -> dict[str, float]:
    """For each attribute of `group` the AUC, on held-out images, of a logistic regression from the train attributes.

    0.5: the training labels say nothing about it; 1: they say all. Unknown training labels enter as the mean of known
    ones; images whose own label is unknown are left out.

    Raises:
        ValueError: an attribute is the same on all images of one of the tables, so that it has no AUC.
    """
    inputs, held_inputs = _vectors(train, train, split), _vectors(held_out, train, split)
    scores = {}
    for name in split.group(group):
        (y,), (held_y,) = train.of([name]).T, held_out.of([name]).T
        for where, labels in (("training", y), ("held-out", held_y)):
            if len(set(labels[labels != UNKNOWN].tolist())) < 2:
                raise ValueError(f"attribute {name} does not vary over the {where} images, so it has no T-score")
        known, held_known = y != UNKNOWN, held_y != UNKNOWN
        model = LogisticRegression(C=1.0, max_iter=1000).fit(inputs[known], y[known])
        scores[name] = auc(model.decision_function(held_inputs[held_known]), held_y[held_known])
    return scores


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The chance that a positive scores above a negative, ties counting half: the area under the ROC curve."""
    positive = labels == 1
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))


def episode_scores(scores: Mapping[str, float], contexts: Sequence[Sequence[str]]) -> np.ndarray:
    """(E,): an episode's T-score is the mean over the attributes of its context."""
    return np.array([np.mean([scores[name] for name in context]) for context in contexts])


def equal_width_edges(scores: np.ndarray, bins: int = 3) -> np.ndarray:
    """Edges (bins + 1,) that divide the range of the scores evenly."""
    return np.linspace(scores.min(), scores.max(), bins + 1)


def bin_of(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin (E,) of every score; the last one holds its upper edge too."""
    return np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)


def _vectors(table: AttributeTable, means_of: AttributeTable, split: AttributeSplit) -> np.ndarray:
    values, known = table.of(split.train).astype(float), means_of.of(split.train).astype(float)
    means = np.array([column[column != UNKNOWN].mean() if (column != UNKNOWN).any() else 0.5 for column in known.T])
    return np.where(values == UNKNOWN, means, values)
