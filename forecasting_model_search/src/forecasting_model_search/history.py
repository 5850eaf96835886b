"""What a search was told, and the rows that it makes of it. Nothing that was not told can be read from here.

A row is one thing the surrogate learns from: the configuration, its curve and its checkpoint up to some state, and a
    later
epoch whose score is known. One-step rows go from j − 1 to j; multi-horizon rows from any earlier state b < j.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """Configuration, state (epochs trained, whose checkpoint and curve are inputs), epoch predicted, its score
    or NaN."""

    config_id: int
    state: int
    epoch: int
    score: float


class History:
    """Scores by configuration and epoch, in the order of the epochs of each configuration.

    Args:
        max_epochs: T; no configuration is trained longer.
    """

    def __init__(self, max_epochs: int):
        if max_epochs < 1:
            raise ValueError(f"max_epochs must be at least 1, got {max_epochs}")
        self.max_epochs = max_epochs
        self._scores: dict[int, dict[int, float]] = {}
        self._starts: dict[int, float] = {}
        self._diverged: dict[int, int] = {}
        self._order: list[tuple[int, int]] = []

    def start(self, config_id: int, score: float) -> None:
        """The score before any training, which costs nothing: of the checkpoint that a configuration starts from."""
        if math.isfinite(score):
            self._starts[config_id] = float(score)

    def tell(self, config_id: int, epoch: int, score: float) -> None:
        """One more epoch of a configuration; a score that is not finite marks it as diverged, for good.

        Raises:
            ValueError: the epoch does not follow the last one, is above T, or the configuration has diverged.
        """
        reached = self.reached(config_id)
        if config_id in self._diverged:
            raise ValueError(
                f"configuration {config_id} diverged at epoch {self._diverged[config_id]}: nothing follows"
            )
        if epoch != reached + 1:
            raise ValueError(
                f"configuration {config_id} is at epoch {reached}, expected {reached + 1} next, got {epoch}"
            )
        if epoch > self.max_epochs:
            raise ValueError(f"configuration {config_id}: epoch {epoch} is above max_epochs = {self.max_epochs}")
        if math.isfinite(score):
            self._scores.setdefault(config_id, {})[epoch] = float(score)
        else:
            self._diverged[config_id] = epoch
        self._order.append((config_id, epoch))

    def reached(self, config_id: int) -> int:
        """b_i: epochs that were told with a finite score."""
        return len(self._scores.get(config_id, ()))

    def diverged(self, config_id: int) -> bool:
        return config_id in self._diverged

    @property
    def observed(self) -> int:
        """How many epochs were told, those that diverged included."""
        return len(self._order)

    @property
    def started(self) -> list[int]:
        """Configurations with at least one epoch, in order of their first."""
        return list(dict.fromkeys(config_id for config_id, _ in self._order))

    @property
    def curves(self) -> dict[int, dict[int, float]]:
        """Configuration -> epoch -> score, of finite scores."""
        return {config_id: dict(curve) for config_id, curve in self._scores.items()}

    def curve(self, config_id: int, state: int) -> list[float]:
        """Scores up to `state` epochs, the one before training first where it is known.

        Raises:
            ValueError: more epochs than were told: looking ahead.
        """
        if state > self.reached(config_id):
            raise ValueError(
                f"configuration {config_id} was told up to epoch {self.reached(config_id)}, "
                f"its curve up to {state} is not known"
            )
        known = [self._starts[config_id]] if config_id in self._starts else []
        return known + [self._scores[config_id][j] for j in range(1, state + 1)]

    def start_known(self, config_id: int) -> bool:
        return config_id in self._starts

    def best(self) -> tuple[int, int, float]:
        """Configuration, epoch and score of the best that was told."""
        found = [(score, -i, -j) for i, curve in self._scores.items() for j, score in curve.items()]
        if not found:
            raise ValueError("nothing was observed yet")
        score, i, j = max(found)
        return -i, -j, score

    def rows(self, horizons: Sequence[int] | None = (1,), first: int = 0) -> list[Row]:
        """Rows in the order in which their scores were told.

        Args:
            horizons: epochs from state to prediction; (1,) gives one row for each told epoch, None all horizons.
            first: leave out those of the first so many told epochs.
        """
        rows = []
        for config_id, epoch in self._order[first:]:
            if epoch not in self._scores.get(config_id, {}):
                continue  # diverged
            states = range(epoch) if horizons is None else [epoch - h for h in horizons if h <= epoch]
            rows += [Row(config_id, state, epoch, self._scores[config_id][epoch]) for state in states]
        return rows

    def state_dict(self) -> dict:
        """All of it as plain lists."""
        return {
            "max_epochs": self.max_epochs,
            "told": [[i, j, self._scores.get(i, {}).get(j, math.nan)] for i, j in self._order],
            "starts": [[i, score] for i, score in self._starts.items()],
        }

    @classmethod
    def from_state_dict(cls, state: Mapping) -> History:
        history = cls(state["max_epochs"])
        for config_id, score in state["starts"]:
            history.start(config_id, score)
        for config_id, epoch, score in state["told"]:
            history.tell(config_id, epoch, score)
        return history
