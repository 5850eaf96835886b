"""The paper's protocol: every method on the same grid of learning rates and budget of steps, for every latent size.

Each method's best rate is chosen for each threshold by itself, over all optimizers, and reported with whether it lies
on the edge of the grid; runs that diverged or did not arrive stay in the record.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer

from .cache import load_state, save_state
from .data import PrincipalData
from .recorder import Record, Recorder
from .stack import ReferenceStack, Run, Stack


@dataclass(frozen=True)
class SweepSettings:
    """What is swept around the model and trainer of a config.

    latents: latent sizes k. optimizers: names of `stack.OPTIMIZERS`, each with the model's methods and rates.
    references: GHA and EigenGame, with the same rates and the SGD optimizers. thresholds: axis alignments to reach,
        falling.
    every: steps between measurements. workers: cells trained at once, each in a process with one thread; 1 trains them
        here, one after the other, with all threads (or on a GPU).
    """

    latents: Sequence[int] = (2, 5, 10, 20)
    optimizers: Sequence[str] = ("gd", "nesterov", "adam")
    references: Sequence[str] = ("gha", "eigengame")
    thresholds: Sequence[float] = (0.3, 0.05, 0.001)
    every: int = 10
    workers: int = 1


@dataclass(frozen=True)
class Cell:
    """One stack of a sweep: a class of models at one k with one optimizer."""

    latents: int
    optimizer: str
    references: bool

    @property
    def name(self) -> str:
        return f"k{self.latents}-{self.optimizer}{'-references' if self.references else ''}"


def cells(settings: SweepSettings) -> list[Cell]:
    """All stacks of a sweep, the references with plain and Nesterov steps only (Adam would leave their manifolds)."""
    sgd = [name for name in settings.optimizers if name != "adam"]
    return [
        Cell(latents, optimizer, references)
        for latents in settings.latents
        for references, optimizers in ((False, settings.optimizers), (True, sgd if settings.references else []))
        for optimizer in optimizers
    ]


def train_cell(
    cell: Cell, template: Stack, data: PrincipalData, settings: SweepSettings, make_trainer: Callable[..., Trainer]
) -> list[Record]:
    """Train one stack to its end and return what each run did."""
    options = {**init_arguments(template), "latents": cell.latents, "optimizer": cell.optimizer}
    if cell.references:
        shared = ("eigenvalues", "latents", "rates", "seeds", "optimizer")
        stack = ReferenceStack(methods=settings.references, **{name: options[name] for name in shared})
    else:
        stack = type(template)(**options)
    recorder = Recorder(list(settings.thresholds), settings.every)
    make_trainer(callbacks=[recorder]).fit(stack, datamodule=data)
    return list(recorder.records.values())


def init_arguments(stack: Stack) -> dict:
    """What the stack was made with (LightningCLI adds hyper-parameters of its own, with an underscore)."""
    return {name: value for name, value in stack.hparams.items() if not name.startswith("_")}


def finish(
    cell: Cell,
    template: Stack,
    data: PrincipalData,
    settings: SweepSettings,
    make_trainer: Callable[..., Trainer],
    made_with: Mapping[str, Any],
    out: Path,
) -> list[Record]:
    """The records of one cell: read back from `out` if it was trained before with the same settings, else trained now.

    Args:
        template: gives class, methods, rates and seeds; k and optimizer come from the cell.
        make_trainer: a new trainer with the config's settings and these callbacks.
        made_with: all else that decides the result, as JSON; a file made with anything else is made again.
        out: folder of the cells' files; a killed sweep goes on where it stopped.
    """
    path, mark = out / f"{cell.name}.pt", json.dumps(made_with, sort_keys=True)
    if kept := load_state(path, mark):
        return [record_from(content) for content in kept["records"]]
    records = train_cell(cell, template, data, settings, make_trainer)
    save_state(path, mark, {"records": [asdict(record) for record in records]})
    return records


def record_from(content: dict) -> Record:
    """The inverse of `dataclasses.asdict` for a record."""
    return Record(**{**content, "run": Run(**content["run"])})


@dataclass(frozen=True)
class Best:
    """The fastest rate of a method to a threshold; steps is the mean over seeds, stderr its error (0 for one seed)."""

    method: str
    latents: int
    threshold: float
    optimizer: str
    rate: float
    steps: float
    stderr: float
    on_edge: bool
    seeds: int


def best_rate(
    records: Sequence[Record], method: str, latents: int, threshold: float, optimizers: Sequence[str] | None = None
) -> Best | None:
    """The optimizer and rate with which all seeds of a method reach the threshold in the fewest steps on average.

    None when there is no rate at which all seeds reach it within the budget.
    """
    groups: dict[tuple[str, float], list[int | None]] = {}
    for record in records:
        run = record.run
        if run.method == method and record.latents == latents and (optimizers is None or run.optimizer in optimizers):
            groups.setdefault((run.optimizer, run.rate), []).append(record.steps_to[threshold])
    rates = [rate for _, rate in groups]
    reached = {key: steps for key, steps in groups.items() if None not in steps}
    if not reached:
        return None
    (optimizer, rate), steps = min(reached.items(), key=lambda item: statistics.mean(item[1]))
    stderr = statistics.stdev(steps) / math.sqrt(len(steps)) if len(steps) > 1 else 0.0
    on_edge = rate in (min(rates), max(rates))
    return Best(method, latents, threshold, optimizer, rate, statistics.mean(steps), stderr, on_edge, len(steps))


def budget(records: Sequence[Record]) -> int:
    """The most steps that any run was given."""
    return max(record.last_step for record in records)


def records_of(records: Sequence[Record], method: str, latents: int, optimizer: str, rate: float) -> list[Record]:
    """The seeds of one method at one optimizer and rate."""
    key = (method, latents, optimizer, rate)
    return [r for r in records if (r.run.method, r.latents, r.run.optimizer, r.run.rate) == key]
