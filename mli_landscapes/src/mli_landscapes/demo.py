"""The paper's claim on a laptop: the line from initialisation to solution goes down, and what makes it go up."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from . import figures
from .claims import claims_table, exit_status, write_claims
from .configured import one_thread
from .evidence import (
    FAMILIES,
    GRID,
    grid_claims,
    of_cells,
    optima_claims,
    optima_curves,
    outward_claims,
    plane_slice,
    read_states,
    theorem_claims,
)
from .experiment import Experiment
from .fitted import theorem_check
from .results import save_figure
from .study import RunRecord
from .tables import converged, logistic_fit, markdown, table


def demo(*, out: str = "runs/mli_landscapes", seed: int = 0, fast: bool = False, strict: bool = False) -> int:
    """Show the paper's claim end to end: figures, weights of six optima and claims.json in OUT.

    Args:
        out: Folder for what it makes.
        seed: Shifts all seeds of initial weights.
        fast: Seconds instead of minutes; the numbers then mean nothing.
        strict: Exit with status 1 when a claim does not hold.
    """
    start = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    experiment = seeded(["demo", *(["fast"] if fast else [])], seed)
    settings = experiment.settings
    records = experiment.finish_all(folder / "cells", "networks trained and measured")

    optima = experiment.with_settings(settings.cells["optima"])
    states = read_states(folder / "cells" / "optima.pt")
    batches = optima.data.training_batches(settings.rows, settings.batch_rows)
    with one_thread():
        curves = optima_curves(optima.model.network, states, batches)
        slice_ = plane_slice(optima.model.network, states, batches, settings.plane_points)
        theorem = theorem_check(experiment.theorem, seed)

    claims = [
        *grid_claims(records, settings),
        *outward_claims(records, settings),
        *optima_claims(curves),
        *theorem_claims(theorem),
    ]
    counted = converged(of_cells(records, *GRID), settings.converged)
    rows, fit = table(records, settings.converged, settings.delta), logistic_fit(counted, settings.delta)
    drawn = {
        "curves.png": figures.curves_figure(records, GRID, settings.converged, settings.delta),
        "rates.png": figures.heatmap_figure(rows, FAMILIES),
        "distance.png": figures.distance_figure(counted, GRID, settings.delta, fit),
        "outward.png": figures.outward_figure(records),
        "optima.png": figures.optima_figure(curves),
        "plane.png": figures.plane_figure(slice_),
        "theorem1.png": figures.theorem_figure(theorem),
    }
    for name, figure in drawn.items():
        save_figure(folder / name, figure)
    command = f"mli-landscapes demo --seed {seed}" + " --fast" * fast
    write_claims(folder, "mli_landscapes", seed, time.perf_counter() - start, fast, command, claims, list(drawn))
    print(grid_table(records, settings))
    print(claims_table(claims, fast))
    print(f"figures and claims.json: {shlex.quote(str(folder))}")
    return exit_status(claims, strict)


def seeded(configs: Sequence[str], seed: int) -> Experiment:
    """The experiment with all seeds of initial weights shifted."""
    experiment = Experiment(configs)
    if not seed:
        return experiment
    name = "model.init_args.seeds"
    shifted = {
        cell: {**changed, name: [s + 1000 * seed for s in changed.get(name, experiment.model.hparams.seeds)]}
        for cell, changed in experiment.settings.cells.items()
    }
    return experiment.with_settings({"study.cells": shifted})


def grid_table(records: Sequence[RunRecord], settings) -> str:
    """The shares of the grid, for the terminal."""
    return markdown(table(of_cells(records, *GRID), settings.converged, settings.delta))
