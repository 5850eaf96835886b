"""The Small CNN Zoo (Unterthiner et al. 2020): 30,000 CNNs of 4,970 parameters for each image set, at several steps.

A folder (cifar10/, svhn_cropped/ ...) has weights.npy (rows, 4970), metrics.csv.gz (step, test_accuracy ... of each)
and layout.csv (varname, start_idx, end_idx, shape). Kernels are TensorFlow's (height, width, in, out), dense (in, out).
"""

from __future__ import annotations

import ast
import csv
import gzip
import itertools
import math
import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..parameter_graph import ParameterGraph
from ..tracing import build_parameter_graph
from ..zoo_data import Net, NetData

LAST_STEP = 86
WHERE = "github.com/google-research/google-research/tree/master/dnn_predict_accuracy"


class SmallCNN(nn.Module):
    """Three 3x3 convolutions of stride 2 and 16 channels, global pooling, a dense layer to 10 classes."""

    def __init__(self, channels: int = 1):
        super().__init__()
        sizes = (channels, 16, 16, 16)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2) for a, b in itertools.pairwise(sizes))
        self.dense = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
        return self.dense(x.mean((2, 3)))


def read_layout(path: str | Path) -> list[tuple[str, int, int, tuple[int, ...]]]:
    """(varname, start, end, shape) of each tensor, in the order of the weights.

    Raises:
        ValueError: columns are missing, a shape does not fill its range, or ranges leave gaps; names the file and row.
    """
    rows = []
    with named(path, "a table of comma-separated values in UTF-8"), open(path, newline="", encoding="utf-8") as file:
        rows += csv.DictReader(file)
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            shape = ast.literal_eval(row["shape"])
            entry = row["varname"], int(row["start_idx"]), int(row["end_idx"]), tuple(int(n) for n in shape)
        except (KeyError, ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError) as error:
            raise ValueError(
                f"{path}, row {number}: varname, start_idx, end_idx and shape expected, got {row}"
            ) from error
        if entry[2] - entry[1] != math.prod(entry[3]) or min(entry[3], default=1) < 1:
            raise ValueError(f"{path}, row {number}: {entry[2] - entry[1]} weights for the shape {entry[3]}")
        found.append(entry)
    if not found:
        raise ValueError(f"{path}: an empty layout")
    found.sort(key=lambda entry: entry[1])
    for (before, _, end, _), (name, start, _, _) in itertools.pairwise([("the beginning", 0, 0, ()), *found]):
        if start != end:
            raise ValueError(f"{path}: {name} begins at {start}, but {before} ends at {end}")
    return found


@contextmanager
def named(path: str | Path, expected: str) -> Iterator[None]:
    """ValueErrors about what is read here name the file."""
    try:
        yield
    except (ValueError, OverflowError, csv.Error) as error:
        raise ValueError(f"{path}: {expected} expected ({error})") from error


def small_cnn_state(weights: np.ndarray, layout) -> dict[str, Tensor]:
    """Stacked state of `SmallCNN` from rows (n, 4970): kernels to (out, in, height, width), dense to (out, in)."""
    kernels, biases = [], []
    for _, start, end, shape in layout:
        tensor = torch.from_numpy(np.array(weights[:, start:end], dtype=np.float32)).reshape(-1, *shape)
        if len(shape) == 4:
            kernels.append(tensor.permute(0, 4, 3, 1, 2))
        elif len(shape) == 2:
            kernels.append(tensor.transpose(1, 2))
        else:
            biases.append(tensor)
    if len(kernels) != 4 or len(biases) != 4 or kernels[-1].ndim != 3:
        raise ValueError(
            f"three kernels, a dense matrix and four biases expected, got {[entry[3] for entry in layout]}"
        )
    names = [f"convolutions.{i}" for i in range(3)] + ["dense"]
    pairs = zip(names, kernels, biases, strict=True)
    return {f"{name}.{kind}": value for name, w, b in pairs for kind, value in (("weight", w), ("bias", b))}


def split_rows(order: Sequence[int], kept: Sequence[int]) -> dict[str, list[int]]:
    """NFN's split: the second half of `order` is test; the first, shuffled by random.Random(0), 80 % train."""
    wanted = set(kept)
    rows = [row for row in order if row in wanted]
    first, test = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    random.Random(0).shuffle(first)
    cut = int(0.8 * len(first))
    return {"train": first[:cut], "val": first[cut:], "test": test}


