"""A training loader that goes on within an epoch where a checkpoint was written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pytorch_lightning import Trainer
from torch.utils.data import DataLoader, Dataset


class ResumingLoader(DataLoader):
    """Begins with the first batch of the epoch that was not trained on: a run killed within an epoch goes on there.

    Lightning would begin the epoch anew. Order and workers are asked for with the first batch, when the trainer has
    told the epoch.

    Args:
        trainer: whose progress counts; None: all batches. options: of DataLoader.
    """

    def __init__(self, dataset: Dataset, trainer: Trainer | None = None, **options: Any):
        self.trainer, self._begun = trainer, False
        super().__init__(dataset, **options)

    def __iter__(self) -> Iterator[Any]:
        resuming = not self._begun and self.trainer is not None and self.trainer.training
        self._begun = True  # whoever goes through the batches later, a callback perhaps, gets all of them
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed if resuming else 0
        yield from islice(super().__iter__(), done, None)
