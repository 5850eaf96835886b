"""Hubs in the reference code's two layouts of files, read and written.

simple: hyperparameters.csv (hp_index, pretrained_index, ...), results_{i}.json (a list of {epoch, train_loss,
train_accuracy, test_loss, test_accuracy} with epochs from 0), model_{i}_epoch_{e}.pt. pretrained: {i}_results.json and
{arch}_{dataset}_epoch_{e}_{i}.pt with epochs from 1. Neither has the checkpoints that trainings start from: the file
start_{pretrained_index}.pt is ours, and optional. Weights are loaded with weights_only=True.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from .checkpoints import CheckpointStore
from .hub import ModelHub, accuracies, check_configs
from .reading import reading
from .results import whole, write_json
from .weights import State

SCORE = "test_accuracy"


class OfficialStore(CheckpointStore):
    """Reads checkpoints from a folder in one of the layouts, when they are asked for.

    Args:
        paths: (row, epoch) -> file.
    """

    def __init__(self, paths: Mapping[tuple[int, int], Path], architectures, architecture_of=None):
        super().__init__(architectures, architecture_of)
        self.paths = dict(paths)

    def __contains__(self, place) -> bool:
        return tuple(place) in self.paths or super().__contains__(place)

    def places(self):
        return sorted({*self.paths, *super().places()})

    def _read(self, place) -> State:
        if place not in self.paths:
            return super()._read(place)
        path = self.paths[place]
        weights = load_pt(path)
        try:
            self.graph(place[0]).check(weights)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return weights


def load_pt(path: Path) -> dict[str, torch.Tensor]:
    """A state dict of tensors, never unpickling anything else."""
    try:
        weights = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch.load raises what its unpickler meets
        raise ValueError(f"{path}: not a state dict of tensors ({type(error).__name__})") from error
    if not isinstance(weights, Mapping) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in weights.items()
    ):
        raise ValueError(f"{path}: expected a state dict of tensors, got {type(weights).__name__}")
    return dict(weights)


def read_results(path: Path, first: int, score: str = SCORE) -> tuple[list[float], list[float]]:
    """Scores to maximise and test scores by epoch, from one results file.

    Raises:
        ValueError: epochs are not first, first + 1 ..., or a record lacks the score; names file and record.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a hub has one results file a configuration")
    with reading(path, "JSON"):
        records = json.loads(path.read_text())
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{path}: expected a list of at least one epoch")
    scores, tests = [], []
    for number, record in enumerate(records):
        if record.get("epoch") != first + number:
            raise ValueError(f"{path}: record {number} is of epoch {record.get('epoch')}, expected {first + number}")
        if score not in record:
            raise ValueError(f"{path}: record {number} has no {score!r}, only {', '.join(record)}")
        with reading(path, f"numbers in record {number}"):
            scores.append(math.nan if record[score] is None else float(record[score]))
            tests.append(math.nan if record.get(SCORE) is None else float(record[SCORE]))
    known = np.isfinite(scores)
    if known.any() and not known[: int(np.flatnonzero(known)[-1]) + 1].all():
        raise ValueError(f"{path}: record {int(np.flatnonzero(~known)[0])} has no score, but later ones have")
    return scores, tests


def read_simple_hub(
    folder: str | Path, architectures: Mapping[str, nn.Module], score: str = SCORE, percent: bool = False
) -> ModelHub:
    """A hub in the layout of the simple networks.

    Args:
        architectures: name -> network; the column `architecture` names each row's, '' if there is none.
        score: which field of the results to maximise. The reference maximises test accuracy, having no other.
        percent: scores are from 0 to 100.
    Raises:
        ValueError: a file is missing or does not say what it should; names it.
    """
    folder = Path(folder)
    configs = read_configs(folder / "hyperparameters.csv")
    curves, tests = all_curves([folder / f"results_{i}.json" for i in range(len(configs))], 0, score, percent)
    paths = {
        (i, e + 1): folder / f"model_{i}_epoch_{e}.pt" for i in range(len(configs)) for e in range(curves.shape[1])
    }
    paths = {(i, e): path for (i, e), path in paths.items() if not math.isnan(curves[i, e - 1]) or path.is_file()}
    check_paths(paths)
    for i, start in enumerate(configs.get("pretrained_index", ())):
        if (path := folder / f"start_{start}.pt").is_file():
            paths[i, 0] = path
    return assembled(folder, configs, curves, tests, paths, architectures)


def read_pretrained_hub(
    folder: str | Path,
    architectures: Mapping[str, nn.Module],
    dataset: str,
    score: str = SCORE,
    percent: bool = False,
) -> ModelHub:
    """A hub in the layout of the pretrained networks; arguments as for `read_simple_hub`. The architecture of each row
    is in the names of its checkpoints."""
    folder = Path(folder)
    configs = read_configs(folder / "hyperparameters.csv")
    curves, tests = all_curves([folder / f"{i}_results.json" for i in range(len(configs))], 1, score, percent)
    pattern = re.compile(rf"(.+)_{re.escape(dataset)}_epoch_(\d+)_(\d+)\.pt")
    paths, names = {}, {}
    for path in folder.glob("*.pt"):
        if found := pattern.fullmatch(path.name):
            paths[int(found[3]), int(found[2])] = path
            names[int(found[3])] = found[1]
    for i in range(len(configs)):
        for e in range(1, curves.shape[1] + 1):
            if not math.isnan(curves[i, e - 1]) and (i, e) not in paths:
                raise ValueError(f"{folder}: no checkpoint *_{dataset}_epoch_{e}_{i}.pt of row {i}")
    for i, start in enumerate(configs.get("pretrained_index", ())):
        if (path := folder / f"start_{start}.pt").is_file():
            paths[i, 0] = path
    if unnamed := [i for i in range(len(configs)) if i not in names]:
        raise ValueError(f"{folder}: no checkpoint names the architecture of row {unnamed[0]} of hyperparameters.csv")
    configs["architecture"] = [names[i] for i in range(len(configs))]
    return assembled(folder, configs, curves, tests, paths, architectures)


