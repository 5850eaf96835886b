"""Batches whose order, and all else that is random in an epoch, depends on (seed, epoch) alone.

So a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from .resuming import ResumingLoader

Batch = tuple[Tensor, Tensor]

# what a stream of random numbers is for; streams of one seed are independent
SUBSET, NOISE, ORDER, AUGMENTATION, HELD_OUT, SAMPLES = range(6)


def stream(seed: int, purpose: int, epoch: int = 0) -> torch.Generator:
    """Random numbers of one seed, purpose and epoch."""
    return torch.Generator().manual_seed(_mixed(seed, purpose, epoch))


def _mixed(*key: int) -> int:
    """The integers of a key mixed into one: seeds 0, 1, 2 ... and epochs 0, 1, 2 ... may simply be counted."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def check_loading(batch_size: int, seed: int) -> None:
    """Raises ValueError unless batch_size >= 1 and seed >= 0."""
    if batch_size < 1 or seed < 0:
        raise ValueError(f"batch_size must be >= 1 and seed >= 0, got {batch_size} and {seed}")


def shuffled_loader(
    data: LightningDataModule, examples: int, batch_of: Callable[[Tensor, int], Batch]
) -> DataLoader[Batch]:
    """Batches of an epoch: `batch_of(indices, epoch)`; their order follows `loader.sampler.set_epoch(epoch)`.

    Lightning sets the epoch, and every process gets its share.
    """
    world, rank = (data.trainer.world_size, data.trainer.global_rank) if data.trainer else (1, 0)
    indices = range(examples)
    # the sampler itself only adds seed and epoch, so that seed 0 would see in epoch 1 what seed 1 sees in epoch 0
    sampler = DistributedSampler(indices, world, rank, seed=_mixed(data.seed, ORDER))
    return ResumingLoader(
        indices,
        data.trainer,
        batch_size=data.batch_size,
        sampler=sampler,
        collate_fn=lambda chosen: batch_of(torch.tensor(chosen), sampler.epoch),
    )


def fixed_loader(examples: int, batch_size: int, batch_of: Callable[[Tensor], Batch]) -> DataLoader[Batch]:
    """Batches in fixed order."""
    return DataLoader(range(examples), batch_size=batch_size, collate_fn=lambda chosen: batch_of(torch.tensor(chosen)))


def fixed_batches(examples: int, rows: int | None, batch_size: int, batch_of: Callable[[Tensor], Batch]) -> list[Batch]:
    """The first `rows` examples (None: all) in fixed order; all batches but the last have `batch_size` rows.

    Raises:
        ValueError: `rows` or `batch_size` is below 1.
    """
    if batch_size < 1 or (rows is not None and rows < 1):
        raise ValueError(f"rows and batch_size must be >= 1, got {rows} and {batch_size}")
    chosen = torch.arange(examples if rows is None else min(rows, examples))
    return [batch_of(indices) for indices in chosen.split(batch_size)]
