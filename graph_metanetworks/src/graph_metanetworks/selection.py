"""Which learning rate every cell gets: the one with the least error on validation data. No test data is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule, LightningModule

from .cache import cached
from .configured import in_processes
from .experiment import Experiment, seeds

RATE = "model.init_args.rate"


@dataclass(frozen=True)
class Trial:
    """One cell trained with one rate. error: mean squared error on validation data after training."""

    experiment: str
    cell: str
    rate: float
    error: float
    seconds: float


def validation_error(module: LightningModule, data: LightningDataModule) -> float:
    """Mean over the validation part of a module's squared errors."""
    module.eval()
    with torch.no_grad():
        return float(torch.cat([module.error(batch) for batch in data.val_dataloader()]).mean())


def trial(experiment: Experiment, section: str, cell: str, rate: float, out: Path) -> Trial:
    """Train a cell with a rate, now or before, for the study's first seed."""
    path = out / "selection" / f"{section}-{cell}-{rate:g}.json"
    changed = experiment.cell(section, cell, {**seeds(experiment.settings.seeds[0]), RATE: rate}, out)

    def make() -> dict:
        seconds = changed.train(out)
        return asdict(Trial(section, cell, rate, validation_error(changed.model, changed.data), seconds))

    return Trial(**cached(path, changed.described(), make))


def best_trials(trials: Sequence[Trial]) -> dict[tuple[str, str], Trial]:
    """(experiment, cell) -> its trial with the least error."""
    found: dict[tuple[str, str], Trial] = {}
    for one in trials:
        key = (one.experiment, one.cell)
        if key not in found or one.error < found[key].error:
            found[key] = one
    return found


def untried(ladder: Sequence[float], errors: dict[float, float]) -> list[float]:
    """The neighbours of the best rate on the ascending ladder of all rates that were not tried."""
    place = ladder.index(min(errors, key=errors.get))
    return [rate for rate in ladder[max(place - 1, 0) : place + 2] if rate not in errors]


def select_rates(experiment: Experiment, section: str, out: Path) -> list[Trial]:
    """Try the grid's rates, then those beyond until the best of every cell is better than its neighbours.

    Raises:
        ValueError: the grid has no rates, or names a cell that there is not.
    """
    grid, cells = experiment.settings.section(section).grid, experiment.settings.section(section).cells
    if not grid.rates:
        raise ValueError(f"{section}: one or more rates expected in its grid")
    if set(grid.cells) - set(cells):
        raise ValueError(f"{section}: no cell {sorted(set(grid.cells) - set(cells))}, choose from {', '.join(cells)}")
    ladder = sorted({*grid.rates, *grid.beyond})
    trials: list[Trial] = []
    pairs = [(cell, rate) for cell in grid.cells for rate in grid.rates]
    while pairs:
        trials += tried(experiment, section, pairs, out)
        errors = {cell: {one.rate: one.error for one in trials if one.cell == cell} for cell in grid.cells}
        pairs = [(cell, rate) for cell in grid.cells for rate in untried(ladder, errors[cell])]
    return trials


def tried(experiment: Experiment, section: str, pairs: Sequence[tuple[str, float]], out: Path) -> list[Trial]:
    """The trials of some cells and rates, trained in several processes."""
    elsewhere = partial(_trial_elsewhere, experiment.configs, experiment.overrides, section, out)
    return in_processes(elsewhere, pairs, experiment.settings.workers, f"{section}: learning rates", "trial")


def _trial_elsewhere(
    configs: list[str], overrides: list[str], section: str, out: Path, pair: tuple[str, float]
) -> Trial:
    """`trial` in a process that has only the names of the configs."""
    return trial(Experiment(configs, overrides), section, *pair, out)


def selection_table(trials: Sequence[Trial]) -> str:
    """Validation errors by cell and rate, the least in bold."""
    rates = sorted({one.rate for one in trials})
    best = best_trials(trials)
    lines = [f"| | {' | '.join(f'{rate:g}' for rate in rates)} |", "|---|" + "---|" * len(rates)]
    for section, cell in best:
        found = {one.rate: one for one in trials if (one.experiment, one.cell) == (section, cell)}
        shown = [f"{found[rate].error:.5f}" if rate in found else "–" for rate in rates]
        shown[rates.index(best[section, cell].rate)] = f"**{best[section, cell].error:.5f}**"
        lines.append(f"| {section}, {cell} | {' | '.join(shown)} |")
    return "\n".join(lines)
