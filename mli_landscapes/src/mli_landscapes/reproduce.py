"""The experiments of the README: more seeds, intervals and real images, with the demo's classes and loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from . import figures
from .claims import Claim, claims_table
from .configured import one_thread
from .evidence import (
    FAMILIES,
    GRID,
    grafting_claims,
    grid_claims,
    of_cells,
    optima_claims,
    optima_curves,
    outward_claims,
    plane_slice,
    read_states,
    theorem_claims,
    variant_claims,
)
from .experiment import Experiment
from .fitted import theorem_check
from .results import rounded, save_figure, write_result
from .study import RunRecord, StudySettings
from .tables import converged, logistic_fit, markdown, table


def reproduce(
    experiment: str = "all",
    *,
    out: str = "runs/mli_landscapes-reproduce",
    mnist_dir: str = "data/mnist",
    cifar_path: str = "data/cifar10",
) -> int:
    """Measure what the README quotes; a run that was stopped goes on where it was.

    Args:
        experiment: digits, mechanisms, mnist (needs mnist_dir), cifar (needs cifar_path), or all (the first two).
        out: Folder for results and figures.
        mnist_dir: Folder with t10k-images-idx3-ubyte(.gz) and its labels, for mnist.
        cifar_path: Folder or zip file with train/CLASS/*.jpg and test/CLASS/*.jpg, for cifar.
    """
    chosen = ["digits", "mechanisms"] if experiment == "all" else [experiment]
    for name in chosen:
        if name not in EXPERIMENTS:
            raise ValueError(f"unknown experiment {name!r}, choose from all, {', '.join(EXPERIMENTS)}")
    paths = {"mnist": f"--data.init_args.data_dir={mnist_dir}", "cifar": f"--data.init_args.path={cifar_path}"}
    for name in chosen:
        found = Experiment([f"reproduce_{name}"], [paths[name]] if name in paths else [])
        EXPERIMENTS[name](found, Path(out))
    return 0


def digits(experiment: Experiment, out: Path) -> None:
    """The demo's gates with more seeds and rates."""
    settings = experiment.settings
    records = experiment.finish_all(out / "cells" / "digits", "digits")
    optima = experiment.with_settings(settings.cells["optima"])
    states = read_states(out / "cells" / "digits" / "optima.pt")
    batches = optima.data.training_batches(settings.rows, settings.batch_rows)
    with one_thread():
        curves = optima_curves(optima.model.network, states, batches)
        slice_ = plane_slice(optima.model.network, states, batches, settings.plane_points)
        theorem = theorem_check(experiment.theorem)
    claims = [
        *grid_claims(records, settings),
        *outward_claims(records, settings),
        *optima_claims(curves),
        *theorem_claims(theorem),
    ]
    write(out, "digits", experiment, records, claims)
    grid_figures(out, "digits", records, settings)
    save_figure(out / "digits_outward.png", figures.outward_figure(records))
    save_figure(out / "digits_optima.png", figures.optima_figure(curves))
    save_figure(out / "digits_plane.png", figures.plane_figure(slice_))
    save_figure(out / "digits_theorem1.png", figures.theorem_figure(theorem))


def mnist(experiment: Experiment, out: Path) -> None:
    """The grid on MNIST images."""
    records = experiment.finish_all(out / "cells" / "mnist", "mnist")
    write(out, "mnist", experiment, records, grid_claims(records, experiment.settings))
    grid_figures(out, "mnist", records, experiment.settings)


def cifar(experiment: Experiment, out: Path) -> None:
    """Residual networks in four variants on CIFAR-10 images."""
    settings = experiment.settings
    records = experiment.finish_all(out / "cells" / "cifar", "cifar")
    write(out, "cifar", experiment, records, variant_claims(records, settings))
    save_figure(out / "cifar_curves.png", figures.variants_figure(records, settings.converged, settings.delta))


def mechanisms(experiment: Experiment, out: Path) -> None:
    """Grafting, label noise, data-set size, initial scale, activation and depth, one at a time."""
    settings = experiment.settings
    records = experiment.finish_all(out / "cells" / "mechanisms", "mechanisms")
    write(out, "mechanisms", experiment, records, grafting_claims(records, settings))
    save_figure(
        out / "mechanisms.png", figures.mechanisms_figure(table(records, settings.converged, settings.delta), records)
    )


EXPERIMENTS: dict[str, Callable[[Experiment, Path], None]] = {
    "digits": digits,
    "mechanisms": mechanisms,
    "mnist": mnist,
    "cifar": cifar,
}


def grid_figures(out: Path, name: str, records: Sequence[RunRecord], settings: StudySettings) -> None:
    """Curves, shares by rate, and bending against distance."""
    rows = table(of_cells(records, *GRID), settings.converged, settings.delta)
    counted = converged(of_cells(records, *GRID), settings.converged)
    fit = logistic_fit(counted, settings.delta)
    save_figure(out / f"{name}_curves.png", figures.curves_figure(records, GRID, settings.converged, settings.delta))
    save_figure(out / f"{name}_rates.png", figures.heatmap_figure(rows, FAMILIES))
    save_figure(out / f"{name}_distance.png", figures.distance_figure(counted, GRID, settings.delta, fit))


def write(out: Path, name: str, experiment: Experiment, records: Sequence[RunRecord], claims: Sequence[Claim]) -> None:
    """`out`/NAME.json and the tables on the terminal: what was measured, with which versions, seeds and command."""
    settings = experiment.settings
    rows = table(records, settings.converged, settings.delta)
    counted = converged([r for r in records if not r.cell.startswith("outward_")], settings.converged)
    fit = logistic_fit(counted, settings.delta)
    command = f"mli-landscapes reproduce {name}"
    command += {"mnist": " --mnist_dir DIR", "cifar": " --cifar_path PATH"}.get(name, "")
    content = {
        "converged": settings.converged,
        "delta": settings.delta,
        "table": [asdict(row) for row in rows],
        "logistic": fit and asdict(fit),
        "runs": [run_summary(r) for r in records],
    }
    write_result(out / f"{name}.json", command, claims, ("scipy",), indent=None, **rounded(content, 4))
    print(markdown(rows))
    if fit is not None:
        print(
            f"P(non-monotone | log10 distance), {fit.runs} runs: slope {interval_words(fit.slope)}, "
            f"even odds at distance {interval_words(fit.even_odds)}"
        )
    print(claims_table(claims))


def interval_words(interval) -> str:
    """A value with its interval."""
    return f"{interval.value:.2g} ({interval.low:.2g} to {interval.high:.2g})"


def run_summary(record: RunRecord) -> dict:
    """A record without its curves."""
    content = {k: v for k, v in asdict(record).items() if k not in ("alphas", "losses", "held_out")}
    return {**content, "final_loss": record.losses[-1] if record.losses else None}
