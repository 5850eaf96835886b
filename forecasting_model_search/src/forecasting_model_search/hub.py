"""A hub of models: configurations, their learning curves, and a checkpoint for every epoch. Searches are
replayed on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from .checkpoints import CheckpointStore
from .space import SearchSpace


@dataclass
class ModelHub:
    """N configurations, trained for T epochs each.

    Args:
        configs: DataFrame of N rows, the hyperparameters.
        curves: (N, T) scores to maximise after epochs 1..T; NaN from where a run diverged.
        checkpoints: store of (row, epoch), epoch 0 the start; None for hubs of curves alone.
        starts: (N,) scores before training, NaN where unknown.
        space: of the configurations; the one that they span if not given.
        test: (N, T) scores on held-out data, or None.
        name: that errors say. log: hyperparameters on a logarithmic scale.
    Raises:
        ValueError: curves of another shape, with a gap or without a finite score; configurations that repeat, miss a
            value or mix types.
    """

    configs: pd.DataFrame
    curves: np.ndarray
    checkpoints: CheckpointStore | None = None
    starts: np.ndarray | None = None
    space: SearchSpace | None = None
    test: np.ndarray | None = None
    name: str = "hub"
    log: Sequence[str] = field(default=())

    def __post_init__(self):
        self.curves = np.asarray(self.curves, dtype=float)
        if self.curves.ndim != 2 or len(self.curves) != len(self.configs) or not self.curves.size:
            raise ValueError(
                f"{self.name}: expected curves (N, T) for {len(self.configs)} configurations, got {self.curves.shape}"
            )
        check_configs(self.configs, self.name)
        for row, curve in enumerate(self.curves):
            known = np.isfinite(curve)
            if known.any() and not known[: int(np.flatnonzero(known)[-1]) + 1].all():
                raise ValueError(f"{self.name}: row {row} has a gap at epoch {int(np.flatnonzero(~known)[0]) + 1}")
        if not np.isfinite(self.curves).any():
            raise ValueError(f"{self.name}: no finite score at all")
        if self.starts is None:
            self.starts = np.full(len(self.configs), math.nan)
        if self.space is None:
            self.space = SearchSpace.covering(self.params_list(), self.log)

    def __len__(self) -> int:
        return len(self.configs)

    @property
    def epochs(self) -> int:
        return self.curves.shape[1]

    def params(self, config_id: int) -> dict[str, Any]:
        """The hyperparameters of one row."""
        return {k: v.item() if hasattr(v, "item") else v for k, v in self.configs.iloc[config_id].to_dict().items()}

    def params_list(self) -> list[dict[str, Any]]:
        columns = {name: self.configs[name].tolist() for name in self.configs}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def best(self) -> float:
        """The best score anywhere in the hub."""
        return float(np.nanmax(self.curves))

    def take(self, rows: Sequence[int]) -> ModelHub:
        """Some configurations, without their checkpoints."""
        return ModelHub(
            self.configs.iloc[list(rows)].reset_index(drop=True),
            self.curves[list(rows)],
            None,
            self.starts[list(rows)],
            self.space,
            None,
            self.name,
        )


def check_configs(configs: pd.DataFrame, name: str) -> None:
    """Refuse duplicates, missing values and columns that mix types, naming the row."""
    if configs.shape[1] == 0:
        raise ValueError(f"{name}: the configurations have no hyperparameters")
    if configs.isna().any().any():
        row, column = np.argwhere(configs.isna().to_numpy())[0]
        raise ValueError(f"{name}: row {row} has no {configs.columns[column]!r}")
    for column in configs:
        kinds = {isinstance(v, str) for v in configs[column]} if not is_numeric_dtype(configs[column]) else {False}
        if len(kinds) > 1:
            raise ValueError(f"{name}: column {column!r} mixes text and numbers")
    if (again := configs.duplicated()).any():
        raise ValueError(f"{name}: row {int(np.flatnonzero(again)[0])} repeats another configuration")


def accuracies(values: np.ndarray, name: str) -> np.ndarray:
    """Scores in [0, 1]; refuses percentages, which would be a hundred times the scale of the others.

    Raises:
        ValueError: some are above 1 or below 0.
    """
    finite = np.asarray(values)[np.isfinite(values)]
    if finite.size and (finite.max() > 1 or finite.min() < 0):
        kind = "percentages: divide them by 100" if finite.max() <= 100 and finite.min() >= 0 else "no accuracies"
        raise ValueError(f"{name}: expected accuracies from 0 to 1, got {finite.min():g} to {finite.max():g}, {kind}")
    return np.asarray(values, dtype=float)
