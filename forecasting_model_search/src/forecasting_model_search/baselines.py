"""What FMS is compared with, all with the same ask and tell on the same pool: random search, ASHA, GP-EI, and Optuna's.

Optuna's samplers propose points of the space; the nearest configuration of the pool that was not taken yet stands for
them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
import torch
from gpytorch.kernels import RBFKernel, ScaleKernel
from torch import Tensor

from .acquisition import expected_improvement
from .history import History
from .kernel import Posterior, RBFProcess
from .space import Categorical, Int, SearchSpace
from .suggestion import Suggestion


class Searcher(Protocol):
    """What a replay or a race needs."""

    def ask(self) -> Suggestion | None: ...

    def tell(self, config_id: int, epoch: int, score: float, checkpoint=None) -> None: ...


class PoolSearch:
    """Base of the baselines: a pool, a budget, and the bookkeeping of epochs. `choose` says which and up to where."""

    def __init__(
        self, space: SearchSpace, max_epochs: int, budget: int, pool: Sequence[Mapping[str, Any]], seed: int = 0
    ):
        if budget < 1 or not pool:
            raise ValueError(f"expected a budget of at least 1 and a pool, got {budget} and {len(pool)} configurations")
        self.space, self.budget, self.params = space, budget, [dict(p) for p in pool]
        self.points = torch.tensor([space.encode(p) for p in pool], dtype=torch.float64)
        self.history, self.random = History(max_epochs), np.random.default_rng([seed, 10])
        self.pending: dict[int, int] = {}

    @property
    def spent(self) -> int:
        return self.history.observed

    def ask(self) -> Suggestion | None:
        left = self.budget - self.spent - sum(to - self.history.reached(i) for i, to in self.pending.items())
        chosen = self.choose() if left > 0 else None
        if chosen is None:
            return None
        config_id, to = chosen
        state = self.history.reached(config_id)
        to = min(to, state + left, self.history.max_epochs)
        self.pending[config_id] = to
        return Suggestion(config_id, self.params[config_id], state, to)

    def tell(self, config_id: int, epoch: int, score: float, checkpoint=None) -> None:
        self.history.tell(config_id, epoch, score)
        if epoch == self.pending.get(config_id) or self.history.diverged(config_id):
            self.pending.pop(config_id, None)

    def release(self, config_id: int) -> None:
        self.pending.pop(config_id, None)

    def choose(self) -> tuple[int, int] | None:
        raise NotImplementedError

    def untouched(self) -> list[int]:
        """Configurations that nobody asked for."""
        taken = {*self.history.started, *self.pending}
        return [i for i in range(len(self.params)) if i not in taken]

    def resumable(self, config_id: int) -> bool:
        history = self.history
        return (
            config_id not in self.pending
            and not history.diverged(config_id)
            and history.reached(config_id) < history.max_epochs
        )


class RandomSearch(PoolSearch):
    """A random configuration, trained to the end, again and again."""

    def choose(self):
        for i in self.history.started:  # the last of the budget may have ended in the middle of one
            if self.resumable(i):
                return i, self.history.max_epochs
        left = self.untouched()
        return (left[int(self.random.integers(len(left)))], self.history.max_epochs) if left else None


class ASHA(PoolSearch):
    """Asynchronous successive halving: promote a configuration in the top 1/η of its rung, else start a random one.

    Args:
        eta: η. first: the first rung; the others follow by factors of η, the last is T.
    """

    def __init__(self, *args, eta: int = 2, rungs: Sequence[int] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        T = self.history.max_epochs
        if rungs is None:
            rungs = sorted({max(1, math.ceil(T / eta**k)) for k in range(int(math.log(T, eta)) + 1)})
        if list(rungs) != sorted(set(rungs)) or rungs[0] < 1 or rungs[-1] > T:
            raise ValueError(f"expected growing rungs from 1 to {T}, got {list(rungs)}")
        self.eta, self.rungs = eta, list(rungs)
        self.promoted: list[set[int]] = [set() for _ in self.rungs]

    def choose(self):
        for k in reversed(range(len(self.rungs) - 1)):
            at = [(self.history.curve(i, self.rungs[k])[-1], -i) for i in self.history.started if self._passed(i, k)]
            top = sorted(at, reverse=True)[: len(at) // self.eta]
            for _, minus in top:
                if -minus not in self.promoted[k] and self.resumable(-minus):
                    self.promoted[k].add(-minus)
                    return -minus, self.rungs[k + 1]
        left = self.untouched()
        if left:
            return left[int(self.random.integers(len(left)))], self.rungs[0]
        rest = [i for i in self.history.started if self.resumable(i)]
        return (rest[0], self.history.max_epochs) if rest else None

    def _passed(self, config_id: int, rung: int) -> bool:
        return self.history.reached(config_id) >= self.rungs[rung]


class GPEI(PoolSearch):
    """Black-box Bayesian optimisation: a Gaussian process of the best score on the hyperparameters, expected
    improvement; every configuration is trained to the end. One length scale a column, by marginal likelihood.

    Args:
        initial: random configurations first. steps: of Adam, at each fit.
    """

    def __init__(self, *args, initial: int = 3, steps: int = 60, **kwargs):
        super().__init__(*args, **kwargs)
        self.initial, self.steps = initial, steps

    def choose(self):
        running = [i for i in self.history.started if self.resumable(i)]
        if running:
            return running[0], self.history.max_epochs
        left = self.untouched()
        known = [i for i in self.history.started if self.history.reached(i)]
        if not left:
            return None
        if len(known) < self.initial:
            return left[int(self.random.integers(len(left)))], self.history.max_epochs
        curves = self.history.curves
        scores = torch.tensor([max(curves[i].values()) for i in known], dtype=torch.float64)
        mean, std = self.predict(known, scores, left)
        return left[int(expected_improvement(mean, std, scores.max()).argmax())], self.history.max_epochs

    def predict(self, known: list[int], scores: Tensor, asked: list[int]) -> tuple[Tensor, Tensor]:
        centre, scale = scores.mean(), scores.std(correction=0).clamp_min(1e-6)
        process = RBFProcess()
        process.covariance = ScaleKernel(RBFKernel(ard_num_dims=self.points.shape[1]))
        process.double()
        optimizer = torch.optim.Adam(process.parameters(), lr=0.1)
        standard = (scores - centre) / scale
        for _ in range(self.steps):
            optimizer.zero_grad()
            process.negative_log_likelihood(self.points[known], standard).backward()
            optimizer.step()
        mean, variance = Posterior.of(process, self.points[known], standard).predict(self.points[asked])
        return mean * scale + centre, variance.sqrt() * scale


class OptunaSearch(PoolSearch):
    """An Optuna sampler with Hyperband's pruner: one trial is one configuration, trained until it is pruned or done.

    Args:
        sampler: such as `optuna.samplers.TPESampler(seed=0)`.
    """

    def __init__(self, *args, sampler: optuna.samplers.BaseSampler, **kwargs):
        super().__init__(*args, **kwargs)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=self.history.max_epochs)
        # Hyperband deals trials to its brackets by a hash of the name: a random one would not be repeatable
        self.study = optuna.create_study(study_name="replay", direction="maximize", sampler=sampler, pruner=pruner)
        self.trial: optuna.Trial | None = None
        self.current: int | None = None

    def choose(self):
        if self.current is not None:
            return self.current, self.history.reached(self.current) + 1
        left = self.untouched()
        if not left:
            return None
        self.trial = self.study.ask(to_optuna(self.space))
        point = torch.tensor(self.space.encode(self.trial.params), dtype=torch.float64)
        self.current = left[int((self.points[left] - point).square().sum(1).argmin())]
        return self.current, 1

    def tell(self, config_id, epoch, score, checkpoint=None):
        super().tell(config_id, epoch, score)
        done = epoch == self.history.max_epochs
        if math.isfinite(score):
            self.trial.report(score, epoch)
            pruned = not done and self.trial.should_prune()
        else:
            pruned = True
        if done or pruned:
            states = optuna.trial.TrialState
            if pruned:
                self.study.tell(self.trial, state=states.PRUNED)
            else:
                self.study.tell(self.trial, max(self.history.curves[config_id].values()))
            self.trial = self.current = None


def to_optuna(space: SearchSpace) -> dict[str, optuna.distributions.BaseDistribution]:
    """The space as Optuna's distributions."""
    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, domain in space.domains.items():
        if isinstance(domain, Categorical):
            found[name] = optuna.distributions.CategoricalDistribution(domain.choices)
        elif isinstance(domain, Int):
            found[name] = optuna.distributions.IntDistribution(int(domain.low), int(domain.high), log=domain.log)
        else:
            found[name] = optuna.distributions.FloatDistribution(domain.low, domain.high, log=domain.log)
    return found