class SmallCNNZoo(NetData):
    """Accuracy prediction on one image set of the zoo, at its last step.

    Args:
        data_dir: the folder of one image set. split_csv: NFN's order of rows; left out, a fixed shuffle.
        channels: of its images. limit: use so many nets of each part.
    """

    def __init__(
        self, data_dir: str = "data/small_cnn_zoo/cifar10", split_csv: str = "", channels: int = 1,
        limit: int | None = None, batch_size: int = 16, edge_budget: int = 200_000, order_seed: int = 0,
    ):  # fmt: skip
        super().__init__(batch_size, edge_budget, order_seed)
        self.data_dir, self.split_csv, self.channels, self.limit = data_dir, split_csv, channels, limit

    def setup(self, stage: str | None = None) -> None:
        """Reads the folder.

        Raises:
            FileNotFoundError: a file is missing; says where to get it.
            ValueError: a malformed or truncated file, or weights that are not finite; names it.
        """
        if self.parts:
            return
        files = {name: self._file(name) for name in ("weights.npy", "metrics.csv.gz", "layout.csv")}
        layout = read_layout(files["layout.csv"])
        steps, accuracy = read_metrics(files["metrics.csv.gz"])
        weights = _open_weights(files["weights.npy"])
        if len(weights) != len(steps) or weights.shape[1] != layout[-1][2]:
            raise ValueError(
                f"{files['weights.npy']}: ({len(steps)}, {layout[-1][2]}) weights expected by metrics.csv.gz and "
                f"layout.csv, got {weights.shape}"
            )
        with named(files["layout.csv"], "the tensors of the zoo's networks"):
            state = small_cnn_state(weights[:0], layout)
            for name, value in SmallCNN(self.channels).state_dict().items():
                if state[name].shape[1:] != value.shape:
                    raise ValueError(f"{name} {tuple(value.shape)}, got {tuple(state[name].shape[1:])}")
        kept = np.flatnonzero(np.array(steps) == LAST_STEP).tolist()
        graph = build_parameter_graph(SmallCNN(self.channels), torch.zeros(1, self.channels, 32, 32))
        for part, rows in split_rows(self._order(len(steps)), kept).items():
            rows = rows[: self.limit]
            self.parts[part] = self._nets(graph, files["weights.npy"], weights, layout, rows, accuracy) if rows else []

    def _nets(self, graph: ParameterGraph, path: Path, weights, layout, rows, accuracy) -> list[Net]:
        chosen = weights[rows]
        if not np.isfinite(chosen).all():
            bad = rows[int(np.flatnonzero(~np.isfinite(chosen).all(1))[0])]
            raise ValueError(f"{path}: row {bad} has weights that are not finite numbers")
        flats = graph.flatten(small_cnn_state(chosen, layout))
        return [Net(graph, f, accuracy[row], "small_cnn", 16) for f, row in zip(flats, rows, strict=True)]

    def _order(self, rows: int) -> list[int]:
        if not self.split_csv:
            return torch.randperm(rows, generator=torch.Generator().manual_seed(0)).tolist()
        path = self.split_csv
        with named(path, "numbers of rows"), open(path, newline="", encoding="utf-8") as file:
            order = [int(float(cell)) for row in csv.reader(file) for cell in row if cell.strip()]
        if sorted(order) != list(range(rows)):
            raise ValueError(
                f"{self.split_csv}: every number from 0 to {rows - 1} once expected, got {len(order)} numbers"
            )
        return order

    def _file(self, name: str) -> Path:
        path = Path(self.data_dir) / name
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; get the Small CNN Zoo from {WHERE}")
        return path


def read_metrics(path: str | Path) -> tuple[list[int], list[float]]:
    """Steps and test accuracies of all rows.

    Raises:
        ValueError: damaged gzip, or a column is missing or no number; names the file and row.
    """
    steps, accuracy = [], []
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=1):
                try:
                    steps.append(int(float(row["step"])))
                    accuracy.append(float(row["test_accuracy"]))
                    if not 0 <= accuracy[-1] <= 1:
                        raise ValueError("no share")
                except (KeyError, TypeError, ValueError, OverflowError) as error:
                    raise ValueError(f"{path}, row {number}: numbers step and test_accuracy expected") from error
    except (EOFError, OSError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: damaged or truncated gzip file of a table ({error})") from error
    return steps, accuracy


def _open_weights(path: Path) -> np.ndarray:
    try:
        weights = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy raises many kinds for a damaged file
        raise ValueError(f"{path}: not a readable .npy array of numbers, or a truncated one ({error})") from error
    if weights.ndim != 2 or weights.dtype.kind != "f":
        raise ValueError(f"{path}: a matrix expected, of floats, got the shape {weights.shape} of {weights.dtype}")
    return weights
