"""The Small CNN Zoo (Unterthiner et al., 2020): weights.npy, metrics.csv.gz and layout.csv of one data set.

A row of weights.npy is one network at one step of its training, flattened; layout.csv says where each tensor lies.
Kernels are stored as height x width x in x out, dense layers as in x out.
"""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

FINAL_STEP = 86


def small_cnn(
    channels: int = 1, width: int = 16, classes: int = 10, stride: int = 2, padding: int = 0
) -> nn.Sequential:
    """The zoo's network: three 3 x 3 convolutions, mean over places, linear. The stride and padding with which one
    goes on training are settings: they are not stored with the weights."""
    sizes, layers = [channels, width, width, width], []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Conv2d(a, b, 3, stride=stride, padding=padding), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class SmallCNNZoo:
    """Networks of the zoo by row.

    Args:
        folder: with weights.npy, metrics.csv.gz (or metrics.csv) and layout.csv.
    Raises:
        ValueError: a file is missing, or the files disagree.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        for name in ("weights.npy", "layout.csv"):
            if not (folder / name).is_file():
                raise ValueError(
                    f"{folder / name}: no such file; the Small CNN Zoo has weights.npy, metrics.csv.gz, layout.csv"
                )
        metrics = next((folder / n for n in ("metrics.csv.gz", "metrics.csv") if (folder / n).is_file()), None)
        if metrics is None:
            raise ValueError(f"{folder / 'metrics.csv.gz'}: no such file; it describes each row of weights.npy")
        self.metrics, layout = pd.read_csv(metrics), pd.read_csv(folder / "layout.csv")
        self.weights = np.load(folder / "weights.npy", mmap_mode="r", allow_pickle=False)
        if missing := {"varname", "start_idx", "end_idx", "shape"} - set(layout):
            raise ValueError(f"{folder / 'layout.csv'}: lacks the columns {', '.join(sorted(missing))}")
        if missing := {"step", "test_accuracy"} - set(self.metrics):
            raise ValueError(f"{metrics}: lacks the columns {', '.join(sorted(missing))}")
        if len(self.metrics) != len(self.weights):
            raise ValueError(f"{metrics}: {len(self.metrics)} rows for {len(self.weights)} rows of weights.npy")
        self.tensors = [
            (r.varname, int(r.start_idx), int(r.end_idx), tuple(ast.literal_eval(str(r.shape))))
            for r in layout.itertuples()
        ]
        for name, start, end, shape in self.tensors:
            if end - start != int(np.prod(shape)) or end > self.weights.shape[1]:
                raise ValueError(
                    f"{folder / 'layout.csv'}: {name} from {start} to {end} does not hold a tensor of {shape}"
                )

    def finals(self) -> list[int]:
        """Rows of networks at their last step."""
        return np.flatnonzero(self.metrics["step"] == FINAL_STEP).tolist()

    def starts(self) -> list[int]:
        """Those that hubs start from: the first 80 % of the first half of the final networks."""
        rows = self.finals()
        return rows[: int(0.8 * (len(rows) // 2))]

    def state(self, row: int, model: nn.Module | None = None) -> dict[str, Tensor]:
        """The weights of a row under the names of `model`, `small_cnn()` if not given."""
        flat = torch.from_numpy(np.array(self.weights[row], dtype=np.float32))
        model = model or small_cnn()
        kernels, biases = [], []
        for name, start, end, shape in self.tensors:
            tensor = flat[start:end].reshape(shape)
            if "bias" in name:
                biases.append(tensor)
            else:  # HWIO -> OIHW, (in, out) -> (out, in)
                kernels.append(tensor.permute(3, 2, 0, 1) if len(shape) == 4 else tensor.T)
        pairs = [t for pair in zip(kernels, biases, strict=True) for t in pair]
        names = [(name, tuple(p.shape)) for name, p in model.named_parameters()]
        if [shape for _, shape in names] != [tuple(t.shape) for t in pairs]:
            raise ValueError(
                f"row {row}: tensors {[tuple(t.shape) for t in pairs]} are not those of {[s for _, s in names]}"
            )
        return {name: t.contiguous() for (name, _), t in zip(names, pairs, strict=True)}
