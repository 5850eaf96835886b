"""Forecasting Model Search as ask and tell: which configuration to train for some more epochs, from which checkpoint.

It knows what it was told and nothing else: rows, curves and checkpoints go through `History` and `ToldCheckpoints`,
    which
refuse anything later.
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
from .fitting import FitSettings, fit
from .history import History, Row
from .kernel import Posterior
from .methods import SurrogateSettings, load_surrogate, make_surrogate
from .rows import RowBuilder, ToldCheckpoints, WithStarts, scores_of
from .schedule import RefitSchedule, Schedule
from .space import SearchSpace
from .suggestion import SearchSettings, Start, Suggestion
from .surrogate import DeepKernelGP
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
        self.fitting = fitting or FitSettings()
        self.schedule, self._start = schedule or RefitSchedule(), start
        self.retention = Retention(keep) if keep is not None else None
        self.pretrained = pretrained
        self.history = History(max_epochs)
        self.params: dict[int, dict[str, Any]] = {}
        self._points: dict[int, list[float]] = {}
        self._initial: dict[int, Checkpoint] = {}
        self.next_id = 0
        self.pending: dict[int, tuple[int, int]] = {}
        self.pooled = pool is not None
        for params in pool or ():
            self._add(dict(params))
        self._random = np.random.default_rng([seed, 9])
        self._gp: DeepKernelGP | None = None
        self._known: list[Row] = []
        self._fits, self._fitted = 0, 0
        self._cache: dict[str, torch.Tensor] = {}
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
        self._update()
        epoch = epoch or self.history.max_epochs
        rows = [
            Row(i, self.history.reached(i), epoch, float("nan"))
            for i in self.params
            if not self.history.diverged(i) and self.history.reached(i) < epoch
        ]
        mean, std = self._gp.posterior(self._builder().inputs(self.history, rows), self._cache)
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
        self._update()
        improvement = self._improvement(waiting)
        self._promise = dict(zip(waiting, improvement.tolist(), strict=True))
        return waiting[int(improvement.argmax())]

    def _improvement(self, waiting: Sequence[int]) -> torch.Tensor:
        """EI (n,) of each candidate at its own next budget, with what is pending taken to come out as predicted."""
        step, history, builder, gp = self.settings.step, self.history, self._builder(), self._gp
        states = [history.reached(i) for i in waiting]
        rows = [
            Row(i, state, min(state + step, history.max_epochs), float("nan"))
            for i, state in zip(waiting, states, strict=True)
        ]
        known = gp.known
        if self.pending:
            asked = [Row(i, history.reached(i), to, float("nan")) for i, (_, to) in self.pending.items()]
            inputs = builder.inputs(history, asked)
            gp.extend(inputs, gp.posterior(inputs, self._cache)[0], self._cache)
        mean, std = gp.posterior(builder.inputs(history, rows), self._cache, self.settings.noise)
        gp.known = known
        return expected_improvement(mean, std, best_at(torch.tensor([row.epoch for row in rows]), history.curves))

    def _update(self) -> None:
        """Bring the surrogate up to what was told: a fit if the schedule says so, else only new rows of the factor."""
        rows = sorted(self.history.rows(None if self.surrogate.multi_horizon else (1,)))
        rows = [row for row in rows if self._has_weights(row)]
        if not rows:
            raise ValueError("nothing was told yet: there is nothing to forecast from")
        seen = set(self._known)
        new = [row for row in rows if row not in seen]
        if not new and self._gp is not None:
            return
        plan = self.schedule.plan(len(rows), self._fitted, self._fits, self.fitting)
        builder = self._builder()
        if self._gp is None or plan.restart:
            self._gp = make_surrogate(self.surrogate, self.space.width, self._graphs(), self.seed + 1000 * self._fits)
            if self.pretrained is not None:
                load_surrogate(self._gp, self.pretrained)
            self._known = []
        if plan.settings is not None or self._gp.known is None:
            generator = torch.Generator().manual_seed(self.seed + 7919 * self._fits)
            fit(self._gp, builder.inputs(self.history, rows), scores_of(rows), plan.settings or self.fitting, generator)
            self._known, self._cache = rows, {}
            self._fits, self._fitted = self._fits + 1, len(rows)
        else:
            self._gp.extend(builder.inputs(self.history, new), scores_of(new), self._cache)
            self._known = self._known + new

    def _has_weights(self, row: Row) -> bool:
        """Rows whose checkpoint the store had to let go are left out, except where there never was one, before
        training."""
        looks = self.surrogate.encoder != "none"
        return not looks or row.state == 0 or (row.config_id, row.state) in self.checkpoints

    def _candidates(self) -> list[int]:
        history = self.history
        return [
            i
            for i in self.params
            if i not in self.pending and not history.diverged(i) and history.reached(i) < history.max_epochs
        ]

    def _unstarted(self) -> list[int]:
        return [i for i in self._candidates() if not self.history.reached(i)]

    def _graphs(self) -> list:
        return list(self.checkpoints.graphs.values()) if self.checkpoints is not None else []

    def _builder(self) -> RowBuilder:
        looks = self.surrogate.encoder != "none"
        store = WithStarts(ToldCheckpoints(self.checkpoints, self.history), self._initial) if looks else None
        return RowBuilder(self._points, self.history.max_epochs, store, self.surrogate.multi_horizon)

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
        if self._gp is None:
            raise ValueError("nothing was fitted yet")
        return {name: tensor.clone() for name, tensor in self._gp.state_dict().items()}

    # ── stopping and going on

    def state_dict(self) -> dict[str, Any]:
        """All that decides the next suggestion, in plain values and tensors: `torch.save` it, load with
        weights_only=True.

        Weights that a store in memory holds are part of it; a folder's stay in their files.
        """
        in_memory = self.checkpoints is not None and not isinstance(self.checkpoints, FolderStore)
        known = self._gp.known if self._gp is not None else None
        return {
            "settings": self._described(),
            "history": self.history.state_dict(),
            "params": {str(i): params for i, params in self.params.items()},
            "pending": {str(i): list(span) for i, span in self.pending.items()},
            "next_id": self.next_id,
            "random": _plain(self._random.bit_generator.state),
            "fits": [self._fits, self._fitted],
            "known": [list(row) for row in self._known],
            "gp": self._gp.state_dict() if self._gp is not None else None,
            "posterior": {k: getattr(known, k) for k in ("features", "scores", "factor", "whitened")}
            if known
            else None,
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
        self.params, self._points, self._initial = {}, {}, {}
        for i, params in state["params"].items():
            self._add(dict(params), int(i))
        self.next_id = state["next_id"]
        self.history = History.from_state_dict(state["history"])
        self.pending = {int(i): (span[0], span[1]) for i, span in state["pending"].items()}
        self._random.bit_generator.state = state["random"]
        for place, weights in (state["checkpoints"] or {}).items():
            config_id, epoch = map(int, place.split("_"))
            if (config_id, epoch) not in self.checkpoints:
                self.checkpoints.put(config_id, epoch, weights)
        (self._fits, self._fitted), self._cache, self._gp = state["fits"], {}, None
        self._known = [Row(*row) for row in state["known"]]
        if state["gp"] is not None:
            self._gp = make_surrogate(self.surrogate, self.space.width, self._graphs(), self.seed)
            self._gp.load_state_dict(state["gp"])
            if state["posterior"] is not None:
                self._gp.known = Posterior(self._gp.process, **state["posterior"])

    def _described(self) -> dict[str, Any]:
        parts = {"surrogate": self.surrogate, "fitting": self.fitting, "settings": self.settings}
        return {name: asdict(part) for name, part in parts.items()} | {
            "budget": self.budget,
            "max_epochs": self.history.max_epochs,
            "sign": self.sign,
            "seed": self.seed,
            "space": list(self.space.domains),
        }


def _plain(state: Mapping) -> dict:
    return {k: _plain(v) if isinstance(v, Mapping) else v for k, v in state.items()}
