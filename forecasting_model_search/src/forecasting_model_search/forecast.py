"""Do checkpoints help to forecast? A surrogate is fitted on some observed configurations and ranks others by what is to come.

Some configurations are observed for a few epochs each. The others, each in a state of b epochs, are ranked by their predicted
score at the next epoch and at the last; τ is against the truth, which the surrogate never sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from .checkpoints import CheckpointStore
from .fitting import FitSettings, fit
from .history import History, Row
from .hub import ModelHub
from .methods import SurrogateSettings, make_surrogate
from .metrics import kendall_tau
from .rows import RowBuilder, ToldCheckpoints, scores_of
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


def fitted_surrogate(
    hub: ModelHub,
    history: History,
    surrogate: SurrogateSettings,
    fitting: FitSettings,
    seed: int,
    store=None,
    start: DeepKernelGP | None = None,
    start_id: bool = False,
) -> tuple[DeepKernelGP, RowBuilder]:
    """A surrogate fitted on all rows of a history, from new weights or from those of `start`."""
    store = hub.checkpoints if store is None else store
    looks = surrogate.encoder != "none"
    points = points_of(hub, start_id)
    builder = RowBuilder(
        points, hub.epochs, ToldCheckpoints(store, history) if looks else None, surrogate.multi_horizon
    )
    graphs = sorted_graphs(hub)
    gp = start or make_surrogate(surrogate, len(points[0]), graphs, seed)
    rows = history.rows(None if surrogate.multi_horizon else (1,))
    fit(gp, builder.inputs(history, rows), scores_of(rows), fitting, torch.Generator().manual_seed(seed))
    return gp, builder


def sorted_graphs(hub: ModelHub) -> list:
    """The architectures of a hub, none for hubs of curves."""
    return list(hub.checkpoints.graphs.values()) if hub.checkpoints is not None else []


def rank_others(
    hub: ModelHub, gp: DeepKernelGP, builder: RowBuilder, others: Sequence[int], states: Sequence[int], store=None
) -> dict[str, float]:
    """τ by state and target: 'next/0', 'final/0' ... of configurations that were not learned from."""
    seen = observe(hub, others, [max(states)] * len(others))
    store = hub.checkpoints if store is None else store
    looks = builder.checkpoints is not None
    own = RowBuilder(builder.configs, hub.epochs, ToldCheckpoints(store, seen) if looks else None, builder.multi_horizon)
    found, cache = {}, {}
    for state in states:
        for target, epoch in (("next", state + 1), ("final", hub.epochs)):
            rows = [Row(i, state, epoch, float("nan")) for i in others]
            mean, _ = gp.posterior(own.inputs(seen, rows), cache)
            found[f"{target}/{state}"] = kendall_tau(mean.tolist(), hub.curves[list(others), epoch - 1])
    return found


def forecast_record(
    hub: ModelHub,
    method: str,
    settings: ForecastSettings,
    surrogate: SurrogateSettings,
    fitting: FitSettings,
    seed: int,
) -> dict:
    """One cell of the forecast table. `method`: an encoder's name, 'gmn shuffled', or 'none + start id'."""
    history, others = split_observed(hub, settings, seed)
    encoder, _, variant = method.partition(" ")
    store = ShuffledStore(hub.checkpoints, len(hub), seed) if variant == "shuffled" else None
    gp, builder = fitted_surrogate(
        hub, history, replace(surrogate, encoder=encoder), fitting, seed, store, start_id=variant == "+ start id"
    )
    return {"method": method, "seed": seed, **rank_others(hub, gp, builder, others, settings.states, store)}
