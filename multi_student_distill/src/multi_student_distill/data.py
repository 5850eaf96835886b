"""LightningDataModules: a student sees conditions, images and pairs of its own part, drawn from (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol

import torch
from pytorch_lightning import LightningDataModule
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from .captions import read_captions, tokenize
from .distiller import DistillBatch
from .image_files import ClassFolder, EDMImages
from .lmdb_images import LMDBImages
from .mixture import MixtureDenoiser, lissajous_means, ring_means
from .pairs import PairedDataset
from .partition import Partition
from .step_noise import StepNoise, student_seeds

PARTITIONS = ("contiguous", "random", "kmeans", "quadrants")
DATA_STREAM = 1  # the modules draw from the even streams


class Source(Protocol):
    """A labelled set: labels (N,), and samples (n, *shape) by index."""

    labels: Tensor

    def fetch(self, indices: Tensor) -> Tensor: ...


class TensorSource:
    """A set in memory."""

    def __init__(self, x: Tensor, labels: Tensor):
        self.x, self.labels = x, labels

    def fetch(self, indices: Tensor) -> Tensor:
        return self.x[indices]


class PartitionedDataModule(LightningDataModule):
    """What all share; abstract: `load` gives the source, and `shape`, `classes` and `sigma_data` say what is in it.

    Args:
        parts: K. partition: contiguous, random, kmeans (of class means) or quadrants (likewise).
        students: which of the K are trained here, side by side; None for all.
        batch_size: B of each student (of each process, with several).
        pairs: shard or folder of the teacher's pairs; empty without. pair_count: use this many of them; 0 for all.
        shared_pairs: every student draws from all pairs, as the paper does, and not from its part's.
        real: whether images are read for each batch; matching and regression alone do not need them.
        seed: of the draws, of the partition and of what is generated. workers: of the loader.
    Raises:
        ValueError: settings out of range; in `setup`, what the files are not.
    """

    shape: tuple[int, ...]
    classes: int
    sigma_data: float

    def __init__(
        self,
        parts: int = 1,
        partition: str = "contiguous",
        students: list[int] | None = None,
        batch_size: int = 64,
        pairs: str = "",
        pair_count: int = 0,
        shared_pairs: bool = False,
        real: bool = True,
        seed: int = 0,
        workers: int = 0,
    ):
        super().__init__()
        if batch_size < 1 or parts < 1 or pair_count < 0 or workers < 0:
            raise ValueError(
                "batch_size and parts must be at least 1, pair_count and workers at least 0, "
                f"got {batch_size}, {parts}, {pair_count} and {workers}"
            )
        if partition not in PARTITIONS:
            raise ValueError(f"unknown partition {partition!r}, choose from {', '.join(PARTITIONS)}")
        self.chosen = list(range(parts)) if students is None else list(students)
        if not self.chosen or len(set(self.chosen)) < len(self.chosen) or not set(self.chosen) <= set(range(parts)):
            raise ValueError(f"students must be distinct, among 0 ... {parts - 1}, got {self.chosen}")
        self.parts, self.partition_kind, self.batch_size = parts, partition, batch_size
        self.pairs_path, self.pair_count, self.shared_pairs = pairs, pair_count, shared_pairs
        self.real, self.seed, self.workers = real, seed, workers
        self._own: dict[str, list[Tensor]] = {}

    # what a subclass says

    def load(self, split: str) -> Source:
        """The set, `train` or `test`."""
        raise NotImplementedError

    def exact_teacher(self) -> nn.Module:
        """The teacher in closed form, where there is one."""
        raise ValueError(f"{type(self).__name__} has no exact teacher: name the file of one")

    def embeddings(self) -> Tensor:
        """One vector for each condition (C, d), for partitions that compare them: the class means."""
        source, found = self.source, []
        for c in range(self.classes):
            rows = (source.labels == c).nonzero().flatten()[:500]
            found.append(source.fetch(rows).flatten(1).mean(0))
        return torch.stack(found)

    def labels_of(self, conditions: Tensor) -> Tensor:
        """What a network is told of conditions (n,): their numbers."""
        return conditions

    # what all do with it

    @cached_property
    def source(self) -> Source:
        """The training set."""
        return self.load("train")

    @cached_property
    def partition(self) -> Partition:
        """The conditions' students."""
        generator = torch.Generator().manual_seed(self.seed)
        if self.partition_kind == "contiguous":
            return Partition.contiguous(self.conditions, self.parts)
        if self.partition_kind == "random":
            return Partition.random(self.conditions, self.parts, generator)
        if self.partition_kind == "kmeans":
            return Partition.kmeans(self.embeddings(), self.parts, generator)
        if self.parts != 4:
            raise ValueError(f"quadrants are four parts, got {self.parts}")
        return Partition.quadrants(self.embeddings())

    @property
    def conditions(self) -> int:
        """C, of the partition."""
        return self.classes

    @cached_property
    def pairs(self) -> PairedDataset | None:
        """The teacher's pairs."""
        if not self.pairs_path:
            return None
        found = PairedDataset(self.pairs_path, self.shape, self.conditions)
        if self.pair_count > len(found):
            raise ValueError(f"{self.pairs_path}: pair_count is {self.pair_count}, but there are {len(found)} pairs")
        return found

    def setup(self, stage: str) -> None:
        """Read and check what batches are drawn from, before any training."""
        parts = [self.partition.part(k) for k in self.chosen]
        self._own = {"conditions": parts}
        if self.real:
            self._own["real"] = [rows_of(self.source.labels, part, "images") for part in parts]
        if self.pairs is not None:
            labels = self.pairs.labels[: self.pair_count or None]
            everything = torch.arange(len(labels))
            self._own["pairs"] = [everything if self.shared_pairs else rows_of(labels, p, "pairs") for p in parts]

    def batch(self, step: int, rank: int = 0) -> DistillBatch:
        """The batch of one step: B rows for each chosen student in turn."""
        noise = StepNoise(student_seeds(self.seed, self.chosen), step, DATA_STREAM + 2 * rank)
        conditions = self._draw("conditions", noise)
        real = real_labels = torch.empty(0)
        if self.real:
            rows = self._draw("real", noise)
            real, real_labels = self.source.fetch(rows), self.labels_of(self.source.labels[rows])
        pair_z = pair_x = pair_labels = torch.empty(0)
        if self.pairs is not None:
            rows = self._draw("pairs", noise)
            pair_z, pair_x = self.pairs.z[rows], self.pairs.x[rows]
            pair_labels = self.labels_of(self.pairs.labels[rows])
        if not self.real:
            real = torch.empty(0, *self.shape)
        return DistillBatch(self.labels_of(conditions), real, real_labels, pair_z, pair_x, pair_labels)

    def _draw(self, what: str, noise: StepNoise) -> Tensor:
        """Members of each student's own list, uniformly with replacement, (S·B,)."""
        uniform = noise.uniform(self.batch_size).split(self.batch_size)
        own = self._own[what]
        return torch.cat([rows[(u * len(rows)).long()] for u, rows in zip(uniform, own, strict=True)])

    def train_dataloader(self) -> DataLoader:
        start, rank = (
            (0, 0)
            if self.trainer is None
            else (
                self.trainer.lightning_module.ledger.steps,  # a resumed run goes on where it was
                self.trainer.global_rank,
            )
        )
        return DataLoader(StepStream(self, start, rank), batch_size=None, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        return self.reference_loader("test")

    def test_dataloader(self) -> DataLoader:
        return self.reference_loader("test")

    def predict_dataloader(self) -> DataLoader:
        return self.reference_loader("test")

    def reference_loader(self, split: str, batch_size: int = 500) -> DataLoader:
        """Real samples of the chosen students' parts and their labels, in order."""
        source = self.load(split)
        own = torch.isin(source.labels, torch.cat([self.partition.part(k) for k in self.chosen])).nonzero().flatten()
        batches = [(source.fetch(rows), source.labels[rows]) for rows in own.split(batch_size)]
        return DataLoader(batches, batch_size=None)


def rows_of(labels: Tensor, part: Tensor, what: str) -> Tensor:
    """Rows whose label is in a part; raises ValueError if there are none."""
    rows = torch.isin(labels, part).nonzero().flatten()
    if not len(rows):
        raise ValueError(f"no {what} with a label in the part {part.tolist()[:8]}: the student would have none")
    return rows


class StepStream(IterableDataset):
    """Batches of the steps from `start` on, without end; each of several workers makes every n-th, in order."""

    def __init__(self, data: PartitionedDataModule, start: int, rank: int):
        self.draw, self.start, self.rank = data.batch, start, rank

    def __iter__(self) -> Iterator[DistillBatch]:
        info = get_worker_info()
        step, stride = (self.start, 1) if info is None else (self.start + info.id, info.num_workers)
        while True:
            yield self.draw(step, self.rank)
            step += stride


class MixtureData(PartitionedDataModule):
    """Two-dimensional mixtures, whose teacher is exact.

    Args:
        layout: `lissajous`, or `rings` as in the paper. std: of each component. count: of samples that stand for data.
        data: see `PartitionedDataModule`.
    """

    shape = (2,)

    def __init__(self, layout: str = "lissajous", classes: int = 8, std: float = 0.015, count: int = 40000, **data):
        super().__init__(**data)
        layouts = {"lissajous": lissajous_means, "rings": ring_means}
        if layout not in layouts:
            raise ValueError(f"unknown layout {layout!r}, choose from {', '.join(layouts)}")
        self.classes, self.count = classes, count
        self._teacher = MixtureDenoiser(layouts[layout](classes), std)
        self.sigma_data = self._teacher.sigma_data

    def exact_teacher(self) -> nn.Module:
        return self._teacher

    def load(self, split: str) -> Source:
        generator = torch.Generator().manual_seed(1 if split == "train" else 2)
        labels = torch.arange(self.count) % self.classes
        return TensorSource(self._teacher.sample(labels, generator), labels)


class DigitsData(PartitionedDataModule):
    """scikit-learn's 1797 handwritten digits, 8 x 8, as x / 8 - 1; all are training data, as in a generative study."""

    shape, classes = (1, 8, 8), 10

    def __init__(self, **data):
        super().__init__(**data)
        self._digits = load_digits()

    @cached_property
    def sigma_data(self) -> float:
        return float(self.load("train").x.std())

    def load(self, split: str) -> TensorSource:
        images = torch.from_numpy(self._digits.images).float()[:, None] / 8 - 1
        return TensorSource(images, torch.from_numpy(self._digits.target).to(torch.int64))


class ClassFolderData(PartitionedDataModule):
    """Images by class, `train/CLASS/*.jpg`, in a folder or a zip file, such as CIFAR-10 as JPEG.

    Args:
        path: the folder or zip file. size: of the images, to which larger ones are averaged. classes: C.
    """

    sigma_data = 0.5

    def __init__(self, path: str, size: int = 32, classes: int = 10, **data):
        super().__init__(**data)
        self.path, self.size, self.classes = path, size, classes
        self.shape = (3, size, size)

    def load(self, split: str) -> Source:
        found = ClassFolder(self.path, split, self.size)
        if len(found.classes) != self.classes:
            raise ValueError(f"{self.path}: expected {self.classes} class folders, got {len(found.classes)}")
        return found


class ImageNet64Data(PartitionedDataModule):
    """ImageNet-64 in EDM's layout: a zip file or folder of PNGs with dataset.json."""

    sigma_data = 0.5

    def __init__(self, path: str, size: int = 64, classes: int = 1000, **data):
        super().__init__(**data)
        self.path, self.size, self.classes = path, size, classes
        self.shape = (3, size, size)

    def load(self, split: str) -> Source:
        return EDMImages(self.path, self.size, self.classes)


class LMDBData(PartitionedDataModule):
    """Images in DMD2's LMDB."""

    sigma_data = 0.5

    def __init__(self, path: str, size: int = 64, classes: int = 1000, **data):
        super().__init__(**data)
        self.path, self.size, self.classes = path, size, classes
        self.shape = (3, size, size)

    def load(self, split: str) -> Source:
        return LMDBImages(self.path, self.shape, self.classes)


class CaptionData(PartitionedDataModule):
    """Prompts for a Stable Diffusion teacher: a condition is a caption, which networks see as token ids.

    Args:
        captions: file, one caption a line or a pickled list. model: folder of the Stable Diffusion model, for its
            tokenizer. latents: (C, S, S) of a sample. embeddings_path: .safetensors with `pooled` (captions, d), for
            quadrants; `multi-student-distill embed` makes one.
    """

    classes, sigma_data = 0, 1.0

    def __init__(
        self, captions: str, model: str, latents: Sequence[int] = (4, 64, 64), embeddings_path: str = "", **data
    ):
        super().__init__(**data)
        self.real = False  # there are no images, whatever the settings say
        self.captions_path, self.model, self.embeddings_path = captions, model, embeddings_path
        self.shape = tuple(latents)

    @cached_property
    def captions(self) -> list[str]:
        return read_captions(self.captions_path)

    @cached_property
    def tokens(self) -> Tensor:
        """Token ids (captions, 77)."""
        return tokenize(self.captions, self.model)

    @property
    def conditions(self) -> int:
        return len(self.captions)

    def labels_of(self, conditions: Tensor) -> Tensor:
        return self.tokens[conditions]

    def embeddings(self) -> Tensor:
        from .stable_diffusion import read_embeddings

        return read_embeddings(self.embeddings_path, len(self.captions))

    def load(self, split: str) -> Source:
        raise ValueError("captions have no images: matching and regression train from prompts alone")
