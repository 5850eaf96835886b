"""Pools of images with attributes, and what training sees of them: batches of labelled images, or of episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .attributes import AttributeTable
from .episodes import AttributeEpisodeSampler, Episodes
from .faces import RenderedFaces
from .frozen import read_episodes
from .splits import AttributeSplit

STAGES = ("train", "val", "test")


@dataclass(frozen=True)
class AttributeDataset:
    """Images (n, 3, H, W), uint8, and their attributes, row by row.

    Raises:
        ValueError: there are not as many images as rows, or no images.
    """

    images: Tensor
    table: AttributeTable

    def __post_init__(self):
        if self.images.ndim != 4 or self.images.shape[1] != 3 or self.images.dtype != torch.uint8:
            raise ValueError(
                f"images must be (n, 3, H, W) of uint8, got {tuple(self.images.shape)}, {self.images.dtype}"
            )
        if len(self.images) != len(self.table) or len(self.table) == 0:
            raise ValueError(
                f"expected an image for each row of attributes, got {len(self.images)} and {len(self.table)}"
            )

    def __len__(self) -> int:
        return len(self.table)


class FFSLDataModule(LightningDataModule):
    """Train, validation and test pools of images; subclasses say where they come from (`pool`).

    Args:
        split: name or file of an attribute split.
        label_group: what training labels: train, oracle (train and test attributes: SA*), or identity.
        batch_size: images in a batch.
        batches: batches in an epoch.
        episodes_per_batch: episodes in a batch of an episodic learner.
        train_shots, train_queries: N and M of its episodes.
        shots, queries, n_episodes: N, M and number of the frozen episodes of each pool.
        seed: of the data, of the order of batches, and of episodes.
        episodes_file: frozen episodes of the test pool; empty: sampled.
    Raises:
        ValueError: no such split or label_group, or a size or count below 1.
    """

    def __init__(
        self,
        split: str,
        label_group: str = "train",
        batch_size: int = 128,
        batches: int = 50,
        episodes_per_batch: int = 4,
        train_shots: int = 20,
        train_queries: int = 20,
        shots: int = 20,
        queries: int = 20,
        n_episodes: int = 600,
        seed: int = 0,
        episodes_file: str = "",
    ):
        super().__init__()
        if min(batch_size, batches, episodes_per_batch, train_shots, train_queries, shots, queries, n_episodes) < 1:
            raise ValueError("sizes and counts of batches and episodes must be >= 1")
        if label_group not in ("train", "oracle", "identity"):
            raise ValueError(f"unknown label_group {label_group!r}, choose from train, oracle, identity")
        self.split = AttributeSplit.load(split)
        self.label_group, self.batch_size, self.batches = label_group, batch_size, batches
        self.episodes_per_batch, self.train_shots, self.train_queries = episodes_per_batch, train_shots, train_queries
        self.shots, self.queries, self.n_episodes, self.seed = shots, queries, n_episodes, seed
        self.episodes_file = episodes_file
        self._pools: dict[str, AttributeDataset] = {}

    def load(self, stage: str) -> AttributeDataset:
        """Images and attributes of a stage, read or made anew."""
        raise NotImplementedError(f"{type(self).__name__} has no data")

    def load_table(self, stage: str) -> AttributeTable:
        """Attributes alone; subclasses that can spare the images do."""
        return self.pool(stage).table

    def pool(self, stage: str) -> AttributeDataset:
        """Images and attributes of `train`, `val` or `test`."""
        if stage not in self._pools:
            self._pools[stage] = self.load(stage)
        return self._pools[stage]

    def table(self, stage: str) -> AttributeTable:
        """Attributes of `train`, `val` or `test`."""
        return self._pools[stage].table if stage in self._pools else self.load_table(stage)

    @property
    def labels(self) -> int:
        """Outputs that a classifier of the label group needs."""
        if self.label_group == "identity":
            return int(self._identities().max()) + 1
        return len(self.split.group(self.label_group))

    def targets(self) -> Tensor:
        """What training labels: (n, K) attributes in {1, 0, -1}, or (n,) identities numbered from 0."""
        if self.label_group == "identity":
            return torch.from_numpy(self._identities())
        return torch.from_numpy(self.table("train").of(self.split.group(self.label_group)))

    def _identities(self) -> np.ndarray:
        identities = self.table("train").identities
        if identities is None:
            raise ValueError(f"{type(self).__name__} knows no identities, so label_group cannot be identity")
        return np.unique(identities, return_inverse=True)[1]

    def episodes(self, stage: str, group: str = "") -> Episodes:
        """The frozen episodes of a pool: of the stage's attributes (training ones on the test pool: group `train`).

        A validation pool has a quarter of them.
        """
        group = group or stage
        if stage == "test" and group == "test" and self.episodes_file:
            return read_episodes(self.episodes_file, self.table("test"))
        return self.sampler(stage, group).sample()

    def sampler(self, stage: str, group: str) -> AttributeEpisodeSampler:
        """What draws them."""
        count = self.n_episodes if stage == "test" else -(-self.n_episodes // 4)
        seed = 100 * self.seed + 10 * STAGES.index(stage) + sum(map(ord, group)) % 10
        pool = self.split.group(group)
        return AttributeEpisodeSampler(
            self.table(stage), pool, self.shots, self.queries, count, min(2, len(pool)), seed
        )

    def setup(self, stage: str) -> None:
        for name in {"fit": ("train",), "validate": ("val",), "test": ("test",), "predict": ("test",)}[stage]:
            self.pool(name)

    def train_dataloader(self) -> DataLoader:
        pool = self.pool("train")
        if self.trainer.lightning_module.learns_from_episodes:
            sampler = AttributeEpisodeSampler(
                pool.table, self.split.train, self.train_shots, self.train_queries, 1, seed=7_000_000 + self.seed
            )
            batches: Dataset = EpisodeBatches(pool.images, sampler, self.episodes_per_batch)
        else:
            batches = LabelledBatches(pool.images, self.targets(), self.batch_size, self.seed)
        trainer = self.trainer
        order = Steps(
            self.batches,
            trainer.global_rank,
            trainer.world_size,
            lambda: trainer.fit_loop.epoch_loop.total_batch_idx + 1,
        )
        return DataLoader(batches, sampler=order, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader:
        return self._in_order("test")

    def predict_dataloader(self) -> DataLoader:
        return self._in_order("test")

    def _in_order(self, stage: str) -> DataLoader:
        pool = self.pool(stage)
        return DataLoader(InOrder(pool.images, torch.from_numpy(pool.table.values), self.batch_size), batch_size=None)


class Steps(Sampler[int]):
    """Numbers of the batches of an epoch, counted through all epochs; each process gets its own.

    done: gives how many batches this process has had, so that a resumed run goes on within an epoch too.
    """

    def __init__(self, batches: int, rank: int, world: int, done: Callable[[], int]):
        self.batches, self.rank, self.world, self.done = batches, rank, world, done

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[int]:
        first = self.done()
        return ((first + i) * self.world + self.rank for i in range(self.batches))


class LabelledBatches(Dataset):
    """Batch number i: a slice of the images in the order of its pass over all of them, a function of (seed, pass)."""

    def __init__(self, images: Tensor, targets: Tensor, batch_size: int, seed: int):
        self.images, self.targets, self.seed = images, targets, seed
        self.batch_size = min(batch_size, len(images))
        self.per_pass = len(images) // self.batch_size

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        pass_, at = divmod(i, self.per_pass)
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(self.seed * 100_003 + pass_))
        rows = order[at * self.batch_size : (at + 1) * self.batch_size]
        return self.images[rows], self.targets[rows]


class EpisodeBatches(Dataset):
    """Batch number i: its own episodes, as support images and labels, query images and labels."""

    def __init__(self, images: Tensor, sampler: AttributeEpisodeSampler, episodes: int):
        self.images, self.sampler, self.episodes = images, sampler, episodes

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        drawn = self.sampler.sample(i * self.episodes, self.episodes)
        return self.images[drawn.support], drawn.support_y, self.images[drawn.query], drawn.query_y


class InOrder(Dataset):
    """All images, in their order."""

    def __init__(self, images: Tensor, values: Tensor, batch_size: int):
        self.images, self.values, self.batch_size = images, values, batch_size

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        if i >= len(self):
            raise IndexError(i)
        rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
        return self.images[rows], self.values[rows]


class FacesData(FFSLDataModule):
    """Rendered faces; the three pools share no image and no identity.

    Args:
        split: name or file of an attribute split.
        rho: how correlated attributes are.
        nuisance: scales pose, light, noise and the saturation of colours.
        train_size, val_size, test_size: images.
        kwargs: see `FFSLDataModule`.
    """

    def __init__(
        self,
        split: str = "faces",
        rho: float = 2.5,
        nuisance: float = 1.0,
        train_size: int = 6000,
        val_size: int = 2000,
        test_size: int = 3000,
        **kwargs,
    ):
        super().__init__(split=split, **kwargs)
        sizes = dict(zip(STAGES, (train_size, val_size, test_size), strict=True))
        self.faces = {
            stage: RenderedFaces(n, rho, 10 * self.seed + STAGES.index(stage), nuisance, identities=-(-n // 10))
            for stage, n in sizes.items()
        }

    def load(self, stage: str) -> AttributeDataset:
        return AttributeDataset(self.faces[stage].images(), self.faces[stage].table())

    def load_table(self, stage: str) -> AttributeTable:
        return self.faces[stage].table()
