"""Real trainings that stop and go on: a task that trains slices, and a race of one searcher over it.

The digits task fine-tunes networks of the zoo. A checkpoint holds weights and momentum buffers (`momentum.NAME`), and
the order of the data depends on (seed, configuration, epoch) alone: a training that was stopped goes on to the bit as
if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .baselines import Searcher
from .checkpoints import CheckpointStore, FolderStore
from .digits import (
    ARCHITECTURES,
    SPACE,
    StackedSGD,
    Zoo,
    ZooSettings,
    build_zoo,
    epoch_orders,
    split_digits,
    start_weights,
)
from .replay import Trace
from .results import whole
from .search import ForecastingModelSearch
from .space import Int, SearchSpace

MOMENTUM = "momentum."


class Epoch(NamedTuple):
    """What one epoch of a training gave: its number, its score, and all that is needed to go on."""

    epoch: int
    score: float
    state: dict[str, Tensor]


class Task(Protocol):
    """What can be raced. Scores are to be maximised."""

    space: SearchSpace

    def start(self, config_id: int, params: Mapping[str, Any]) -> tuple[dict[str, Tensor] | None, float]: ...

    def train(
        self, params: Mapping[str, Any], from_epoch: int, to_epoch: int, state: Mapping[str, Tensor] | None
    ) -> Iterator[Epoch]: ...


@dataclass
class DigitsTask:
    """Fine-tune one network of a zoo on 100 digits; the hyperparameter `start` says which.

    seed: of the split, the zoo, the new heads and the order of the data. networks: of the zoo.
    """

    seed: int = 0
    networks: int = 120
    zoo_epochs: int = 15

    def __post_init__(self):
        self.split = split_digits(self.seed)
        self.zoo: Zoo = build_zoo(self.split, ZooSettings(self.networks, epochs=self.zoo_epochs), self.seed)
        self.space = SearchSpace({"start": Int(0, len(self.zoo) - 1), **SPACE.domains}, hidden=("start",))
        self._started: dict[int, tuple[dict[str, Tensor], float]] = {}

    def store(self, folder: str | Path | None = None) -> CheckpointStore:
        """A store for its checkpoints, in memory or in a folder."""
        architectures = {"": ARCHITECTURES["mlp"]()}
        return CheckpointStore(architectures) if folder is None else FolderStore(folder, architectures)

    def start(self, config_id: int, params: Mapping[str, Any]) -> tuple[dict[str, Tensor], float]:
        """The weights that a configuration starts from, and their score; both depend on `start` alone."""
        number = int(params["start"])
        if number not in self._started:
            weights = start_weights(self.zoo, number, self.seed)
            score = self._trainer(params, weights, None).accuracy(self.split.val)
            self._started[number] = (weights, float(score))
        return self._started[number]

    def train(self, params, from_epoch, to_epoch, state=None):
        """Epochs from_epoch + 1 to to_epoch, each as it is done. `state` is what the last of them gave.

        Raises:
            ValueError: it should go on and there is no state.
        """
        if state is None and from_epoch:
            raise ValueError(f"to go on from epoch {from_epoch} its state is needed")
        if state is None or from_epoch == 0:
            state = self.start(0, params)[0]
        weights = {k: v for k, v in state.items() if not k.startswith(MOMENTUM)}
        buffers = {k.removeprefix(MOMENTUM): v for k, v in state.items() if k.startswith(MOMENTUM)}
        trainer = self._trainer(params, weights, buffers or None)
        size = len(self.split.target.y)
        for epoch in range(from_epoch, to_epoch):
            order = epoch_orders([size], [int(params["batch_size"])], [(self.seed, 11, int(params["start"]))], epoch)
            trainer.epoch(self.split.target, order)
            moments = {MOMENTUM + name: buffer[0].clone() for name, buffer in trainer.momentum.items()}
            yield Epoch(epoch + 1, float(trainer.accuracy(self.split.val)), {**trainer.state(0), **moments})

    def _trainer(self, params: Mapping[str, Any], weights: Mapping[str, Tensor], buffers) -> StackedSGD:
        settings = ([float(params[name])] for name in ("learning_rate", "momentum", "weight_decay"))
        stacked = {k: v[None].clone() for k, v in weights.items()}
        momentum = None if buffers is None else {k: v[None].clone() for k, v in buffers.items()}
        return StackedSGD(ARCHITECTURES["mlp"](), stacked, *settings, momentum)


def race(
    task: Task,
    searcher: Searcher,
    store: CheckpointStore,
    state_file: str | Path | None = None,
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> Trace:
    """Train what the searcher asks for until it asks for nothing more.

    Args:
        store: of the states to go on from. state_file: written after every epoch (temporary file, renamed); where it
            exists, a race of `ForecastingModelSearch` goes on from it.
    Returns:
        The epochs of this call, in order.
    """
    if state_file is not None and Path(state_file).is_file():
        try:
            searcher.load_state_dict(torch.load(state_file, weights_only=True))
        except Exception as error:  # torch.load raises what its unpickler meets
            raise ValueError(f"{state_file}: not the state of such a search ({error}); remove it") from error
        for config_id in list(searcher.pending):  # whoever worked on these was stopped
            searcher.release(config_id)
    trace = Trace([], [], [])
    while (asked := searcher.ask()) is not None:
        i = asked.config_id
        state = store.state(i, asked.from_epoch) if asked.from_epoch else None
        for done in task.train(asked.params, asked.from_epoch, asked.to_epoch, state):
            if not isinstance(searcher, ForecastingModelSearch) or searcher.checkpoints is not store:
                store.put(i, done.epoch, done.state)
            searcher.tell(i, done.epoch, done.score, done.state)
            if state_file is not None:
                write_state(searcher, state_file)
            if on_epoch is not None:
                on_epoch(i, done)
            trace.configs.append(i)
            trace.epochs.append(done.epoch)
            trace.scores.append(done.score)
            if not np.isfinite(done.score):
                break
    return trace


def write_state(searcher: ForecastingModelSearch, path: str | Path) -> None:
    """The searcher's state, by way of a temporary file."""
    with whole(path) as temporary:
        torch.save(searcher.state_dict(), temporary)
