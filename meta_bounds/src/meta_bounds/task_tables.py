"""Regression tasks from files and from scikit-learn: rows that say which task they belong to."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor


@dataclass(frozen=True)
class TaskTable:
    """Rows of several tasks.

    features: X, (N, d). targets: y, (N,). tasks: name of each row's task, N of them. columns: names of the features.

    Raises:
        ValueError: shapes that do not fit, a number that is not finite, fewer than 2 tasks, or two columns
            that are the same.
    """

    features: Tensor
    targets: Tensor
    tasks: list[str]
    columns: list[str]

    def __post_init__(self):
        rows = len(self.features)
        if self.features.ndim != 2 or self.targets.shape != (rows,) or len(self.tasks) != rows:
            raise ValueError(
                "a table needs X (N, d), y (N,) and N task names, got "
                f"{tuple(self.features.shape)}, {tuple(self.targets.shape)} and {len(self.tasks)}"
            )
        if not (torch.isfinite(self.features).all() and torch.isfinite(self.targets).all()):
            bad = ~torch.isfinite(torch.cat([self.features, self.targets[:, None]], 1))
            row, column = bad.nonzero()[0].tolist()
            raise ValueError(f"row {row + 1}, column {[*self.columns, 'y'][column]} is not a finite number")
        if len(set(self.tasks)) < 2:
            raise ValueError(f"meta-learning needs at least 2 tasks, got {sorted(set(self.tasks))}")
        twins = [
            (self.columns[i], self.columns[j])
            for j in range(len(self.columns))
            for i in range(j)
            if torch.equal(self.features[:, i], self.features[:, j])
        ]
        if twins:
            raise ValueError(f"columns {twins[0][0]} and {twins[0][1]} are the same: leave one out")

    @property
    def names(self) -> list[str]:
        return sorted(set(self.tasks))

    def rows_of(self, task: str) -> tuple[Tensor, Tensor]:
        """X (n, d) and y (n,) of one task.

        Raises:
            ValueError: there is no such task.
        """
        if task not in self.tasks:
            raise ValueError(f"unknown task {task!r}, choose from {', '.join(self.names)}")
        chosen = torch.tensor([name == task for name in self.tasks])
        return self.features[chosen], self.targets[chosen]

    def standardised(self) -> TaskTable:
        """Features of mean 0 and variance 1 over all rows, a constant column first; y as it is.

        Raises:
            ValueError: a column is constant.
        """
        spread = self.features.std(0)
        if (spread == 0).any():
            raise ValueError(f"column {self.columns[int((spread == 0).nonzero()[0])]} is constant: leave it out")
        scaled = (self.features - self.features.mean(0)) / spread
        ones = torch.ones(len(scaled), 1, dtype=torch.float64)
        return TaskTable(torch.cat([ones, scaled], 1), self.targets, self.tasks, ["constant", *self.columns])


def read_tasks(path: str) -> TaskTable:
    """A CSV file with the columns `task`, features and `y`, or an NPZ file with X (N, d), y (N,) and task (N,).

    Raises:
        FileNotFoundError: no such file.
        ValueError: another layout, a cell that is no number, or what `TaskTable` refuses; the file is named.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; a CSV or NPZ file of tasks was expected")
    try:
        return _read_npz(path) if path.endswith(".npz") else _read_csv(path)
    except Exception as error:  # csv, numpy and zipfile raise many kinds for a damaged file
        raise ValueError(f"{path}: {error}") from error


def _read_csv(path: str) -> TaskTable:
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if "task" not in header or "y" not in header or len(header) < 3 or not rows:
        raise ValueError(f"expected a header with task, features and y, and rows below it; got {','.join(header)}")
    columns = [name for name in header if name not in ("task", "y")]
    numbers = []
    for count, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(f"row {count} has {len(row)} cells, the header {len(header)}")
        cells = dict(zip(header, row, strict=True))
        try:
            numbers.append([float(cells[name]) for name in [*columns, "y"]])
        except ValueError as error:
            raise ValueError(f"row {count}: {error}") from error
    table = torch.tensor(numbers, dtype=torch.float64)
    tasks = [row[header.index("task")] for row in rows]
    return TaskTable(table[:, :-1], table[:, -1], tasks, columns)


def _read_npz(path: str) -> TaskTable:
    with np.load(path, allow_pickle=False) as arrays:
        missing = {"X", "y", "task"} - set(arrays.files)
        if missing:
            raise ValueError(f"expected the arrays X, y and task, {', '.join(sorted(missing))} missing")
        X, y, task = (arrays[name] for name in ("X", "y", "task"))
    names = [str(name) for name in task.reshape(-1)]
    X = np.asarray(X, dtype=np.float64)
    columns = [f"x{i}" for i in range(X.shape[-1])]
    return TaskTable(torch.from_numpy(X), torch.from_numpy(np.asarray(y, dtype=np.float64)), names, columns)


def diabetes_tasks() -> TaskTable:
    """scikit-learn's diabetes data (442 patients, it ships with the library) as six tasks: sex x tercile of age."""
    data = load_diabetes(scaled=False)
    names = list(data.feature_names)
    age, sex = data.data[:, names.index("age")], data.data[:, names.index("sex")]
    tercile = np.digitize(age, np.quantile(age, [1 / 3, 2 / 3]))
    tasks = [f"sex{int(s)}-{('young', 'middle', 'old')[t]}" for s, t in zip(sex, tercile, strict=True)]
    kept = [i for i, name in enumerate(names) if name != "sex"]
    return TaskTable(
        torch.from_numpy(data.data[:, kept].copy()),
        torch.from_numpy(data.target.copy()),
        tasks,
        [names[i] for i in kept],
    )
