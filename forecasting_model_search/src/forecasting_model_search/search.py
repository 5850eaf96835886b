"""Forecasting Model Search as ask and tell: which configuration to train for some more epochs, from which checkpoint.

It knows what it was told and nothing else: the bookkeeping is here, the surrogate behind it is `forecaster.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch

from .acquisition import best_at, expected_improvement
from .checkpoints import CheckpointStore, FolderStore, Retention
from .fitting import FitSettings
from .forecaster import Forecaster
from .history import History, Row
from .methods import SurrogateSettings
from .schedule import RefitSchedule, Schedule
from .space import SearchSpace
from .suggestion import SearchSettings, Start, Suggestion
from .weights import Checkpoint, State, fingerprint


class ForecastingModelSearch:
    """The searcher.

    Args:
        space: of the hyperparameters. max_epochs: T, of one configuration. budget: epochs in all.
        mode: 'max' or 'min', what to do with the scores. seed: of all randomness.
        pool: the configurations to choose from; if not given, new ones are drawn from the space.
        checkpoints: store of the weights, for encoders that look at them. `tell` puts what it is given there.
        start: gives (weights or None, score or NaN) of a configuration before any training, which cost nothing.
        surrogate, fitting, schedule, settings: see their classes. keep: at most so many checkpoints stay in the store.
        pretrained: parameters of a surrogate that was fitted elsewhere (`DeepKernelGP.state_dict()`): fits start from
            them.
    Raises:
        ValueError: an unknown mode, a budget or step below 1, an encoder that looks at checkpoints without a store of
            them, or a configuration of the pool that the space refuses.
    """

    def __init__(
        self,
        space: SearchSpace,
        max_epochs: int,
        budget: int,
        mode: str = "max",
        seed: int = 0,
        pool: Sequence[Mapping[str, Any]] | None = None,
        checkpoints: CheckpointStore | None = None,
        start: Start | None = None,
        surrogate: SurrogateSettings | None = None,
        fitting: FitSettings | None = None,
        schedule: Schedule | None = None,
        settings: SearchSettings | None = None,
        keep: int | None = None,
        pretrained: Mapping[str, torch.Tensor] | None = None,
    ):
        surrogate, settings = surrogate or SurrogateSettings(), settings or SearchSettings()
        if mode not in ("max", "min"):
            raise ValueError(f"mode must be 'max' or 'min', got {mode!r}")
        if budget < 1 or settings.step < 1:
            raise ValueError(f"budget and step must be at least 1, got {budget} and {settings.step}")
        if surrogate.encoder != "none" and checkpoints is None:
            raise ValueError(f"the encoder {surrogate.encoder!r} needs a store of checkpoints; take 'none' without one")
        self.space, self.budget, self.seed = space, budget, seed
        self.sign = 1.0 if mode == "max" else -1.0
        self.checkpoints, self.surrogate, self.settings = checkpoints, surrogate, settings
        self._start, self.retention = start, Retention(keep) if keep is not None else None
        self.history = History(max_epochs)
        self.params: dict[int, dict[str, Any]] = {}
        self._points: dict[int, list[float]] = {}
        self._initial: dict[int, Checkpoint] = {}
        self.forecaster = Forecaster(
            self.history,
            self._points,
            space.width,
            self._initial,
            checkpoints,
            surrogate,
            fitting or FitSettings(),
            schedule or RefitSchedule(),
            seed,
            pretrained,
        )
        self.next_id = 0
        self.pending: dict[int, tuple[int, int]] = {}
        self.pooled = pool is not None
        for params in pool or ():
            self._add(dict(params))
        self._random = np.random.default_rng([seed, 9])
        self._promise: dict[int, float] = {}

    # ── what was told

    @property
    def spent(self) -> int:
        """Epochs that were told."""
        return self.history.observed

    def tell(self, config_id: int, epoch: int, score: float, checkpoint: State | None = None) -> None:
        """The score of one epoch of a configuration, and its weights after it.

        A score that is not finite marks the configuration as diverged: it is never suggested again. The epochs of one
        configuration come in order; different configurations in any.

        Raises:
            ValueError: the epoch was not asked for, or the weights do not fit.
        """
        if config_id not in self.pending:
            raise ValueError(f"configuration {config_id} was not asked for, or has been told or released already")
        last = self.pending[config_id][1]
        if epoch > last:
            raise ValueError(f"configuration {config_id} was asked for up to epoch {last}, got epoch {epoch}")
        if checkpoint is not None and self.checkpoints is not None:
            if epoch != self.history.reached(config_id) + 1:
                raise ValueError(
                    f"configuration {config_id}: epoch {self.history.reached(config_id) + 1} is next, got {epoch}"
                )
            self.checkpoints.put(config_id, epoch, checkpoint)
        self.history.tell(config_id, epoch, self.sign * score)
        if epoch == last or self.history.diverged(config_id):
            del self.pending[config_id]
        if self.retention is not None and self.checkpoints is not None:
            self.retention.apply(self.checkpoints, self._promise)

    def release(self, config_id: int) -> None:
        """What was asked for will not come: its worker died. What it had told stays; it can be suggested again
        from there."""
        self.pending.pop(config_id, None)

    def best(self) -> tuple[dict[str, Any], int, float]:
        """Hyperparameters, epoch and score of the best that was told."""
        config_id, epoch, score = self.history.best()
        return self.params[config_id], epoch, self.sign * score

    # ── what to do next

    def ask(self) -> Suggestion | None:
        """The next suggestion, None when the budget is spent (or all of it asked for) or nothing is left to train."""
        left = (
            self.budget
            - self.spent
            - sum(to - max(first, self.history.reached(i)) for i, (first, to) in self.pending.items())
        )
        if left <= 0:
            return None
        chosen = self._choose()
        if chosen is None:
            return None
        state = self.history.reached(chosen)
        to = min(state + min(self.settings.step, left), self.history.max_epochs)
        self.pending[chosen] = (state, to)
        return Suggestion(chosen, self.params[chosen], state, to, self.checkpoint(chosen, state))

    def checkpoint(self, config_id: int, epoch: int) -> Checkpoint | None:
        """What was stored of a configuration, or what it starts from; None if there is nothing."""
        if epoch == 0 and config_id in self._initial:
            return self._initial[config_id]
        known = self.checkpoints is not None and (config_id, epoch) in self.checkpoints
        return self.checkpoints.get(config_id, epoch) if known else None

    def adopt(self, params: Mapping[str, Any], config_id: int) -> None:
        """Make a configuration known that came from elsewhere, such as another process."""
        if config_id not in self.params:
            self._add(dict(params), config_id)

    def rename(self, config_id: int, new: int) -> None:
        """Give a configuration that was not started yet another number."""
        if self.history.reached(config_id) or new in self.params:
            raise ValueError(f"configuration {config_id} was started already, or {new} is taken")
        for held in (self.params, self._points, self._initial, self.pending):
            if config_id in held:
                held[new] = held.pop(config_id)
        start = self.history.curve(config_id, 0)
        if start:
            self.history.start(new, start[0])

    def take(self, config_id: int, from_epoch: int, to_epoch: int) -> None:
        """Mark a slice as asked for: another process does it."""
        self.pending[config_id] = (from_epoch, to_epoch)

    def forecast(self, epoch: int | None = None) -> pd.DataFrame:
        """Mean, std and rank (1 the best) of the predicted score at an epoch, T if not given, of all that can still go
        on.

        Raises:
            ValueError: nothing was told yet.
        """
        self.forecaster.update()
        epoch = epoch or self.history.max_epochs
        rows = [
            Row(i, self.history.reached(i), epoch, float("nan"))
            for i in self.params
            if not self.history.diverged(i) and self.history.reached(i) < epoch
        ]
        mean, std = self.forecaster.predict(rows)
        frame = pd.DataFrame(
            {"mean": self.sign * mean.numpy(), "std": std.numpy()}, index=[row.config_id for row in rows]
        )
        frame["rank"] = frame["mean"].rank(ascending=self.sign < 0, method="first").astype(int)
        return frame.rename_axis("config_id")

    def _choose(self) -> int | None:
        if not self.pooled:
            for _ in range(self.settings.fresh - len(self._unstarted())):
                self._add(self.space.sample(self._random))
        waiting = self._candidates()
        if not waiting:
            return None
        started = len(self.history.started) + sum(i not in self.history.started for i in self.pending)
        unstarted = [i for i in waiting if not self.history.reached(i)]
        if (started < self.settings.initial or not self.history.rows()) and unstarted:
            return unstarted[int(self._random.integers(len(unstarted)))]
        if not self.history.rows():
            return waiting[0]
        running = [i for i in waiting if self.history.reached(i)]
        if running and self.settings.promote_prob and self._random.random() < self.settings.promote_prob:
            return max(running, key=lambda i: self.history.curve(i, self.history.reached(i))[-1])
        self.forecaster.update()
        improvement = self._improvement(waiting)
        self._promise = dict(zip(waiting, improvement.tolist(), strict=True))
        return waiting[int(improvement.argmax())]

    def _improvement(self, waiting: Sequence[int]) -> torch.Tensor:
        """EI (n,) of each candidate at its own next budget, with what is pending taken to come out as predicted."""
        step, history = self.settings.step, self.history
        states = [history.reached(i) for i in waiting]
        ends = [min(state + step, history.max_epochs) for state in states]
        rows = [Row(i, state, to, float("nan")) for i, state, to in zip(waiting, states, ends, strict=True)]
        asked = [Row(i, history.reached(i), to, float("nan")) for i, (_, to) in self.pending.items()]
        mean, std = self.forecaster.predict(rows, self.settings.noise, asked)
        return expected_improvement(mean, std, best_at(torch.tensor(ends), history.curves))

    def _candidates(self) -> list[int]:
        history = self.history
        return [
            i
            for i in self.params
            if i not in self.pending and not history.diverged(i) and history.reached(i) < history.max_epochs
        ]

    def _unstarted(self) -> list[int]:
        return [i for i in self._candidates() if not self.history.reached(i)]

    def _add(self, params: dict[str, Any], config_id: int | None = None) -> int:
        if config_id is None:
            config_id, self.next_id = self.next_id, self.next_id + 1
        self._points[config_id] = self.space.encode(params)
        self.params[config_id] = params
        if self._start is not None:
            weights, score = self._start(config_id, params)
            self.history.start(config_id, self.sign * score)
            if weights is not None and self.checkpoints is not None:
                graph = self.checkpoints.graph(config_id)
                self._initial[config_id] = Checkpoint(weights, graph, fingerprint(weights))
        return config_id

    def parameters(self) -> dict[str, torch.Tensor]:
        """Of the surrogate, to start another search with (`pretrained`).

        Raises:
            ValueError: nothing was fitted yet.
        """
        return self.forecaster.parameters()

    # ── stopping and going on

    def state_dict(self) -> dict[str, Any]:
        """All that decides the next suggestion, in plain values and tensors: `torch.save` it, load with
        weights_only=True.

        Weights that a store in memory holds are part of it; a folder's stay in their files.
        """
        in_memory = self.checkpoints is not None and not isinstance(self.checkpoints, FolderStore)
        return {
            "settings": self._described(),
            "history": self.history.state_dict(),
            "params": {str(i): params for i, params in self.params.items()},
            "pending": {str(i): list(span) for i, span in self.pending.items()},
            "next_id": self.next_id,
            "random": _plain(self._random.bit_generator.state),
            **self.forecaster.state_dict(),
            "checkpoints": {f"{i}_{e}": dict(self.checkpoints.state(i, e)) for i, e in self.checkpoints.places()}
            if in_memory
            else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, in a searcher made with the same arguments.

        Raises:
            ValueError: it was made with others.
        """
        if state["settings"] != self._described():
            raise ValueError(f"expected a state of {self._described()}, got one of {state['settings']}")
        for held in (self.params, self._points, self._initial):
            held.clear()
        for i, params in state["params"].items():
            self._add(dict(params), int(i))
        self.next_id = state["next_id"]
        self.history = self.forecaster.history = History.from_state_dict(state["history"])
        self.pending = {int(i): (span[0], span[1]) for i, span in state["pending"].items()}
        self._random.bit_generator.state = state["random"]
        for place, weights in (state["checkpoints"] or {}).items():
            config_id, epoch = map(int, place.split("_"))
            if (config_id, epoch) not in self.checkpoints:
                self.checkpoints.put(config_id, epoch, weights)
        self.forecaster.load_state_dict(state)

    def _described(self) -> dict[str, Any]:
        parts = {"surrogate": self.surrogate, "fitting": self.forecaster.fitting, "settings": self.settings}
        return {name: asdict(part) for name, part in parts.items()} | {
            "budget": self.budget,
            "max_epochs": self.history.max_epochs,
            "sign": self.sign,
            "seed": self.seed,
            "space": list(self.space.domains),
        }


def _plain(state: Mapping) -> dict:
    return {k: _plain(v) if isinstance(v, Mapping) else v for k, v in state.items()}
