"""Verbs for one's own runs: interpolate, plane, gauss, study and table."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from . import figures
from .callbacks import write_curve
from .checkpoints import load_state, load_training
from .curves import OutputCurve, chord_deviation, sample_curve
from .distance import weight_distance
from .evidence import Slice
from .experiment import Experiment
from .gauss import gauss_length, polygon_turning, total_turning
from .interpolation import interpolate as interpolate_networks
from .monotonicity import min_delta
from .plane import grid_around, loss_plane
from .plane import plane as plane_through
from .results import read_json, save_figure, write_json
from .states import parameters_of
from .study import RunRecord, StudySettings
from .tables import markdown
from .tables import table as rows_of
from .training import Training

ROWS = 2000  # in a batch that curves are measured on


def ends(start: str, end: str | None) -> tuple[Training, dict[str, Tensor], dict[str, Tensor]]:
    """The run in the last checkpoint, and the parameters of both ends; with one file, from its own initialisation.

    Raises:
        ValueError: the checkpoint holds several runs, or cannot be read.
    """
    run = load_training(start if end is None else end)
    if len(run.runs) > 1:
        raise ValueError(f"{start if end is None else end}: a stack of {len(run.runs)} runs; give one rate and seed")
    last = parameters_of(run.network)
    return run, run.initial if end is None else parameters_of(load_state(start), run.network), last


def interpolate(
    start: str,
    end: str | None = None,
    *,
    config: str = "digits",
    alphas: int = 50,
    rows: int | None = None,
    out: str = "runs/mli_landscapes-interpolate",
) -> int:
    """Loss between two checkpoints, or from a run's own initialisation to its end.

    Args:
        start: A checkpoint of `fit`, or with END any state dict of its architecture (.ckpt, .pt, .pth, .safetensors).
        end: A checkpoint of `fit`; left out, the line runs from the initialisation of START to START.
        config: Names the data: a packaged config or a path.
        alphas: Points of the line, both ends included.
        rows: Examples that the losses are measured on; all if not given.
        out: Folder for mli.json and mli.png.
    """
    run, first, last = ends(start, end)
    data = Experiment([config]).data
    result = interpolate_networks(
        first,
        last,
        model=run.network,
        data=data.training_batches(rows, ROWS),
        held_out=data.held_out_batches(rows, ROWS),
        metric=run.metric,
        alphas=alphas,
    )
    folder = Path(out)
    write_curve(folder / "mli.json", result, weight_distance(first, last))
    title = f"min Δ = {float(result.min_delta):.3g}, relative weight distance {weight_distance(first, last):.3g}"
    save_figure(folder / "mli.png", figures.line_figure(result.alphas, result.values, result.held_out, title))
    print(f"loss {float(result.values[0]):.4g} -> {float(result.values[-1]):.4g}")
    print(f"min delta {float(result.min_delta):.4g}, held-out {float(min_delta(result.held_out)):.4g}")
    print(f"barrier {float(result.barrier):.4g}")
    print(f"relative weight distance {weight_distance(first, last):.4g}")
    for bump in result.bumps:
        print(f"rises by {bump.height:.4g} from alpha {bump.start:.3g} to its peak at {bump.peak:.3g}")
    print(f"mli.json and mli.png: {folder}")
    return 0


def plane(
    a: str,
    b: str,
    c: str,
    *,
    config: str = "digits",
    points: int = 25,
    rows: int | None = None,
    out: str = "runs/mli_landscapes-plane",
) -> int:
    """Loss on the plane through three checkpoints.

    Args:
        a: The origin: a state dict (.ckpt, .pt, .pth, .safetensors), or `initial`: where the run of C began.
        b: A state dict that spans the second axis.
        c: A checkpoint of `fit` at the end of the first axis.
        config: Names the data: a packaged config or a path.
        points: Points along each axis.
        rows: Examples that the losses are measured on; all if not given.
        out: Folder for plane.json and plane.png.
    """
    run = load_training(c)
    first = run.initial if a == "initial" else parameters_of(load_state(a), run.network)
    corners = [first, parameters_of(load_state(b), run.network), parameters_of(run.network)]
    around = plane_through(*corners)
    places = around.project(corners)
    x, y = grid_around(places, points)
    batches = Experiment([config]).data.training_batches(rows, ROWS)
    losses = loss_plane(run.network, around, x, y, data=batches, metric=run.metric)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"x": x.tolist(), "y": y.tolist(), "losses": losses.tolist(), "corners": places.tolist()}
    write_json(folder / "plane.json", content)
    names = ("start of C" if a == "initial" else "A", "B", "C")
    save_figure(folder / "plane.png", figures.plane_figure(Slice(x, y, losses, places), names))
    print(f"plane.json and plane.png: {folder}")
    return 0


def gauss(start: str, end: str | None = None, *, config: str = "digits", examples: int = 64, points: int = 100) -> int:
    """How much the output path of each example turns between two checkpoints.

    Args:
        start: See interpolate.
        end: See interpolate.
        config: Names the data: a packaged config or a path.
        examples: Training examples to measure.
        points: Points of the paths.
    """
    run, first, last = ends(start, end)
    batches = Experiment([config]).data.training_batches(max(examples, ROWS), ROWS)
    batch = tuple(t[:examples] for t in batches[0])
    curve = OutputCurve(run.network, first, last, batch, calibration=batches)
    alphas = torch.linspace(0, 1, points, dtype=torch.float64)
    sampled = sample_curve(curve, alphas)
    measured = {"turning of the polygon": polygon_turning(sampled), "linearity": chord_deviation(sampled, alphas)}
    try:
        measured |= {"gauss length": gauss_length(curve, alphas), "total turning": total_turning(curve, alphas)}
    except ValueError as error:
        print(f"no derivatives: {error}")
    for name, values in measured.items():
        print(f"{name}: mean {float(values.mean()):.4g}, from {float(values.min()):.4g} to {float(values.max()):.4g}")
    below = (measured.get("total turning", measured["turning of the polygon"]) < torch.pi / 2).sum()
    print(f"{int(below)} of {examples} examples turn by less than pi/2")
    return 0


def study(
    config: str, *, overrides: list[str] | None = None, out: str = "runs/mli_landscapes-study"
) -> int:  # fmt: skip
    """Train, interpolate and measure all cells of CONFIG, as its `study` section says.

    Args:
        config: Name of a packaged config (demo, mnist, cifar10 ...) or a path. A study that was stopped goes on where
            it was.
        overrides: Settings over the config, such as data.init_args.data_dir=DIR.
        out: Folder for the records, one JSON a cell.
    """
    experiment = Experiment([config], [f"--{override.removeprefix('--')}" for override in overrides or []])
    records = experiment.finish_all(Path(out), config)
    print(markdown(rows_of(records, experiment.settings.converged, experiment.settings.delta)))
    return 0


def table(runs_dir: str, *, converged: float = StudySettings.converged, delta: float = StudySettings.delta) -> int:
    """Shares of non-monotone runs with their intervals, from the records that a study left in RUNS_DIR.

    Args:
        runs_dir: Folder of JSON files, one a cell.
        converged: Only runs with a final training loss below this count.
        delta: A run is non-monotone when its loss rises by more.
    """
    print(markdown(rows_of(read_records(Path(runs_dir)), converged, delta)))
    return 0


def read_records(folder: Path) -> list[RunRecord]:
    """All records in a folder of a study.

    Raises:
        ValueError: there are none, or a file is not of a study.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            records += [RunRecord(**content) for content in read_json(path)["made"]]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not the records of a study ({error})") from error
    if not records:
        raise ValueError(f"{folder}: no records of a study; `mli-landscapes study CONFIG --out {folder}` makes some")
    return records
