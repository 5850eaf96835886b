"""Hundreds of small networks, trained in one loop: learning rates x seeds of any architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from .batches import as_batches, first_item
from .batchnorm import Inputs, call
from .interpolation import InterpolationResult, Metric, interpolate
from .optim import PerNetworkRate
from .stack import NetworkStack
from .states import snapshot

SGD_MOMENTUM = partial(SGD, momentum=0.9)


class Run(NamedTuple):
    """One member of a stack."""

    rate: float
    seed: int


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A new network with the weights of a seed; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def runs_of(rates: Sequence[float], seeds: Sequence[int]) -> list[Run]:
    """All pairs of rate and seed, the rate varying slowest.

    Raises:
        ValueError: an empty list, or a rate that is not positive.
    """
    if not rates or not seeds or min(rates) <= 0:
        raise ValueError(f"rates and seeds must not be empty and rates positive, got {list(rates)} and {list(seeds)}")
    return [Run(rate, seed) for rate, seed in product(rates, seeds)]


class StackedTrainer:
    """Trains rates x seeds networks side by side on the same batches, each with its own learning rate.

    Args:
        build: makes one network; called once a run, with torch seeded by the run's seed.
        metric: `(model output (J, B, ...), batch) -> losses` (J, B), such as `losses.cross_entropy`.
        rates, seeds: see `runs_of`.
        optimizer: from parameters and lr to an optimizer whose step is proportional to lr.
        inputs: from a batch to the network's argument, or to a tuple of them.
    Attributes:
        runs: the J runs, in order. stack: the networks as they are now. start: their initial parameters, by name.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        metric: Metric,
        rates: Sequence[float],
        seeds: Sequence[int] = (0,),
        optimizer: Callable[..., Optimizer] = SGD_MOMENTUM,
        inputs: Inputs = first_item,
    ):
        self.runs = runs_of(rates, seeds)
        networks = {seed: seeded(build, seed) for seed in set(seeds)}
        self.stack = NetworkStack([networks[run.seed] for run in self.runs])
        self.start = snapshot(self.stack)
        self.metric, self.inputs = metric, inputs
        rates = next(self.stack.parameters()).new_tensor([run.rate for run in self.runs])
        self.optimizer = PerNetworkRate(optimizer(self.stack.parameters(), lr=1.0), rates)

    def step(self, batch: Any) -> Tensor:
        """One step of every network; their losses before it, (J,)."""
        self.optimizer.zero_grad()
        losses = self.metric(call(self.stack, self.inputs(batch)), batch).mean(-1)
        losses.sum().backward()
        self.optimizer.step()
        return losses.detach()

    def fit(self, batches: Iterable, epochs: int = 1) -> Tensor:
        """Pass over the batches `epochs` times; mean losses of every epoch, (epochs, J).

        Raises:
            ValueError: no epoch, or no batch in it.
        """
        self.stack.train()
        batches = as_batches(batches)
        losses = [[self.step(batch) for batch in batches] for _ in range(epochs)]
        if not losses or not losses[0]:
            raise ValueError(f"nothing to train on: {epochs} epochs of {len(losses[0]) if losses else 0} batches")
        return torch.stack([torch.stack(epoch).mean(0) for epoch in losses])

    def interpolate(self, data: Any, **options: Any) -> InterpolationResult:
        """Loss curves from all initialisations to the networks as they are now: values (A, J).

        Args:
            data: see `interpolation.interpolate`, which also takes the options.
        Raises:
            ValueError: some network diverged: its weights are not finite; `stack.finite()` tells which.
        """
        return interpolate(self.start, self.stack, data=data, metric=self.metric, inputs=self.inputs, **options)
