"""Judging frozen features on episodes: standardise by the training pool, fit a readout to each support, count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .episodes import AttributeEpisodeSampler, Episodes
from .intervals import over_episodes
from .readouts import Readout

CHUNK = 200  # episodes at a time: bounds memory


@dataclass(frozen=True)
class EpisodeResult:
    """Accuracies in per cent. per_episode: (E,). contexts: of each episode, by name."""

    per_episode: np.ndarray
    contexts: tuple[tuple[str, ...], ...]

    @property
    def mean(self) -> float:
        return over_episodes(self.per_episode).mean

    @property
    def ci95(self) -> float:
        """Half the width of the 95 % interval over episodes."""
        return over_episodes(self.per_episode).half_width

    def by_context(self) -> dict[tuple[str, ...], float]:
        """Mean accuracy of each context that occurs."""
        found: dict[tuple[str, ...], list[float]] = {}
        for context, value in zip(self.contexts, self.per_episode, strict=True):
            found.setdefault(context, []).append(value)
        return {context: float(np.mean(values)) for context, values in found.items()}


@dataclass(frozen=True)
class Standardizer:
    """(h - mean) / scale with the training pool's statistics; a feature that never varies there stays as it is."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standardizer:
        scale = features.std(0)
        return cls(features.mean(0), torch.where(scale > 1e-6 * scale.max().clamp(min=1e-12), scale, 1.0))

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale


def evaluate(features: Tensor, episodes: Episodes | AttributeEpisodeSampler, readout: Readout) -> EpisodeResult:
    """Accuracy on every episode.

    Args:
        features: (n, D), row by row those of the table that the episodes were drawn from.
        episodes: sampled ones, or a sampler.
        readout: see `readouts`.
    Raises:
        ValueError: an episode asks for a row that is not there.
    """
    if isinstance(episodes, AttributeEpisodeSampler):
        episodes = episodes.sample()
    last = int(max(episodes.support.max(), episodes.query.max()))
    if last >= len(features):
        raise ValueError(f"an episode uses row {last}, but there are features of {len(features)} images")
    correct = []
    for support, y, query, query_y in zip(
        *(t.split(CHUNK) for t in (episodes.support, episodes.support_y, episodes.query, episodes.query_y)), strict=True
    ):
        correct.append(accuracy(readout.logits(features[support], y, features[query]), query_y))
    return EpisodeResult(torch.cat(correct).numpy(), episodes.contexts)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Per cent of right answers, (E,); a logit of exactly 0 is half right, as a coin would be."""
    right = torch.where(logits == 0, 0.5, ((logits > 0) == labels.bool()).double())
    return 100 * right.mean(-1)


def rounded(values: Sequence[float], digits: int = 3) -> list[float]:
    """For files."""
    return [round(float(v), digits) for v in values]
