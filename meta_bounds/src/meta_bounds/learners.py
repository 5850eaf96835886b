"""Meta-learners under one interface: fit on the training tasks, then `predict` on a novel task's support and queries.

Every learner is a stack of runs, R at once. Network learners share their architecture, optimiser and budget, so that
methods differ in what they minimise and in how they adapt.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from .adaptation import LOSSES, adapt, for_every_task, train_alone
from .data import Tasks, Trial
from .finite import finite
from .hierarchical import TrainingSummary, gram
from .network import forward, initial_weights
from .variances import estimate_variances, shrunk, wide_model


class Learner(LightningModule):
    """What all learners share; abstract.

    Args:
        inputs, outputs, loss, seeds: of the data (linked from them); loss is `squared_error` or `cross_entropy`.
    """

    def __init__(self, inputs: int, outputs: int, loss: str, seeds: list[int]):
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"unknown loss {loss!r}, choose from {', '.join(LOSSES)}")
        self.inputs, self.outputs, self.seeds = inputs, outputs, list(seeds)
        self.classifies = loss == "cross_entropy"
        self.loss = LOSSES[loss]

    @abstractmethod
    def predict(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """Targets of the queries, or logits: (R, T, k, ·), (R, T, k, ·), (R, T, q, inputs) -> (R, T, q, outputs)."""

    def errors(self, trial: Trial) -> Tensor:
        """Error of every run on every novel task, (R, T): squared error without noise, or share of wrong classes."""
        predicted = self.predict(trial.support_x, trial.support_y, trial.query_x)
        if self.classifies:
            return (predicted.argmax(-1) != trial.query_y.argmax(-1)).double().mean(-1)
        return LOSSES["squared_error"](predicted.double(), trial.query_y.double())

    def validation_step(self, trial: Trial, _) -> None:
        self._log_errors(trial, "val")

    def test_step(self, trial: Trial, _) -> None:
        self._log_errors(trial, "test")

    def predict_step(self, trial: Trial, _) -> Tensor:
        return self.predict(trial.support_x, trial.support_y, trial.query_x)

    def _log_errors(self, trial: Trial, prefix: str) -> None:
        errors = self.errors(trial)
        self.log(f"{prefix}/error_k{trial.shots}_noise{trial.noise:g}", errors.mean(), batch_size=1)
        self.log(f"{prefix}/error", errors.mean(), batch_size=1)


class NetworkLearner(Learner):
    """A multilayer perceptron trained by Adam on episodes from the training tasks; abstract.

    Args:
        inputs, outputs, loss, seeds: see `Learner`.
        units, layers: of the hidden layers.
        rate: of Adam.
        inner_steps, inner_rate: gradient steps on a support.
        episodes: tasks per step (the meta-batch), drawn with replacement.
        support: rows of an episode (of each class) to adapt to.
        query: other rows (of each class) to be judged by, at most; fewer if the task has no more.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        loss: str,
        seeds: list[int],
        units: int = 40,
        layers: int = 2,
        rate: float = 3e-3,
        inner_steps: int = 5,
        inner_rate: float = 0.01,
        episodes: int = 25,
        support: int = 5,
        query: int = 15,
    ):
        super().__init__(inputs, outputs, loss, seeds)
        self.save_hyperparameters()
        if min(units, layers, inner_steps, episodes, support, query) < 1 or min(rate, inner_rate) <= 0:
            raise ValueError(
                "units, layers, inner_steps, episodes, support and query must be at least 1 and rates positive, got "
                f"{units}, {layers}, {inner_steps}, {episodes}, {support}, {query}, {rate}, {inner_rate}"
            )
        sizes = [inputs, *[units] * layers, outputs]
        self.weights = nn.ParameterList(initial_weights(sizes, seeds))

    @property
    def adapted_layers(self) -> int:
        """How many of the last layers move on a novel task."""
        return len(self.weights) // 2

    @abstractmethod
    def episode_loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        """What is minimised, from one episode of T tasks for every run; (R, T)."""

    def training_step(self, tasks: Tasks, _) -> Tensor:
        seed = self.global_step * self.trainer.world_size + self.global_rank  # a resumed run draws the same
        episode = draw_episode(
            tasks,
            self.hparams.episodes,
            self.hparams.support,
            self.hparams.query,
            torch.Generator().manual_seed(seed),
        )
        losses = self.episode_loss(*episode).mean(1)
        self.log("train/loss", losses.mean(), batch_size=1)
        # runs share nothing, so each gets its own gradient
        return finite(losses.sum(), self.global_step, "model.init_args.rate or inner_rate")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.rate)

    def shared_weights(self) -> list[Tensor]:
        return for_every_task(list(self.weights))

    def adapt(self, x: Tensor, y: Tensor, differentiable: bool = False) -> list[Tensor]:
        """Weights after the inner steps on a support."""
        return adapt(
            self.shared_weights(),
            x,
            y,
            self.loss,
            self.hparams.inner_steps,
            self.hparams.inner_rate,
            self.adapted_layers,
            differentiable,
        )

    def predict(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        with torch.no_grad():
            return forward(self.adapt(support_x, support_y), query_x)


class MAML(NetworkLearner):
    """Minimises the query's loss after the inner steps, through them; all layers move."""

    def episode_loss(self, support_x, support_y, query_x, query_y):
        return self.loss(forward(self.adapt(support_x, support_y, differentiable=True), query_x), query_y)


class ANIL(MAML):
    """MAML whose last layer alone moves."""

    @property
    def adapted_layers(self) -> int:
        return 1


class FineTuned(NetworkLearner):
    """One network for all training tasks, then the same inner steps on a novel one."""

    def episode_loss(self, support_x, support_y, query_x, query_y):
        x, y = torch.cat([support_x, query_x], -2), torch.cat([support_y, query_y], -2)
        return self.loss(forward(self.shared_weights(), x), y)


class Pooled(FineTuned):
    """One network for all tasks, the novel one's support unused."""

    def predict(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        with torch.no_grad():
            return forward(self.shared_weights(), query_x)


class SingleTask(NetworkLearner):
    """The novel task alone: Adam from the initial weights on its support, which learns nothing from training tasks.

    Args:
        alone_steps: Adam's steps on a support.
        alone_rate: its rate.
        others: see `NetworkLearner`; those of training episodes have no effect.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        loss: str,
        seeds: list[int],
        units: int = 40,
        layers: int = 2,
        alone_steps: int = 300,
        alone_rate: float = 0.01,
    ):
        super().__init__(inputs, outputs, loss, seeds, units, layers)
        self.save_hyperparameters()

    def training_step(self, tasks: Tasks, _) -> Tensor:
        return sum(w.sum() for w in self.weights) * 0  # there is nothing to learn before the novel task comes

    def episode_loss(self, support_x, support_y, query_x, query_y):
        raise NotImplementedError("a single-task learner has no episodes")

    def predict(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        steps, rate = self.hparams.alone_steps, self.hparams.alone_rate
        return forward(train_alone(self.shared_weights(), support_x, support_y, self.loss, steps, rate), query_x)


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


def draw_episode(
    tasks: Tasks, episodes: int, support: int, query: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Support and query of random tasks of every run, disjoint rows of each class.

    Args:
        tasks: of R runs.
        episodes: T, drawn with replacement.
        support, query: rows of each class in either; fewer queries if the task has no more.
        generator: source, on the CPU.
    Returns:
        (R, T, Cs, inputs), (R, T, Cs, outputs), (R, T, Cq, inputs), (R, T, Cq, outputs).
    Raises:
        ValueError: no row would be left to query.
    """
    R, _, C, n, _ = tasks.x.shape
    if support >= n:
        raise ValueError(f"support must leave one of a task's {n} samples to query, got {support}")
    chosen = (torch.rand(R, episodes, generator=generator) * tasks.sizes[:, None].cpu()).long().to(tasks.x.device)
    order = torch.rand(R, episodes, C, n, generator=generator).argsort(-1).to(tasks.x.device)
    parts: list[Tensor] = []
    runs = torch.arange(R, device=tasks.x.device)[:, None, None, None]
    groups = torch.arange(C, device=tasks.x.device)[:, None]
    for rows in (order[..., :support], order[..., support : support + query]):
        for values in (tasks.x, tasks.y):
            parts.append(values[runs, chosen[:, :, None, None], groups, rows].flatten(2, 3))
    return tuple(parts)


LEARNERS: dict[str, type[Learner]] = {
    "maml": MAML,
    "anil": ANIL,
    "fine_tuned": FineTuned,
    "pooled": Pooled,
    "single_task": SingleTask,
    "basis_map": BasisMAP,
    "principal_map": PrincipalMAP,
}