def read_configs(path: Path) -> pd.DataFrame:
    """hyperparameters.csv, in the order of hp_index, which is left out."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; it lists the configurations, with a column hp_index")
    with reading(path, "a table of comma-separated values"):
        frame = pd.read_csv(path)
        numbers = sorted(frame["hp_index"]) if "hp_index" in frame else list(range(len(frame)))
    if not len(frame):
        raise ValueError(f"{path}: no configurations")
    if "hp_index" in frame:
        if numbers != list(range(len(frame))):
            raise ValueError(f"{path}: expected hp_index from 0 to {len(frame) - 1}, each once")
        frame = frame.sort_values("hp_index").drop(columns="hp_index").reset_index(drop=True)
    check_configs(frame, str(path))
    return frame


def all_curves(files: list[Path], first: int, score: str, percent: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N, T) scores and test scores; all rows must be equally long."""
    found = [read_results(path, first, score) for path in files]
    lengths = [len(scores) for scores, _ in found]
    if len(set(lengths)) > 1:
        odd = next(k for k, n in enumerate(lengths) if n != lengths[0])
        before = f"the configurations before it have {lengths[0]}, as {files[0].name} says"
        raise ValueError(f"{files[odd]}: {lengths[odd]} epochs, {before}")
    scale = 100 if percent else 1
    curves, tests = (np.array([pair[k] for pair in found]) / scale for k in (0, 1))
    for k, row in enumerate(curves):
        accuracies(row, str(files[k]))
    return curves, tests


def check_paths(paths: Mapping[tuple[int, int], Path]) -> None:
    for path in paths.values():
        if not path.is_file():
            raise ValueError(f"{path}: no such file; a hub has a checkpoint of every epoch")


def assembled(folder, configs, curves, tests, paths, architectures) -> ModelHub:
    names = (
        dict(enumerate(configs["architecture"]))
        if "architecture" in configs
        else dict.fromkeys(range(len(configs)), "")
    )
    if unknown := set(names.values()) - set(architectures):
        raise ValueError(
            f"{folder}: networks of unknown architectures {', '.join(sorted(map(str, unknown)))}, named in "
            "hyperparameters.csv or by the checkpoints: give their modules"
        )
    store = OfficialStore(paths, architectures, names)
    log = [c for c in ("lr", "learning_rate", "wd", "weight_decay") if c in configs]
    starts = np.full(len(configs), math.nan)
    if (extra := folder / "starts.json").is_file():  # scores before training, ours
        with reading(extra, "a list of scores before training"):
            starts = np.array([math.nan if v is None else v for v in json.loads(extra.read_text())], dtype=float)
        if starts.shape != (len(configs),):
            raise ValueError(f"{extra}: expected {len(configs)} scores, one a configuration, got {starts.shape}")
    features = configs.drop(columns=[c for c in ("pretrained_index", "start") if c in configs])
    with reading(folder / "hyperparameters.csv", "configurations of a search space"):
        space = ModelHub(features, curves, log=log).space if not features.duplicated().any() else None
        return ModelHub(configs, curves, store, starts, space, tests, folder.name, log)


def write_hub(hub: ModelHub, folder: str | Path, layout: str = "simple", dataset: str = "digits") -> None:
    """A hub in one of the layouts. What both lack is written beside it: start_{index}.pt, starts.json, val_accuracy.

    Args:
        layout: 'simple' or 'pretrained'.
    """
    if layout not in ("simple", "pretrained"):
        raise ValueError(f"unknown layout {layout!r}, choose simple or pretrained")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    frame = hub.configs.rename(columns={"start": "pretrained_index"})
    frame.insert(0, "hp_index", range(len(frame)))
    with whole(folder / "hyperparameters.csv") as temporary:
        frame.to_csv(temporary, index=False)
    write_json(folder / "starts.json", [none_for_nan(v) for v in hub.starts])
    first = 0 if layout == "simple" else 1
    for i in range(len(hub)):
        name = f"results_{i}.json" if layout == "simple" else f"{i}_results.json"
        write_json(folder / name, [record(hub, i, e, first) for e in range(hub.epochs)])
        architecture = hub.checkpoints.architecture_of.get(i, "") or "net"
        for epoch in range(1, hub.epochs + 1):
            file = (
                f"model_{i}_epoch_{epoch - 1}.pt"
                if layout == "simple"
                else f"{architecture}_{dataset}_epoch_{epoch}_{i}.pt"
            )
            if (i, epoch) in hub.checkpoints:
                save(hub.checkpoints.state(i, epoch), folder / file)
        if (i, 0) in hub.checkpoints and "pretrained_index" in frame:
            path = folder / f"start_{frame['pretrained_index'].iloc[i]}.pt"
            if not path.is_file():
                save(hub.checkpoints.state(i, 0), path)


def save(state: State, path: Path) -> None:
    with whole(path) as temporary:
        torch.save(dict(state), temporary)


def record(hub: ModelHub, row: int, epoch: int, first: int) -> dict[str, Any]:
    """One epoch of one configuration; losses and training scores are not kept in a hub, so they are null."""
    test = hub.test[row, epoch] if hub.test is not None else math.nan
    empty = dict.fromkeys(("train_loss", "train_accuracy", "test_loss"))
    scores = {"test_accuracy": none_for_nan(test), "val_accuracy": none_for_nan(hub.curves[row, epoch])}
    return {"epoch": first + epoch, **empty, **scores}


def none_for_nan(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
