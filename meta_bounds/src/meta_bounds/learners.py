"""Meta-learners under one interface: fit on the training tasks, then `predict` on a novel task's support and queries.

Every learner is a stack of runs, R at once. Network learners share their architecture, optimiser and budget, so that
methods differ in what they minimise and in how they adapt.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from .adaptation import adapt, for_every_task, train_alone
from .data import Tasks
from .feature_map import BasisMAP, PrincipalMAP
from .finite import finite
from .learner import Learner
from .network import forward, initial_weights


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
    Raises:
        ValueError: a number below 1, or a rate that is not positive.
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
