"""Learners without a network: the hierarchical MAP on fixed features of the inputs, in closed form."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from .data import Tasks
from .hierarchical import TrainingSummary, gram
from .learner import Learner
from .variances import estimate_variances, shrunk, wide_model


class FeatureMAP(Learner):
    """The hierarchical model's closed form on fixed features; abstract. No gradient: one step fits it, on the CPU.

    Σ_θ and σ² come from the training tasks by EM; the novel task's σ² is the one of largest evidence for its support.
    Outputs are tasks of their own, as the columns of one-hot targets are.

    Args:
        inputs, outputs, loss, seeds: see `Learner`.
        dim: d, number of features.
    """

    def __init__(self, inputs: int, outputs: int, loss: str, seeds: list[int], dim: int):
        super().__init__(inputs, outputs, loss, seeds)
        self.automatic_optimization = False
        runs = len(seeds)
        for name, shape in {
            "precision": (runs, dim, dim),
            "information": (runs, dim),
            "task_cov": (runs, dim, dim),
            "noise": (runs,),
        }.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """(R, ..., inputs) -> (R, ..., d), float64."""

    def look(self, tasks: Tasks) -> None:
        """See the training inputs before features are taken of them."""

    def training_step(self, tasks: Tasks, _) -> None:
        self.look(tasks)
        grams, moments, energies, rows = self._moments(tasks.x.flatten(2, 3), tasks.y.flatten(2, 3))
        for run, size in enumerate(tasks.sizes.tolist()):
            used = [term[run, :size].flatten(0, 1) for term in (grams, moments, energies)]
            found = estimate_variances(*used, rows.expand(len(used[0])), shrunk, iterations=100, tolerance=1e-3)
            model = wide_model(found.task_cov, found.noise)
            summary = model.accumulate(used[0], used[1], len(used[0]))
            self.precision[run], self.information[run] = summary.precision, summary.information
            self.task_cov[run], self.noise[run] = found.task_cov, found.noise

    @property
    def dim(self) -> int:
        return self.precision.shape[-1]

    def configure_optimizers(self) -> None:
        return None

    def predict(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        grams, moments, energies, _ = self._moments(support_x, support_y)  # (R, T, C, ...)
        predicted = []
        for run in range(len(self.seeds)):
            precision, information, task_cov, noise = (
                buffer[run].cpu() for buffer in (self.precision, self.information, self.task_cov, self.noise)
            )
            summary = TrainingSummary(precision, information, torch.zeros_like(precision))
            terms = [term[run] for term in (grams, moments, energies)]
            novel = likeliest_noise(summary, task_cov, float(noise), terms, support_x.shape[-2])
            model = wide_model(task_cov, float(noise), novel)
            predicted.append(model.posterior(summary, terms[0], terms[1]).mean)  # (T, C, d)
        features = self.features(query_x)
        return features @ torch.stack(predicted).mT.to(features)

    def _moments(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """X'X, X'y, y'y of every output of every task, (R, T, C, ...), and the number of rows; on the CPU."""
        features, y = self.features(x).cpu(), y.double().cpu()
        moments = (features.mT @ y).mT  # (R, T, C, d)
        grams = gram(features)[:, :, None].expand(*moments.shape, self.dim)
        return grams, moments, y.square().sum(-2), torch.tensor(x.shape[-2])


def likeliest_noise(summary: TrainingSummary, task_cov: Tensor, noise: float, terms: list[Tensor], rows: int) -> Tensor:
    """Of 16 variances between the training tasks' and the targets' own, the one of largest evidence for every task.

    Args:
        summary, task_cov, noise: what the training tasks gave.
        terms: X'X (T, C, d, d), X'y (T, C, d) and y'y (T, C) of the novel tasks' supports.
        rows: k.
    Returns:
        (T, C), the same for all outputs of a task.
    """
    low = math.log10(noise)
    high = max(math.log10(float(terms[2].mean()) / rows), low) + 0.5
    noises = 10 ** (low + (high - low) * torch.linspace(0, 1, 16, dtype=torch.float64))
    evidence = wide_model(task_cov, noise, noises[:, None, None]).log_evidence(summary, *terms, rows)  # (16, T, C)
    return noises[evidence.sum(-1).argmax(0)][:, None].expand(evidence.shape[1:])


class BasisMAP(FeatureMAP):
    """The closed form on Gaussian bumps over the range of the one input, and a constant.

    Args:
        inputs, outputs, loss, seeds: see `Learner`.
        bumps: their number, evenly spaced, as wide as they are apart.
    Raises:
        ValueError: several inputs, or fewer than 2 bumps.
    """

    def __init__(self, inputs: int, outputs: int, loss: str, seeds: list[int], bumps: int = 20):
        super().__init__(inputs, outputs, loss, seeds, bumps + 1)
        self.save_hyperparameters()
        if inputs != 1 or bumps < 2:
            raise ValueError(f"bumps lie along one input and are at least 2, got {inputs} inputs and {bumps} bumps")
        self.register_buffer("centres", torch.linspace(-1, 1, bumps, dtype=torch.float64))

    def look(self, tasks: Tasks) -> None:
        low, high = float(tasks.x.min()), float(tasks.x.max())
        self.centres.copy_(torch.linspace(low, high, len(self.centres), dtype=torch.float64))

    def features(self, x: Tensor) -> Tensor:
        width = self.centres[1] - self.centres[0]
        bumps = torch.exp(-((x.double() - self.centres) / width).square() / 2)
        return torch.cat([bumps, torch.ones_like(bumps[..., :1])], -1)


class PrincipalMAP(FeatureMAP):
    """The closed form on principal components of the training inputs, and a constant.

    Args:
        inputs, outputs, loss, seeds: see `Learner`.
        components: their number.
    Raises:
        ValueError: components are not from 1 to the number of inputs.
    """

    def __init__(self, inputs: int, outputs: int, loss: str, seeds: list[int], components: int = 30):
        super().__init__(inputs, outputs, loss, seeds, components + 1)
        self.save_hyperparameters()
        if not 1 <= components <= inputs:
            raise ValueError(f"components must be from 1 to the {inputs} inputs, got {components}")
        self.register_buffer("axes", torch.zeros(len(seeds), inputs, components, dtype=torch.float64))
        self.register_buffer("centre", torch.zeros(len(seeds), inputs, dtype=torch.float64))

    def look(self, tasks: Tasks) -> None:
        for run, size in enumerate(tasks.sizes.tolist()):
            rows = tasks.x[run, :size].flatten(0, -2).double()
            self.centre[run] = rows.mean(0)
            centred = rows - self.centre[run]
            values, vectors = torch.linalg.eigh(centred.mT @ centred / len(rows))
            top = vectors[:, -self.axes.shape[-1] :]
            self.axes[run] = top / values[-1].sqrt()

    def features(self, x: Tensor) -> Tensor:
        shape = (len(x), *[1] * (x.ndim - 3))
        centred = x.double() - self.centre.reshape(*shape, 1, -1)
        scores = centred @ self.axes.reshape(*shape, *self.axes.shape[1:])
        return torch.cat([scores, torch.ones_like(scores[..., :1])], -1)
