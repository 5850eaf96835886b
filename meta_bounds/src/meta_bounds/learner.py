"""What all learners share: they predict a novel task's queries from its support, and are judged by that."""

from __future__ import annotations

from abc import abstractmethod

from pytorch_lightning import LightningModule
from torch import Tensor

from .adaptation import LOSSES
from .data import Trial


class Learner(LightningModule):
    """What all learners share; abstract.

    Args:
        inputs, outputs, loss, seeds: of the data (linked from them); loss is `squared_error` or `cross_entropy`.
    Raises:
        ValueError: unknown loss.
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
