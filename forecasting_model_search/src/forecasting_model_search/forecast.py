"""Do checkpoints help to forecast? A surrogate is fitted on some observed configurations and ranks others by what is
to come.

Some configurations are observed for a few epochs each. The others, each in a state of b epochs, are ranked by their
predicted score at the next epoch and at the last; τ is against the truth, which the surrogate never sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .checkpoints import CheckpointStore
from .history import History, Row
from .hub import ModelHub
from .metrics import kendall_tau
from .rows import RowBuilder, ToldCheckpoints
from .surrogate import DeepKernelGP
from .weights import Checkpoint


@dataclass(frozen=True)
class ForecastSettings:
    """observed: configurations that the surrogate learns from. budgets: each was trained for 1 to so many epochs.
    states: b of those that are ranked."""

    observed: int = 60
    budgets: int = 5
    states: tuple[int, ...] = (0, 1, 3)


def observe(hub: ModelHub, configs: Sequence[int], epochs: Sequence[int]) -> History:
    """A history of some configurations, each told for so many epochs or until it diverged."""
    history = History(hub.epochs)
    for config_id, count in zip(configs, epochs, strict=True):
        history.start(config_id, hub.starts[config_id])
        for epoch in range(1, count + 1):
            if history.diverged(config_id):
                break
            history.tell(config_id, epoch, hub.curves[config_id, epoch - 1])
    return history


class ShuffledStore:
    """A control: every configuration is shown the checkpoint of another, at the same epoch."""

    def __init__(self, store: CheckpointStore, count: int, seed: int):
        self._store, self._other = store, np.random.default_rng([seed, 7]).permutation(count)

    def get(self, config_id: int, epoch: int) -> Checkpoint:
        return self._store.get(int(self._other[config_id]), epoch)


def split_observed(hub: ModelHub, settings: ForecastSettings, seed: int) -> tuple[History, list[int]]:
    """The observed part, and the other configurations whose whole curve is finite."""
    random = np.random.default_rng([seed, 8])
    order = random.permutation(len(hub)).tolist()
    chosen = order[: settings.observed]
    history = observe(hub, chosen, random.integers(1, settings.budgets + 1, len(chosen)).tolist())
    others = [i for i in order[settings.observed :] if np.isfinite(hub.curves[i]).all()]
    return history, others


def points_of(hub: ModelHub, start_id: bool = False) -> dict[int, list[float]]:
    """Configurations in the unit cube; with `start_id`, one more column for each checkpoint that some start from."""
    points = {i: hub.space.encode(params) for i, params in enumerate(hub.params_list())}
    if start_id:
        starts = sorted(set(hub.configs["start"]))
        points = {i: p + [float(hub.configs["start"].iloc[i] == s) for s in starts] for i, p in points.items()}
    return points


def rank_others(
    hub: ModelHub, gp: DeepKernelGP, builder: RowBuilder, others: Sequence[int], states: Sequence[int], store=None
) -> dict[str, float]:
    """τ by state and target: 'next/0', 'final/0' ... of configurations that were not learned from."""
    seen = observe(hub, others, [max(states)] * len(others))
    store = hub.checkpoints if store is None else store
    looks = builder.checkpoints is not None
    own = RowBuilder(
        builder.configs, hub.epochs, ToldCheckpoints(store, seen) if looks else None, builder.multi_horizon
    )
    found, cache = {}, {}
    for state in states:
        for target, epoch in (("next", state + 1), ("final", hub.epochs)):
            rows = [Row(i, state, epoch, float("nan")) for i in others]
            mean, _ = gp.posterior(own.inputs(seen, rows), cache)
            found[f"{target}/{state}"] = kendall_tau(mean.tolist(), hub.curves[list(others), epoch - 1])
    return found
