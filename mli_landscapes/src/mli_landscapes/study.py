"""A study: stacks of runs that differ in a few settings, each trained, interpolated and measured alike.

A cell is one stack: the config's model and data with some settings changed. Its records are written when it is done, so
a study that was stopped goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor, nn

from .cache import cached, load_state, save_state
from .callbacks import Snapshots
from .curves import OutputCurve, chord_deviation, sample_curve
from .distance import stacked_weight_distance
from .gauss import gauss_length, total_turning
from .interpolation import InterpolationResult, interpolate
from .stack import NetworkStack
from .states import snapshot
from .training import Training


@dataclass(frozen=True)
class StudySettings:
    """What a study varies and how it measures.

    cells: name of each stack -> settings it changes, such as `model.init_args.optimizer: adam`.
    factors: factor -> level -> settings it changes; every combination of levels is one more cell, LEVEL_LEVEL...
    alphas: points of the loss curves. rows: training examples that curves are measured on, null: all; held_out_rows
        alike. batch_rows: rows in a batch of theirs.
    gauss_examples: examples whose output paths are measured, 0 leaves that out. gauss_points: their grid.
    converged: only runs with a final training loss below this count.
    delta: a run counts as non-monotone when min_delta is above.
    keep_weights: write initial and final weights, and one snapshot an epoch, of these cells.
    plane_points: points along each side of the slice through initialisations and an optimum.
    workers: cells trained at once, each in a process with one thread; 1 trains them here, with all threads.
    """

    cells: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    factors: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    alphas: int = 50
    rows: int | None = None
    held_out_rows: int | None = None
    batch_rows: int = 2000
    gauss_examples: int = 64
    gauss_points: int = 100
    converged: float = 0.1
    delta: float = 1e-4
    keep_weights: Sequence[str] = ()
    plane_points: int = 25
    workers: int = 1

    def all_cells(self) -> dict[str, dict[str, Any]]:
        """The cells and the combinations of factors; name -> settings that it changes."""
        named = {name: dict(changed) for name, changed in self.cells.items()}
        for levels in product(*(factor.items() for factor in self.factors.values())) if self.factors else ():
            name = "_".join(label for label, _ in levels)
            named[name] = {key: value for _, changed in levels for key, value in changed.items()}
        return named


@dataclass(frozen=True)
class RunRecord:
    """What one run did.

    cell: its stack. rate, seed: of the run. diverged: its weights or a loss are not finite; then what was not
    measured is None. losses, held_out: at `alphas`. min_delta: largest rise of the training loss. distance: |θ_T - θ_0|
    / |θ_0|. gauss_length, turning, linearity: means over examples, None if not measured.
    """

    cell: str
    rate: float
    seed: int
    diverged: bool
    alphas: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    min_delta: float | None = None
    distance: float | None = None
    gauss_length: float | None = None
    turning: float | None = None
    linearity: float | None = None

    @property
    def final_loss(self) -> float:
        """Training loss at α = 1, infinite if the run diverged."""
        return self.losses[-1] if self.losses and not self.diverged else math.inf


def measure(cell: str, training: Training, data: LightningDataModule, settings: StudySettings) -> list[RunRecord]:
    """Curves, distances and output paths of all runs of a trained stack."""
    finite = [i for i, kept in enumerate(training.finite()) if kept]
    records = {i: RunRecord(cell, run.rate, run.seed, diverged=True) for i, run in enumerate(training.runs)}
    if finite:
        network, start = selected(training, finite)
        batches = data.training_batches(settings.rows, settings.batch_rows)
        result = interpolate(
            start,
            network,
            data=batches,
            held_out=data.held_out_batches(settings.held_out_rows, settings.batch_rows),
            metric=training.metric,
            alphas=settings.alphas,
        )
        paths = output_paths(network, start, batches, settings) if settings.gauss_examples else {}
        for i, record in zip(finite, run_records(cell, training, finite, result, network, start, paths), strict=True):
            records[i] = record
    return [records[i] for i in range(len(training.runs))]


def selected(training: Training, finite: Sequence[int]) -> tuple[NetworkStack, dict[str, Tensor]]:
    """The networks with finite weights as a stack, and their initial parameters; of a single run a plain network."""
    if not isinstance(training.network, NetworkStack):
        return training.network, training.initial
    chosen = torch.as_tensor(finite)
    return training.network.select(finite), {name: value[chosen] for name, value in training.initial.items()}


def run_records(
    cell: str,
    training: Training,
    finite: Sequence[int],
    result: InterpolationResult,
    network: nn.Module,
    start: dict[str, Tensor],
    paths: dict[str, Tensor],
) -> list[RunRecord]:
    """One record for each network with finite weights."""
    one = not isinstance(network, NetworkStack)
    add = (lambda value: value[..., None]) if one else (lambda value: value)  # (A,) -> (A, 1)
    end = snapshot(network)
    if one:
        start, end = ({n: v[None] for n, v in state.items()} for state in (start, end))
    distances = stacked_weight_distance(start, end)
    losses, held_out = add(result.values), add(result.held_out)
    rises, lost = add(result.min_delta), add(result.diverged)
    return [
        RunRecord(
            cell,
            training.runs[i].rate,
            training.runs[i].seed,
            diverged=bool(lost[j]),
            alphas=result.alphas.tolist(),
            losses=losses[:, j].tolist(),
            held_out=held_out[:, j].tolist(),
            min_delta=None if lost[j] else float(rises[j]),
            distance=float(distances[j]),
            **{name: float(value.reshape(len(finite), -1)[j].mean()) for name, value in paths.items()},
        )
        for j, i in enumerate(finite)
    ]


def output_paths(
    network: nn.Module, start: dict[str, Tensor], batches: Sequence[tuple[Tensor, Tensor]], settings: StudySettings
) -> dict[str, Tensor]:
    """Gauss length, total turning and logit linearity of the first examples, (B,) or (J, B)."""
    examples = batches[0][0][: settings.gauss_examples]
    curve = OutputCurve(network, start, network, examples, calibration=batches)
    alphas = torch.linspace(0, 1, settings.gauss_points, dtype=torch.float64)
    return {
        "gauss_length": gauss_length(curve, alphas),
        "turning": total_turning(curve, alphas),
        "linearity": chord_deviation(sample_curve(curve, alphas), alphas),
    }


def finish(
    cell: str,
    training: Training,
    data: LightningDataModule,
    settings: StudySettings,
    make_trainer: Callable[..., Trainer],
    made_with: Mapping[str, Any],
    out: Path,
) -> list[RunRecord]:
    """The records of one cell: read back from `out` if it was measured before with the same settings, else made now.

    Args:
        make_trainer: a new trainer with the config's settings and these callbacks.
        made_with: all that decides the result, as JSON; a file made with anything else is made again.
        out: folder of the cells' files. Records whose kept weights are gone or damaged are made again with them.
    """
    keep, weights, records_path = cell in settings.keep_weights, out / f"{cell}.pt", out / f"{cell}.json"
    if keep and load_state(weights, cell) is None:
        records_path.unlink(missing_ok=True)

    def make() -> list[dict]:
        snapshots = Snapshots()
        make_trainer(callbacks=[snapshots] * keep).fit(training, datamodule=data)
        records = measure(cell, training.cpu(), data, settings)
        if keep:
            save_state(weights, cell, {"states": snapshots.states})
        return [asdict(record) for record in records]

    return [RunRecord(**content) for content in cached(records_path, made_with, make)]
