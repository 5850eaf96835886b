"""Hubs of learning curves alone: TaskSet as DyHPO stores it, and LCBench."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .hub import ModelHub

TASKSET_LOG = ("learning_rate", "epsilon", "l1", "l2", "linear_decay", "exponential_decay")
LCBENCH_METRIC = "Train/val_balanced_accuracy"


def read_json(path: Path, what: str) -> Any:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {what}")
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error


def read_taskset(path: str | Path, split: str = "valid", diverged_above: float = 10.0) -> ModelHub:
    """One TaskSet task: a JSON list of {hp, train, valid, test: {loss: [...]}}. Scores are negative losses.

    The first loss is before training. A run has diverged from where its loss is not finite or above `diverged_above`
    times the median loss before training: values reach 1e34, and nothing can be learned from how large they are.

    Args:
        split: train, valid or test, whose losses count.
    Raises:
        ValueError: the file is not such a list; names it and the row.
    """
    path = Path(path)
    content = read_json(path, "expected a task of TaskSet as JSON")
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path}: expected a list of configurations")
    configs, losses = [], []
    for row, entry in enumerate(content):
        try:
            configs.append({k: float(v) for k, v in entry["hp"].items()})
            losses.append([float(v) if v is not None else math.nan for v in entry[split]["loss"]])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: row {row} lacks 'hp' or the losses of {split!r} ({error})") from error
    check_lengths(losses, path)
    values = np.array(losses)
    limit = diverged_above * float(np.nanmedian(values[:, 0]))
    scores = from_divergence(-values, ~np.isfinite(values) | (values > limit))
    frame, log = pd.DataFrame(configs), [c for c in TASKSET_LOG if c in configs[0] and min(x[c] for x in configs) > 0]
    return ModelHub(frame, scores[:, 1:], None, scores[:, 0], name=path.stem, log=log)


def read_lcbench(path: str | Path, dataset: str, metric: str = LCBENCH_METRIC, epochs: int = 52) -> ModelHub:
    """One data set of LCBench: JSON {dataset: {id: {config: {...}, log: {metric: [...]}}}}; percentages become shares.

    Epoch 0 is the score before training.
    """
    path = Path(path)
    content = read_json(path, "expected LCBench's JSON of logs")
    if dataset not in content:
        raise ValueError(f"{path}: no data set {dataset!r}, it has {', '.join(sorted(content))}")
    configs, curves = [], []
    for name, entry in content[dataset].items():
        try:
            configs.append(dict(entry["config"]))
            curves.append([float(v) / 100 for v in entry["log"][metric]][:epochs])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: configuration {name} of {dataset} lacks config or {metric} ({error})") from error
    check_lengths(curves, path)
    frame = pd.DataFrame(configs)
    frame = frame[[c for c in frame if frame[c].nunique() > 1]]
    values = np.array(curves)
    scores = from_divergence(values, ~np.isfinite(values))
    log = [c for c in ("learning_rate", "weight_decay", "batch_size", "max_units") if c in frame]
    return ModelHub(frame, scores[:, 1:], None, scores[:, 0], name=f"lcbench-{dataset}", log=log)


def check_lengths(curves: Sequence[Sequence[float]], path: Path) -> None:
    lengths = [len(c) for c in curves]
    if len(set(lengths)) > 1 or lengths[0] < 2:
        odd = next((k for k, n in enumerate(lengths) if n != lengths[0]), 0)
        raise ValueError(f"{path}: row {odd} has {lengths[odd]} values, row 0 has {lengths[0]}; expected equally many")


def from_divergence(scores: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """NaN from the first bad value of each row on."""
    return np.where(np.maximum.accumulate(bad, axis=1), math.nan, scores)
