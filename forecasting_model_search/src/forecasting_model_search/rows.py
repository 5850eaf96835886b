"""From rows of a history to what the surrogate sees: configuration, budget, curve and checkpoint of the row's
own state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from .checkpoints import CheckpointStore
from .history import History, Row
from .surrogate import Inputs
from .weights import Checkpoint


class RowBuilder:
    """Makes `Inputs` of rows.

    Args:
        configs: configuration -> its point in [0, 1]^d; may grow.
        max_epochs: T.
        checkpoints: where weights are, None for surrogates that do not look at them.
        multi_horizon: add the state as a second budget feature.
    """

    def __init__(
        self,
        configs: Mapping[int, Sequence[float]],
        max_epochs: int,
        checkpoints: CheckpointStore | None,
        multi_horizon: bool = False,
    ):
        self.configs, self.max_epochs = configs, max_epochs
        self.checkpoints, self.multi_horizon = checkpoints, multi_horizon

    def inputs(self, history: History, rows: Sequence[Row]) -> Inputs:
        """Only what `history` was told is read: the curve and the checkpoint up to each row's state."""
        curves = [history.curve(row.config_id, row.state) for row in rows]
        padded = torch.zeros(len(rows), max(self.max_epochs + 1, 3))
        for k, (row, curve) in enumerate(zip(rows, curves, strict=True)):
            first = 0 if history.start_known(row.config_id) else 1  # the score before training has its own place
            padded[k, first : first + len(curve)] = torch.tensor(curve)
        budget = torch.tensor([[row.epoch / self.max_epochs, row.state / self.max_epochs] for row in rows])
        configs = torch.tensor([list(self.configs[row.config_id]) for row in rows], dtype=torch.float32)
        store = self.checkpoints
        checkpoints = [None if store is None else store.get(row.config_id, row.state) for row in rows]
        return Inputs(configs, budget[:, : 1 + self.multi_horizon], padded, checkpoints)


def scores_of(rows: Sequence[Row]) -> torch.Tensor:
    """(n,) in float64."""
    return torch.tensor([row.score for row in rows], dtype=torch.float64)


class ToldCheckpoints:
    """A store that opens only what a history was told: checkpoints up to the epoch that each configuration reached.

    Raises ValueError for any later one, even if the store behind it has it.
    """

    def __init__(self, store: CheckpointStore, history: History):
        self._store, self._history = store, history

    def has(self, config_id: int, epoch: int) -> bool:
        return (config_id, epoch) in self._store

    def get(self, config_id: int, epoch: int):
        if epoch > self._history.reached(config_id):
            raise ValueError(
                f"configuration {config_id} was told up to epoch {self._history.reached(config_id)}: "
                f"its checkpoint of epoch {epoch} is not known yet"
            )
        return self._store.get(config_id, epoch)


class WithStarts:
    """Before training a configuration has the checkpoint that it starts from, or none."""

    def __init__(self, told: ToldCheckpoints, initial: Mapping[int, Checkpoint]):
        self._told, self._initial = told, initial

    def get(self, config_id: int, epoch: int) -> Checkpoint | None:
        if epoch == 0 and config_id in self._initial:
            return self._initial[config_id]
        return None if epoch == 0 and not self._told.has(config_id, 0) else self._told.get(config_id, epoch)
