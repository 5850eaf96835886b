"""What demo and reproduce measure: forecasts, replays, transfer and a live race, as records of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from .data import HubDataModule
from .fitting import FitSettings
from .hub import ModelHub
from .learning import SurrogateTraining
from .live import DigitsTask, race
from .methods import ENCODERS, SurrogateSettings
from .metrics import kendall_tau
from .replay import LABELS, ReplaySettings, make_searcher, replay
from .schedule import RefitSchedule
from .search import ForecastingModelSearch
from .suggestion import SearchSettings
from .surrogate import DeepKernelGP


@dataclass(frozen=True)
class StudySettings:
    """What a study measures.

    Args:
        forecast_methods: encoders, 'gmn shuffled', 'none start id'. forecast_seeds: hubs, a seed each.
        replay_methods: of `replay.LABELS`. replay_seeds: a hub and a start each. replay: its settings.
        tau_at: epochs spent after which the searcher's forecast is held against the truth.
        transfer_methods: encoders. transfer_seeds: those of forecast_seeds whose surrogates also rank the hub of 500
            more. live_configs, live_budget, live_seed: of the race.
        shown: the seed whose predictions and embeddings are drawn. workers: processes.
    """

    forecast_methods: list[str] = field(default_factory=lambda: ["none", "flat", "stat", "gmn", "gmn shuffled"])
    forecast_seeds: list[int] = field(default_factory=list)
    replay_methods: list[str] = field(default_factory=list)
    replay_seeds: list[int] = field(default_factory=list)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    tau_at: list[int] = field(default_factory=lambda: [10, 25, 50, 100])
    transfer_methods: list[str] = field(default_factory=lambda: ["none", "stat", "gmn"])
    transfer_seeds: list[int] = field(default_factory=list)
    live_configs: int = 16
    live_budget: int = 80
    live_seed: int = 0
    live_encoder: str = "gmn"
    shown: int = 0
    workers: int = 2

    def __post_init__(self):
        for name in self.forecast_methods:
            if name.partition(" ")[0] not in ENCODERS or name.partition(" ")[2] not in ("", "shuffled", "start id"):
                raise ValueError(
                    f"unknown forecast method {name!r}: an encoder, and 'shuffled' or 'start id' behind it"
                )
        if unknown := set(self.replay_methods) - set(LABELS):
            raise ValueError(f"unknown methods {', '.join(sorted(unknown))}, choose from {', '.join(LABELS)}")


def forecast_record(
    model: SurrogateTraining,
    data: HubDataModule,
    method: str,
    seed: int,
    shown: bool,
    other: HubDataModule | None = None,
) -> dict:
    """τ by state and target of a surrogate that was just fitted; with `shown`, its predictions and embeddings too; with
    `other`, also τ on another hub, of which nothing was told."""
    model.conclude()
    states = list(data.settings.states)
    record = {"method": method, "seed": seed, **model.ranked(states)}
    if other is not None:
        other.setup()
        record["transfer"] = model.ranked(states, other)
    if shown:
        record["predicted"] = model.predicted(1, 2)
        record["embedding"] = embedding(model.gp, data)
    return record


def embedding(gp: DeepKernelGP, data: HubDataModule) -> dict | None:
    """First two principal components of the embedded checkpoints after one epoch, and the final scores."""
    if not gp.encoder.out:
        return None
    checkpoints = [data.store.get(i, 1) for i in data.others]
    embedded = gp.embed(checkpoints).double()
    centred = (embedded - embedded.mean(0)) / embedded.std(0).clamp_min(1e-9)
    _, s, v = torch.linalg.svd(centred, full_matrices=False)
    share = s.square() / s.square().sum()
    places = (centred @ v[:2].T).tolist()
    return {"places": places, "share": share[:2].tolist(), "final": data.hub.curves[data.others, -1].tolist()}


def replay_record(
    hub: ModelHub,
    method: str,
    settings: ReplaySettings,
    seed: int,
    surrogate: SurrogateSettings,
    tau_at: Sequence[int] = (),
    pretrained: dict | None = None,
) -> dict:
    """One replay: regret after each epoch spent (of the last where a search ended early), τ at some of them.

    Regret is of the validation scores that the search optimises; `test` is the test score of the configuration and
    epoch that validation chose.
    """
    searcher = make_searcher(method, hub, settings, seed, surrogate)
    if pretrained is not None:
        searcher.pretrained = pretrained
    taus: dict[int, float] = {}

    def hold(searcher) -> None:
        if searcher.spent in tau_at and method in ENCODERS and searcher.spent not in taus:
            table = searcher.forecast()
            table = table[np.isfinite(hub.curves[table.index, -1])]
            taus[searcher.spent] = kendall_tau(table["mean"], hub.curves[table.index, -1])

    trace = replay(hub, searcher, hold)
    worst = hub.best() - float(np.nanmin(hub.curves))  # until something finite was seen
    curve = np.minimum(trace.regret(hub.best()), worst).tolist()
    curve += curve[-1:] * (settings.budget - len(curve))
    k = int(np.argmax(np.nan_to_num(trace.scores, nan=-np.inf)))
    test = None if hub.test is None else float(hub.test[trace.configs[k], trace.epochs[k] - 1])
    starts = len(set(trace.configs))
    return {"method": method, "seed": seed, "regret": curve, "tau": taus, "test": test, "started": starts}


def live_record(settings: StudySettings, surrogate: SurrogateSettings, networks: int = 120) -> dict:
    """A race of real trainings, and each of them once more without a stop: epochs in order, scores, and whether
    all agree."""
    task = DigitsTask(settings.live_seed, networks)
    random = np.random.default_rng([settings.live_seed, 12])
    pool = [task.space.sample(random) for _ in range(settings.live_configs)]
    store, r = task.store(), settings.replay
    searcher = ForecastingModelSearch(
        task.space,
        20,
        settings.live_budget,
        seed=settings.live_seed,
        pool=pool,
        checkpoints=store,
        start=task.start,
        surrogate=replace(surrogate, encoder=settings.live_encoder),
        fitting=FitSettings(r.steps, r.rate, r.rows, r.graphs),
        schedule=RefitSchedule(r.growth),
        settings=SearchSettings(r.initial),
    )
    trace = race(task, searcher, store)
    whole = {i: [done.score for done in task.train(pool[i], 0, 20, None)] for i in range(len(pool))}
    same = [
        score == whole[i][epoch - 1] for i, epoch, score in zip(trace.configs, trace.epochs, trace.scores, strict=True)
    ]
    resumed = sum(a != b for a, b in zip(trace.configs, trace.configs[1:], strict=False))
    return {
        "configs": trace.configs,
        "epochs": trace.epochs,
        "scores": trace.scores,
        "whole": [whole[i] for i in range(len(pool))],
        "same": all(same),
        "switches": resumed,
        "spent": searcher.spent,
        "budget": settings.live_budget,
    }
