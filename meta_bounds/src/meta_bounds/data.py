"""Tasks to learn from and trials to be judged by; runs (numbers of tasks x seeds) are the leading dimension."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from .environment import AMPLITUDES, NOVEL_AMPLITUDES, PHASES, sample_sinusoids, sinusoid_features


class Run(NamedTuple):
    """One meta-learner of a stack: how many training tasks it has, and the seed of its tasks and initial weights."""

    tasks: int
    seed: int


class Tasks(NamedTuple):
    """The training tasks of R runs. Rows come in C groups (classes; one group for regression), n in each.

    x: (R, M, C, n, inputs), M the largest number of tasks of any run. y: (R, M, C, n, outputs). sizes: the first so
    many tasks belong to the run, (R,).
    """

    x: Tensor
    y: Tensor
    sizes: Tensor


class Trial(NamedTuple):
    """Novel tasks at one k and one noise, T for every run.

    shots: k (of each class). noise: standard deviation of the support's targets. support_x, support_y: (R, T, Ck, ·).
    query_x, query_y: (R, T, q, ·), targets without noise.
    """

    shots: int
    noise: float
    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor


class MetaData(LightningDataModule):
    """Training tasks, and trials on novel ones; abstract.

    Training yields all tasks of all runs in every step (the learner draws its episodes from them), test and predict
    yield a `Trial` for every k and noise; validation alike, on novel tasks of its own.

    Args:
        tasks: numbers M of training tasks, one run for each M and seed; a run with fewer has the first ones of a run
            with more.
        samples: n, of a task (of each class of it).
        shots: numbers k of samples of a novel task (of each class).
        noises: standard deviations of the noise on a novel task's targets.
        seeds: of the runs.
        novel_tasks: T, novel tasks per trial.
        steps_per_epoch: length of an epoch.
    Raises:
        ValueError: no seeds or noises, a negative noise, or a number below 1.
    """

    inputs: int
    outputs: int
    loss: str

    def __init__(
        self,
        tasks: Sequence[int],
        samples: int,
        shots: Sequence[int],
        noises: Sequence[float],
        seeds: Sequence[int],
        novel_tasks: int,
        steps_per_epoch: int,
    ):
        super().__init__()
        given = {"tasks": tasks, "samples": [samples], "shots": shots, "novel_tasks": [novel_tasks]}
        for name, values in given.items():
            if not values or min(values) < 1:
                raise ValueError(f"{name} must be at least 1, got {values}")
        if not seeds or not noises or min(noises) < 0:
            raise ValueError(f"seeds and noises must not be empty and no noise negative, got {seeds} and {noises}")
        self.tasks, self.samples, self.shots, self.noises = list(tasks), samples, list(shots), list(noises)
        self.novel_tasks, self.steps_per_epoch = novel_tasks, steps_per_epoch
        self.runs = [Run(M, seed) for M, seed in product(tasks, seeds)]
        self._tasks: Tasks | None = None

    @property
    def seeds(self) -> list[int]:
        """The seed of every run, (R,)."""
        return [run.seed for run in self.runs]

    @abstractmethod
    def training_tasks(self, seed: int, count: int) -> tuple[Tensor, Tensor]:
        """x (count, C, n, inputs) and y (count, C, n, outputs) of one seed; a larger count only adds tasks."""

    @abstractmethod
    def trial(self, shots: int, noise: float, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Support and query, (T, Ck, ·) twice and (T, q, ·) twice, of one seed's novel tasks."""

    def all_tasks(self) -> Tasks:
        """The training tasks of every run, made on first use."""
        if self._tasks is None:
            most = max(self.tasks)
            made = {seed: self.training_tasks(seed, most) for seed in dict.fromkeys(self.seeds)}
            x, y = (torch.stack([made[run.seed][i] for run in self.runs]) for i in range(2))
            self._tasks = Tasks(x, y, torch.tensor([run.tasks for run in self.runs]))
        return self._tasks

    def make_trial(self, cell: tuple[int, float], shift: int = 0) -> Trial:
        """The trial at one k and noise; `shift` gives other novel tasks."""
        parts = {seed: self.trial(*cell, seed + shift) for seed in dict.fromkeys(self.seeds)}
        return Trial(*cell, *(torch.stack([parts[seed][i] for seed in self.seeds]) for i in range(4)))

    def cells(self) -> list[tuple[int, float]]:
        """Every k and noise."""
        return list(product(self.shots, self.noises))

    def trials(self, shift: int = 0) -> list[Trial]:
        """A trial for every k and noise."""
        return [self.make_trial(cell, shift) for cell in self.cells()]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(range(self.steps_per_epoch), batch_size=None, collate_fn=lambda _: self.all_tasks())

    def val_dataloader(self) -> DataLoader:
        make = partial(self.make_trial, shift=VALIDATION)
        return DataLoader(self.cells(), batch_size=None, collate_fn=make)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.cells(), batch_size=None, collate_fn=self.make_trial)

    def predict_dataloader(self) -> DataLoader:
        return self.test_dataloader()


