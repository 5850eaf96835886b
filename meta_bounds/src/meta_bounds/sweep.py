"""The theory's tables with their figures, by name: what the verb `sweep` writes, and the demo all at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from . import figures, theory
from .results import save_figure
from .theory import Row, TheorySettings
from .tidy import write_csv

TABLES: dict[str, tuple[Callable[[TheorySettings], list[Row]], Callable[[list[Row]], Figure] | None]] = {
    "noise": (theory.noise_table, figures.noise_figure),
    "samples": (theory.samples_table, figures.samples_figure),
    "chain": (theory.chain_table, figures.chain_figure),
    "packings": (theory.packings_table, figures.packings_figure),
    "shots": (theory.shots_table, figures.shots_figure),
    "estimators": (theory.estimators_table, figures.estimators_figure),
    "instances": (theory.instances_table, figures.instances_figure),
    "exchange": (theory.exchange_table, None),
}


def table(name: str, settings: TheorySettings, folder: Path) -> tuple[list[Row], list[str]]:
    """Compute one table, write its CSV and figure into `folder`, and return its rows and the figure's file name."""
    compute, draw = TABLES[name]
    folder.mkdir(parents=True, exist_ok=True)
    rows = compute(settings)
    write_csv(folder / f"{name}.csv", rows)
    if draw is None:
        return rows, []
    save_figure(folder / f"{name}.png", draw(rows))
    return rows, [f"{name}.png"]
