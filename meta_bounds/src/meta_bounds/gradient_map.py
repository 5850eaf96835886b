"""The MAP by gradients of the joint log-posterior of all θ_i and τ, where the closed form knows the answer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.utils.data import DataLoader

from .environment import PAPER_TAU, polynomial_designs, sample_targets, sample_tasks
from .finite import finite
from .hierarchical import HBLR, gram


class Hierarchy(NamedTuple):
    """Data of M training tasks and the novel one, the last; all float64.

    grams: X'X, (M + 1, d, d). moments: X'y, (M + 1, d). variances: σ_i², (M + 1,). task_cov: Σ_θ, (d, d).
    """

    grams: Tensor
    moments: Tensor
    variances: Tensor
    task_cov: Tensor


def negative_log_joint(thetas: Tensor, tau: Tensor, data: Hierarchy) -> Tensor:
    """-log p(θ_1 ... θ_{M+1}, τ | y) for flat τ, up to a constant; its mode's last θ is the MAP of HBLR. ()

    Args:
        thetas: (M + 1, d).
        tau: (d,).
        data: see `Hierarchy`.
    """
    fit = (thetas[:, None] @ data.grams @ thetas[..., None])[:, 0, 0] - 2 * (thetas * data.moments).sum(1)
    away = thetas - tau
    prior = (away @ torch.linalg.inv(data.task_cov) * away).sum()
    return ((fit / data.variances).sum() + prior) / 2


def closed_form(data: Hierarchy) -> Tensor:
    """The MAP of the novel task, (d,)."""
    M, d = len(data.grams) - 1, data.grams.shape[-1]
    model = HBLR(d, data.task_cov, data.variances[:-1], data.variances[-1])
    summary = model.accumulate(data.grams[:-1], data.moments[:-1], M)
    return model.posterior(summary, data.grams[-1], data.moments[-1]).mean


class GradientMAP(LightningModule):
    """All θ_i and τ as parameters, from zero; a step of L-BFGS is a whole minimisation.

    Args:
        dim, count: d and M + 1 (linked from the data).
        iterations: of L-BFGS in a step, at most.
    Raises:
        ValueError: iterations below 1.
    """

    def __init__(self, dim: int, count: int, iterations: int = 1000):
        super().__init__()
        self.save_hyperparameters()
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.thetas = nn.Parameter(torch.zeros(count, dim, dtype=torch.float64))
        self.tau = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
        self._begun = -1

    def training_step(self, data: Hierarchy, _) -> Tensor:
        loss = negative_log_joint(self.thetas, self.tau, data)
        self.log("train/loss", loss, batch_size=1)
        if self.global_step != self._begun:  # later in a step, the search for its length may overshoot
            finite(loss, self.global_step, "the scale of features and targets")
            self._begun = self.global_step
        return loss

    def distance(self, data: Hierarchy) -> Tensor:
        """Largest difference of a coefficient from the closed form."""
        return (self.thetas[-1] - closed_form(data)).abs().max()

    def validation_step(self, data: Hierarchy, _) -> None:
        self.log("val/distance_to_closed_form", self.distance(data), batch_size=1)

    def test_step(self, data: Hierarchy, _) -> None:
        self.log("test/distance_to_closed_form", self.distance(data), batch_size=1)

    def predict_step(self, data: Hierarchy, _) -> Tensor:
        return self.thetas[-1].detach()

    def configure_optimizers(self) -> Optimizer:
        # values of the loss lose half the digits of θ, so gradients alone decide where to stop
        return LBFGS(
            self.parameters(),
            max_iter=self.hparams.iterations,
            tolerance_grad=1e-10,
            tolerance_change=-1,
            history_size=100,
        )


class PolynomialHierarchy(LightningDataModule):
    """The paper's polynomials: x^0 ... x^(d-1), x ~ U[-1, 1], its τ.

    Args:
        degree_count: d, at most 7 (the paper's τ has 7).
        tasks, samples, shots: M, n, k.
        theta_variance, train_variance, novel_variance: σ_θ², σ_1², σ_{M+1}².
        seed: of tasks and data.
        steps_per_epoch: length of an epoch.
    Raises:
        ValueError: more coefficients than the paper's τ has, or a number below 1.
    """

    def __init__(
        self,
        degree_count: int = 7,
        tasks: int = 20,
        samples: int = 20,
        shots: int = 5,
        theta_variance: float = 0.1,
        train_variance: float = 0.05,
        novel_variance: float = 0.05,
        seed: int = 0,
        steps_per_epoch: int = 1,
    ):
        super().__init__()
        if not 1 <= degree_count <= len(PAPER_TAU) or min(tasks, samples, shots, steps_per_epoch) < 1:
            raise ValueError(
                f"degree_count must be from 1 to {len(PAPER_TAU)}, tasks, samples, shots and steps_per_epoch at "
                f"least 1, got {degree_count}, {tasks}, {samples}, {shots}, {steps_per_epoch}"
            )
        model = HBLR(degree_count, theta_variance, train_variance, novel_variance)
        self.dim, self.count, self.steps_per_epoch = degree_count, tasks + 1, steps_per_epoch
        generator = torch.Generator().manual_seed(seed)
        thetas = sample_tasks(PAPER_TAU[:degree_count], model.task_cov, (self.count,), generator)
        grams, moments = [], []
        for i, theta in enumerate(thetas):
            rows, variance = (samples, train_variance) if i < tasks else (shots, novel_variance)
            X = polynomial_designs((rows,), degree_count, generator)
            grams.append(gram(X))
            moments.append(X.mT @ sample_targets(X, theta, variance, generator))
        variances = torch.tensor([train_variance] * tasks + [novel_variance], dtype=torch.float64)
        self.hierarchy = Hierarchy(torch.stack(grams), torch.stack(moments), variances, model.task_cov)

    def train_dataloader(self) -> DataLoader:
        return DataLoader([self.hierarchy] * self.steps_per_epoch, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader([self.hierarchy], batch_size=None)

    def test_dataloader(self) -> DataLoader:
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader:
        return self.val_dataloader()