VALIDATION = 10_000  # seeds this far away: novel tasks on which settings may be chosen


class SinusoidData(MetaData):
    """MAML's sinusoids, as in the paper: A in [1, 4] for training, [3, 5] for novel tasks, phase in [0, π/2].

    Args:
        tasks, samples, shots, noises, seeds, novel_tasks, steps_per_epoch: see `MetaData`.
        train_noise: standard deviation of the noise on training targets.
        half_width: x ~ U[-half_width, half_width]. The paper does not give it; 5 is MAML's.
        queries: points of a novel task at which it is judged, evenly spaced.
    Raises:
        ValueError: a negative train_noise, or half_width or queries that are not positive.
    """

    inputs, outputs, loss = 1, 1, "squared_error"

    def __init__(
        self,
        tasks: list[int],
        samples: int = 20,
        shots: list[int] = [10],  # noqa: B006 jsonargparse reads defaults
        noises: list[float] = [0.0],  # noqa: B006
        seeds: list[int] = [0],  # noqa: B006
        novel_tasks: int = 100,
        steps_per_epoch: int = 1000,
        train_noise: float = 0.0,
        half_width: float = 5.0,
        queries: int = 100,
    ):
        super().__init__(tasks, samples, shots, noises, seeds, novel_tasks, steps_per_epoch)
        if train_noise < 0 or half_width <= 0 or queries < 1:
            raise ValueError(
                "train_noise must not be negative, half_width and queries must be positive, got "
                f"{train_noise}, {half_width}, {queries}"
            )
        self.train_noise, self.half_width, self.queries = train_noise, half_width, queries

    def training_tasks(self, seed: int, count: int) -> tuple[Tensor, Tensor]:
        tasks = []
        for task in range(count):  # a generator each, so that more tasks only add
            generator = torch.Generator().manual_seed(1_000_003 * seed + task)
            theta = sample_sinusoids(1, AMPLITUDES, PHASES, generator)
            tasks.append(self._draw(theta, self.samples, self.train_noise, generator))
        x, y = (torch.cat(parts) for parts in zip(*tasks, strict=True))
        return x[:, None], y[:, None]  # one group

    def trial(self, shots: int, noise: float, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1_000_003 * seed + 999_999)
        thetas = sample_sinusoids(self.novel_tasks, NOVEL_AMPLITUDES, PHASES, generator)
        x, y = self._draw(thetas, shots, noise, generator)
        query = torch.linspace(-self.half_width, self.half_width, self.queries, dtype=torch.float64)
        query = query.expand(self.novel_tasks, -1)
        clean = (sinusoid_features(query) @ thetas[..., None]).float()
        return x, y, query.float()[..., None], clean

    def _draw(self, thetas: Tensor, count: int, noise: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and noisy targets, (T, count, 1) each."""
        x = self.half_width * (2 * torch.rand(len(thetas), count, generator=generator, dtype=torch.float64) - 1)
        clean = sinusoid_features(x) @ thetas[..., None]
        y = clean + noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        return x.float()[..., None], y.float()
