"""A search replayed on a hub: what is told is read from its curves, epoch by epoch, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna

from .baselines import ASHA, GPEI, OptunaSearch, RandomSearch, Searcher
from .fitting import FitSettings
from .hub import ModelHub
from .methods import ENCODERS, SurrogateSettings
from .metrics import regret
from .schedule import RefitSchedule
from .search import ForecastingModelSearch
from .suggestion import SearchSettings

LABELS = {
    "gmn": "FMS-GMN",
    "stat": "FMS-STAT",
    "flat": "FMS-FLAT",
    "nfn": "FMS-NFN",
    "none": "DyHPO",
    "gp-ei": "GP-EI",
    "random": "random search",
    "asha": "ASHA",
    "tpe": "Optuna TPE + Hyperband",
    "optuna-gp": "Optuna GP + Hyperband",
}


@dataclass(frozen=True)
class ReplaySettings:
    """budget: epochs. steps, rate, rows: of a surrogate's full fit. graphs: of gradient caching. growth: of the rows
    between fits. initial: random configurations that FMS and DyHPO start with."""

    budget: int = 100
    steps: int = 80
    rate: float = 5e-3
    rows: int = 64
    graphs: int = 16
    growth: float = 1.5
    initial: int = 2


@dataclass(frozen=True)
class Trace:
    """What a search did: the configuration and score of each epoch that it spent, in order."""

    configs: list[int]
    epochs: list[int]
    scores: list[float]

    def regret(self, best: float) -> np.ndarray:
        """(budget,)."""
        return regret(self.scores, best)


def replay(hub: ModelHub, searcher: Searcher, on_ask: Callable[[Searcher], None] | None = None) -> Trace:
    """Run a searcher on a hub until it asks for nothing more. `on_ask` is called after every suggestion.

    Raises:
        ValueError: the searcher asks for what the hub does not have.
    """
    trace = Trace([], [], [])
    while (suggestion := searcher.ask()) is not None:
        if on_ask is not None:
            on_ask(searcher)
        if suggestion.to_epoch > hub.epochs:
            raise ValueError(f"{hub.name} has {hub.epochs} epochs, the searcher asked for epoch {suggestion.to_epoch}")
        for epoch in range(suggestion.from_epoch + 1, suggestion.to_epoch + 1):
            score = float(hub.curves[suggestion.config_id, epoch - 1])
            searcher.tell(suggestion.config_id, epoch, score)
            trace.configs.append(suggestion.config_id)
            trace.epochs.append(epoch)
            trace.scores.append(score)
            if not np.isfinite(score):
                break
    return trace


def make_searcher(
    method: str,
    hub: ModelHub,
    settings: ReplaySettings,
    seed: int,
    surrogate: SurrogateSettings | None = None,
) -> Searcher:
    """A searcher by name on a hub's pool: an encoder of FMS, or a baseline.

    Raises:
        ValueError: unknown name.
    """
    common = {"space": hub.space, "max_epochs": hub.epochs, "budget": settings.budget, "pool": hub.params_list()}
    if method in ENCODERS:
        return ForecastingModelSearch(
            **common,
            seed=seed,
            checkpoints=hub.checkpoints,
            start=lambda config_id, _: (None, float(hub.starts[config_id])),
            surrogate=replace(surrogate or SurrogateSettings(), encoder=method),
            fitting=FitSettings(
                settings.steps, settings.rate, settings.rows, settings.graphs if method == "gmn" else 0
            ),
            schedule=RefitSchedule(settings.growth),
            settings=SearchSettings(settings.initial),
        )
    if method == "asha":
        rungs = [1, 2, 5, 10, 20] if hub.epochs == 20 else None
        return ASHA(**common, seed=seed, rungs=rungs)
    if method == "random":
        return RandomSearch(**common, seed=seed)
    if method == "gp-ei":
        return GPEI(**common, seed=seed)
    if method == "tpe":
        return OptunaSearch(**common, sampler=optuna.samplers.TPESampler(seed=seed))
    if method == "optuna-gp":
        return OptunaSearch(**common, sampler=optuna.samplers.GPSampler(seed=seed))
    raise ValueError(f"unknown method {method!r}, choose from {', '.join(LABELS)}")


def replay_record(
    hub: ModelHub, method: str, settings: ReplaySettings, seed: int, surrogate: SurrogateSettings
) -> dict:
    """One replay: regret after each epoch (that of the last epoch where a search ended early)."""
    trace = replay(hub, make_searcher(method, hub, settings, seed, surrogate))
    curve = trace.regret(hub.best()).tolist()
    return {"method": method, "seed": seed, "regret": curve + curve[-1:] * (settings.budget - len(curve))}


def mean_regret(records: Sequence[dict], method: str) -> np.ndarray:
    """(seeds, budget) of one method."""
    return np.array([r["regret"] for r in records if r["method"] == method])
