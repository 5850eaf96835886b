"""A study: cells that each train one module on one data module, and the record of each, kept on disk."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from .accuracy import AccuracyPrediction, kendall, r_squared, recalibrated
from .cache import load_state, save_state
from .contrastive import INRContrastive
from .editing import INREditing
from .siren_data import SirenData
from .zoo_data import Net, NetData


@dataclass(frozen=True)
class Grid:
    """Learning rates to choose from by validation error.

    cells: which cells of the section have a rate chosen for them. rates: to try for all of them. beyond: further ones,
    tried where they are next to the best so far.
    """

    cells: list[str] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    beyond: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """One experiment of a study.

    settings: changes of the config for all its cells, by dotted name. cells: name -> changes for one. grid: of learning
    rates, for `reproduce SECTION-selection`. fast: changes over all of these, for tests.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    grid: Grid = field(default_factory=Grid)
    fast: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudySettings:
    """seeds: every cell is trained once for each. workers: cells trained at once, each in a process with one thread."""

    accuracy: Section = field(default_factory=Section)
    editing: Section = field(default_factory=Section)
    contrastive: Section = field(default_factory=Section)
    seeds: list[int] = field(default_factory=lambda: [0])
    workers: int = 1

    def section(self, name: str) -> Section:
        return getattr(self, name)


EXPERIMENTS = ("accuracy", "editing", "contrastive")


@dataclass(frozen=True)
class Record:
    """What one cell measured. numbers: by name. arrays: lists for figures. parameters: of the trained module."""

    experiment: str
    cell: str
    seed: int
    parameters: int
    seconds: float
    numbers: dict[str, float]
    arrays: dict[str, list]


def trained(
    module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path, made_with: Any
) -> float:
    """Train a module, or read the weights that these settings led to before; the seconds that training took.

    Whoever chooses a learning rate and whoever judges the chosen one share these weights.
    """
    if trainer.max_steps == 0 or trainer.max_epochs == 0:
        data.setup("fit")
        return 0.0
    name = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{name}.pt"
    if kept := load_state(path, name):
        data.setup("fit")
        module.load_state_dict(kept["state"])
        return kept["seconds"]
    start = time.perf_counter()
    trainer.fit(module, datamodule=data)
    seconds = round(time.perf_counter() - start, 1)
    save_state(path, name, {"state": module.state_dict(), "seconds": seconds})
    return seconds


def measure(
    experiment: str, cell: str, seed: int, module: LightningModule, data: LightningDataModule, seconds: float
) -> Record:
    """Judge one trained cell; the test parts are looked at once, here."""
    module.eval()
    numbers, arrays = JUDGES[type(module)](module, data)
    parameters = sum(p.numel() for p in module.parameters())
    return Record(experiment, cell, seed, parameters, seconds, numbers, arrays)


def _tested(module: LightningModule, data: LightningDataModule) -> list[Mapping[str, float]]:
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", enable_checkpointing=False, **options).test(
        module, datamodule=data, verbose=False
    )


def judge_accuracy(module: AccuracyPrediction, data: NetData) -> tuple[dict, dict]:
    """R², τ, recalibrated R² and τ within families on the test nets and on wider ones; the family mean beside it."""
    _tested(module, data)
    numbers, arrays = {}, {}
    for part, name in enumerate(["test", "ood"][: len(module.predictions)]):
        predicted, true = module.tested(part)
        families = [net.family for net in data.parts[name]]
        numbers |= {f"{name}_{key}": value for key, value in scores(predicted, true, families).items()}
        mean = family_means(data.parts["train"], data.parts[name])
        numbers |= {f"{name}_mean_{key}": value for key, value in scores(mean, true, families).items()}
        arrays |= {f"{name}_predicted": predicted.tolist(), f"{name}_true": true.tolist(), f"{name}_family": families}
    return numbers, arrays


def scores(predicted: torch.Tensor, true: torch.Tensor, families: list[str]) -> dict[str, float]:
    within = []
    for family in sorted(set(families)):
        chosen = torch.tensor([f == family for f in families])
        if chosen.sum() > 2:
            within.append(kendall(predicted[chosen], true[chosen]))
    return {
        "r2": r_squared(predicted, true),
        "tau": kendall(predicted, true),
        "recalibrated": recalibrated(predicted, true),
        "within_tau": sum(within) / max(len(within), 1),
    }


def family_means(train: list[Net], test: list[Net]) -> torch.Tensor:
    """What somebody predicts who knows a net's family and nothing of its weights."""
    sums: dict[str, list[float]] = {}
    for net in train:
        sums.setdefault(net.family, []).append(net.accuracy)
    return torch.tensor([sum(sums[net.family]) / len(sums[net.family]) for net in test])


def judge_editing(module: INREditing, data: SirenData) -> tuple[dict, dict]:
    """Squared errors of edited images; of none edited and of the training images' mean beside it."""
    found = {k: float(v) for result in _tested(module, data) for k, v in result.items()}
    rows, train = list(data.rows["test"]), list(data.rows["train"])
    target = data.target[rows]
    numbers = {
        "test_mse": found["test/mse"],
        "train_mse": found["train/mse"],
        "unedited_mse": float((data.signal[rows] - target).square().mean()),
        "mean_mse": float((data.target[train].mean(0) - target).square().mean()),
        "fit_mse": float(data.fit_error.mean()),
    }
    with torch.no_grad():
        shown = module(data.batch(rows[:6]).nets)
    images = {"before": data.signal[rows[:6]], "edited": shown, "target": target[:6]}
    return numbers, {name: [[round(v, 4) for v in row] for row in image.tolist()] for name, image in images.items()}


def judge_contrastive(module: INRContrastive, data: SirenData) -> tuple[dict, dict]:
    """The probe's error; of the mean predictor beside it, and two principal directions of the embeddings."""
    _tested(module, data)
    embedded, wave = module.embedded(0)
    mean = module.embedded(1)[1].mean(0)
    centred = embedded - embedded.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    plane = centred @ directions[:2].T
    numbers = {"probe_mse": module.probe(), "mean_mse": float((wave - mean).square().mean())}
    numbers["fit_mse"] = float(data.fit_error.mean())
    return numbers, {"plane": plane.tolist(), "wave": wave.tolist()}


JUDGES: dict[type, Callable] = {
    AccuracyPrediction: judge_accuracy,
    INREditing: judge_editing,
    INRContrastive: judge_contrastive,
}


def select(records: list[Record], experiment: str, cell: str) -> list[Record]:
    """All seeds of a cell, in order."""
    return sorted((r for r in records if (r.experiment, r.cell) == (experiment, cell)), key=lambda r: r.seed)


def mean_over_seeds(records: list[Record], experiment: str, cell: str, number: str) -> tuple[float, float | None]:
    """Mean and standard error over seeds, None for one seed.

    Raises:
        ValueError: nothing was measured there.
    """
    values = [r.numbers[number] for r in select(records, experiment, cell)]
    if not values:
        raise ValueError(f"no record of {experiment}/{cell}")
    tensor = torch.tensor(values, dtype=torch.float64)
    return float(tensor.mean()), float(tensor.std() / len(values) ** 0.5) if len(values) > 1 else None
