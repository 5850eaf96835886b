"""Episodes of flexible few-shot learning: each draws a context, and the context alone says what is the same class.

A context is a conjunction of one or two attributes. An image is positive when it has all of them, negative when it
lacks at least one. Support (N + N) and query (M + M) are balanced unless asked otherwise, and no image is used twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .attributes import ABSENT, PRESENT, AttributeTable

PATIENCE = 1000  # contexts drawn for one episode before giving up


class Episode(NamedTuple):
    """Rows of the table in support and query, their labels (1: positive), and the names of the context's attributes."""

    support: Tensor
    query: Tensor
    support_y: Tensor
    query_y: Tensor
    context: tuple[str, ...]


@dataclass(frozen=True)
class Episodes:
    """E episodes of one size: support (E, 2N) and query (E, Q) rows, labels alike in {0, 1}, contexts by name.

    In every support the positives come first.
    """

    support: Tensor
    query: Tensor
    support_y: Tensor
    query_y: Tensor
    contexts: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.contexts)

    def __getitem__(self, i: int) -> Episode:
        return Episode(self.support[i], self.query[i], self.support_y[i], self.query_y[i], self.contexts[i])

    @property
    def shots(self) -> int:
        """N, the number of positive support images."""
        return self.support.shape[1] // 2

    def with_shots(self, shots: int) -> Episodes:
        """The same episodes with the first `shots` images of each class as support: shots curves on the same queries.

        Raises:
            ValueError: there are not so many.
        """
        if not 1 <= shots <= self.shots:
            raise ValueError(f"these episodes have {self.shots} shots, {shots} were asked for")
        keep = torch.cat([torch.arange(shots), self.shots + torch.arange(shots)])
        return Episodes(self.support[:, keep], self.query, self.support_y[:, keep], self.query_y, self.contexts)


class AttributeEpisodeSampler:
    """Draws episodes whose i-th is a function of (seed, i) alone, whatever the number of workers.

    Args:
        table: attributes of all images.
        pool: names of the attributes that contexts are made of.
        n_shot: N, support images of each class.
        n_query: M, query images of each class; a pair gives positives and negatives of an unbalanced query.
        n_episodes: how many.
        max_conjunction: 1 or 2, the most attributes in a context; sizes are equally likely.
        seed: of all episodes.
        query_rows: rows that queries are drawn from; the others are for supports. By default both come from all rows.
    Raises:
        ValueError: a number is out of range, or no context has enough images.
    """

    def __init__(
        self,
        table: AttributeTable,
        pool: Sequence[str],
        n_shot: int,
        n_query: int | tuple[int, int],
        n_episodes: int,
        max_conjunction: int = 2,
        seed: int = 0,
        query_rows: np.ndarray | None = None,
    ):
        queries = (n_query, n_query) if isinstance(n_query, int) else tuple(n_query)
        if n_shot < 1 or min(queries) < 0 or sum(queries) < 1 or n_episodes < 1:
            raise ValueError(
                f"n_shot and n_episodes must be >= 1 and n_query positive, got {n_shot}, {n_episodes} and {n_query}"
            )
        if not 1 <= max_conjunction <= min(2, len(pool)):
            raise ValueError(
                f"max_conjunction must be 1 or 2 and at most the {len(pool)} attributes of the pool, "
                f"got {max_conjunction}"
            )
        self.pool, self.n_shot, self.n_episodes = tuple(pool), n_shot, n_episodes
        self.queries, self.max_conjunction, self.seed = queries, max_conjunction, seed
        values = np.ascontiguousarray(table.of(pool).T)
        self._present, self._absent = values == PRESENT, values == ABSENT  # (A, n) each
        self._for_query = None
        if query_rows is not None:
            self._for_query = np.zeros(len(table), dtype=bool)
            self._for_query[query_rows] = True
        self._rows: dict[tuple[int, ...], list[np.ndarray]] = {}
        self.drawn = self.rejected = 0  # contexts, and those that had too few images

    def __len__(self) -> int:
        return self.n_episodes

    def __iter__(self) -> Iterator[Episode]:
        episodes = self.sample()
        return (episodes[i] for i in range(len(episodes)))

    @property
    def rejected_share(self) -> float:
        """Share of drawn contexts that had too few positives or negatives."""
        return self.rejected / max(self.drawn, 1)

    def sample(self, first: int = 0, count: int | None = None) -> Episodes:
        """Episodes `first`, `first` + 1, ...; all of them by default."""
        drawn = [self._draw(i) for i in range(first, first + (self.n_episodes if count is None else count))]
        n_positive, n_negative = self.queries
        support_y = torch.tensor([1] * self.n_shot + [0] * self.n_shot)
        query_y = torch.tensor([1] * n_positive + [0] * n_negative)
        support, query = (torch.from_numpy(np.stack([d[k] for d in drawn])) for k in (0, 1))
        contexts = tuple(tuple(self.pool[a] for a in d[2]) for d in drawn)
        shape = (len(drawn), -1)
        return Episodes(support, query, support_y.expand(shape), query_y.expand(shape), contexts)

    def _draw(self, i: int) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        random = np.random.default_rng([self.seed, i])
        for _ in range(PATIENCE):
            size = int(random.integers(1, self.max_conjunction + 1))
            context = tuple(sorted(random.choice(len(self.pool), size, replace=False).tolist()))
            candidates = self._candidates(context)
            self.drawn += 1
            if all(len(rows) >= n for rows, n in zip(candidates, self._needed(), strict=True)):
                break
            self.rejected += 1
        else:
            raise ValueError(
                f"no context with enough images in {PATIENCE} draws: an episode needs {self.n_shot} + "
                f"{self.queries[0]} positives and {self.n_shot} + {self.queries[1]} negatives; "
                "use fewer shots or queries, or more images"
            )
        drawn = [
            rows[random.choice(len(rows), n, replace=False)] for rows, n in zip(candidates, self._needed(), strict=True)
        ]
        if self._for_query is None:
            (p, q), (n, m) = ((rows[: self.n_shot], rows[self.n_shot :]) for rows in drawn)
        else:
            p, n, q, m = drawn
        return np.concatenate([p, n]), np.concatenate([q, m]), context

    def _needed(self) -> tuple[int, ...]:
        """How many rows of each kind of `_candidates`."""
        if self._for_query is None:
            return self.n_shot + self.queries[0], self.n_shot + self.queries[1]
        return (self.n_shot, self.n_shot, *self.queries)

    def _candidates(self, context: tuple[int, ...]) -> list[np.ndarray]:
        """Positive and negative rows; with rows for queries: of support, then of query."""
        if context not in self._rows:
            positive, negative = self._present[context[0]], self._absent[context[0]]
            for attribute in context[1:]:
                positive, negative = positive & self._present[attribute], negative | self._absent[attribute]
            kinds = [positive, negative]
            if self._for_query is not None:
                kinds = [kind & half for half in (~self._for_query, self._for_query) for kind in kinds]
            self._rows[context] = [np.flatnonzero(kind) for kind in kinds]
        return self._rows[context]
