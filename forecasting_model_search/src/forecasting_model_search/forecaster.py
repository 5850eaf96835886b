"""The surrogate of a search, kept up to what was told: fitted when the schedule says so, between fits only the Cholesky
factor grows.

Curves and checkpoints reach it through `History` and `ToldCheckpoints`, which refuse anything later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .checkpoints import CheckpointStore
from .fitting import FitSettings, fit
from .history import History, Row
from .kernel import Posterior
from .methods import SurrogateSettings, load_surrogate, make_surrogate
from .rows import RowBuilder, ToldCheckpoints, WithStarts, scores_of
from .schedule import Schedule
from .surrogate import DeepKernelGP
from .weights import Checkpoint


class Forecaster:
    """Predicts scores of rows from all that a history was told.

    Args:
        history: what was told. points: configuration -> its point in [0, 1]^d, `width` numbers; may grow.
        initial: configuration -> the checkpoint that it starts from; may grow. checkpoints: store of all later ones.
        surrogate, fitting, schedule: see their classes. seed: of first weights and of subsets.
        pretrained: parameters that fits from new weights start from instead.
    """

    def __init__(
        self,
        history: History,
        points: Mapping[int, Sequence[float]],
        width: int,
        initial: Mapping[int, Checkpoint],
        checkpoints: CheckpointStore | None,
        surrogate: SurrogateSettings,
        fitting: FitSettings,
        schedule: Schedule,
        seed: int,
        pretrained: Mapping[str, Tensor] | None = None,
    ):
        self.history, self.points, self.width, self.initial = history, points, width, initial
        self.checkpoints, self.surrogate, self.fitting, self.schedule = checkpoints, surrogate, fitting, schedule
        self.seed, self.pretrained = seed, pretrained
        self.gp: DeepKernelGP | None = None
        self.known: list[Row] = []
        self.fits, self.fitted = 0, 0
        self._cache: dict[str, Tensor] = {}

    @property
    def looks(self) -> bool:
        """Whether it looks at checkpoints."""
        return self.surrogate.encoder != "none"

    def builder(self) -> RowBuilder:
        store = WithStarts(ToldCheckpoints(self.checkpoints, self.history), self.initial) if self.looks else None
        return RowBuilder(self.points, self.history.max_epochs, store, self.surrogate.multi_horizon)

    def predict(self, rows: Sequence[Row], noise: bool = False, pending: Sequence[Row] = ()) -> tuple[Tensor, Tensor]:
        """(mean, std) of the rows' scores, each (n,), with `pending` rows taken to come out as predicted."""
        builder, known = self.builder(), self.gp.known
        if pending:
            inputs = builder.inputs(self.history, pending)
            self.gp.extend(inputs, self.gp.posterior(inputs, self._cache)[0], self._cache)
        found = self.gp.posterior(builder.inputs(self.history, rows), self._cache, noise)
        self.gp.known = known
        return found

    def update(self) -> None:
        """Bring the surrogate up to what was told.

        Raises:
            ValueError: nothing was.
        """
        rows = sorted(self.history.rows(None if self.surrogate.multi_horizon else (1,)))
        rows = [row for row in rows if self._has_weights(row)]
        if not rows:
            raise ValueError("nothing was told yet: there is nothing to forecast from")
        seen = set(self.known)
        new = [row for row in rows if row not in seen]
        if not new and self.gp is not None:
            return
        plan = self.schedule.plan(len(rows), self.fitted, self.fits, self.fitting)
        builder = self.builder()
        if self.gp is None or plan.restart:
            self.gp = make_surrogate(self.surrogate, self.width, self._graphs(), self.seed + 1000 * self.fits)
            if self.pretrained is not None:
                load_surrogate(self.gp, self.pretrained)
            self.known = []
        if plan.settings is not None or self.gp.known is None:
            generator = torch.Generator().manual_seed(self.seed + 7919 * self.fits)
            fit(self.gp, builder.inputs(self.history, rows), scores_of(rows), plan.settings or self.fitting, generator)
            self.known, self._cache = rows, {}
            self.fits, self.fitted = self.fits + 1, len(rows)
        else:
            self.gp.extend(builder.inputs(self.history, new), scores_of(new), self._cache)
            self.known = self.known + new

    def parameters(self) -> dict[str, Tensor]:
        """Of the surrogate.

        Raises:
            ValueError: nothing was fitted yet.
        """
        if self.gp is None:
            raise ValueError("nothing was fitted yet")
        return {name: tensor.clone() for name, tensor in self.gp.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        known = self.gp.known if self.gp is not None else None
        names = ("features", "scores", "factor", "whitened")
        return {
            "fits": [self.fits, self.fitted],
            "known": [list(row) for row in self.known],
            "gp": self.gp.state_dict() if self.gp is not None else None,
            "posterior": {k: getattr(known, k) for k in names} if known else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        (self.fits, self.fitted), self._cache, self.gp = state["fits"], {}, None
        self.known = [Row(*row) for row in state["known"]]
        if state["gp"] is not None:
            self.gp = make_surrogate(self.surrogate, self.width, self._graphs(), self.seed)
            self.gp.load_state_dict(state["gp"])
            if state["posterior"] is not None:
                self.gp.known = Posterior(self.gp.process, **state["posterior"])

    def _has_weights(self, row: Row) -> bool:
        """Rows whose checkpoint the store had to let go are left out, except where there never was one, before
        training."""
        return not self.looks or row.state == 0 or (row.config_id, row.state) in self.checkpoints

    def _graphs(self) -> list:
        return list(self.checkpoints.graphs.values()) if self.checkpoints is not None else []
