"""Labelled examples in memory, and the data module that shuffles, augments and mislabels them."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from .loading import (
    AUGMENTATION,
    HELD_OUT,
    NOISE,
    SUBSET,
    Batch,
    check_loading,
    fixed_batches,
    fixed_loader,
    shuffled_loader,
    stream,
)


class Examples(NamedTuple):
    """Inputs (n, ...), uint8 pixels or float32; labels (n,), int64."""

    inputs: Tensor
    labels: Tensor

    @classmethod
    def of(cls, inputs: np.ndarray, labels: np.ndarray) -> Examples:
        """Copies of arrays: pixels stay uint8, other inputs become float32."""
        kept = inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32)
        return cls(torch.tensor(kept), torch.tensor(labels.astype(np.int64)))

    def chosen(self, indices: Tensor) -> Examples:
        """A copy of some rows."""
        return Examples(self.inputs[indices], self.labels[indices])

    def check(self, name: str, classes: int) -> None:
        """Raises ValueError, opening with `name`, unless there are examples, finite, with labels below `classes`."""
        if len(self.labels) == 0:
            raise ValueError(f"{name}: it is empty")
        if self.inputs.is_floating_point() and not self.inputs.isfinite().all():
            row = int((~self.inputs.isfinite()).flatten(1).any(1).nonzero()[0])
            raise ValueError(f"{name}: the input in row {row} has a value that is not finite")
        if self.labels.min() < 0 or self.labels.max() >= classes:
            raise ValueError(
                f"{name}: labels from 0 to {classes - 1} expected, got {self.labels.min()} to {self.labels.max()}"
            )


class LabelledData(NamedTuple):
    """What a data set is. The network sees (input - mean) / deviation, of pixels as fractions of 255."""

    training: Examples
    held_out: Examples
    classes: int
    mean: Tensor  # broadcast against one input
    deviation: Tensor


ZERO, ONE = torch.zeros(()), torch.ones(())


class ClassificationData(LightningDataModule):
    """Training and held-out examples of a classification problem; abstract.

    Args:
        batch_size: rows in a training batch (of each process).
        train_size: train on so many examples, the first ones of a permutation drawn from `seed`; None: all.
        label_noise: this share of the training labels (rounded to whole examples) is wrong: replaced by another class,
            all others alike likely. Drawn once from `seed`.
        noise_from_epoch: epochs before this one train on the clean labels.
        seed: order, augmentation, subset and label noise.
        crop_padding: training batches are cropped at random out of images padded by so many black pixels, and half of
            them mirrored; 0: neither.
    Raises:
        ValueError: a setting out of its range; later, on loading, unusable data.
    """

    def __init__(
        self,
        batch_size: int = 128,
        train_size: int | None = None,
        label_noise: float = 0.0,
        noise_from_epoch: int = 0,
        seed: int = 0,
        crop_padding: int = 0,
    ):
        super().__init__()
        check_loading(batch_size, seed)
        if train_size is not None and train_size < 1:
            raise ValueError(f"train_size must be >= 1, got {train_size}")
        if not 0 <= label_noise <= 1 or noise_from_epoch < 0:
            raise ValueError(
                f"label_noise must be in [0, 1] and noise_from_epoch >= 0, got {label_noise} and {noise_from_epoch}"
            )
        self.batch_size, self.train_size, self.seed = batch_size, train_size, seed
        self.label_noise, self.noise_from_epoch, self.crop_padding = label_noise, noise_from_epoch, crop_padding

    @abstractmethod
    def load(self) -> LabelledData:
        """The whole data set, clean and in any order."""

    @cached_property
    def labelled(self) -> LabelledData:
        """The data set, checked and permuted; training examples with their clean labels, cut to `train_size`.

        Raises:
            ValueError: fewer examples than `train_size`.
        """
        loaded, name = self.load(), type(self).__name__
        loaded.training.check(f"{name}, training set", loaded.classes)
        loaded.held_out.check(f"{name}, held-out set", loaded.classes)
        examples, held_out = len(loaded.training.labels), len(loaded.held_out.labels)
        if self.train_size is not None and self.train_size > examples:
            raise ValueError(f"{name}: train_size is {self.train_size}, but there are only {examples} examples")
        # permuted, since many data sets come sorted by class and the first rows should represent all
        order = torch.randperm(examples, generator=stream(self.seed, SUBSET))[: self.train_size]
        held_out_order = torch.randperm(held_out, generator=stream(0, HELD_OUT))
        return loaded._replace(training=loaded.training.chosen(order), held_out=loaded.held_out.chosen(held_out_order))

    @cached_property
    def noisy_labels(self) -> Tensor:
        """The training labels from `noise_from_epoch` on, shape (n,)."""
        return with_label_noise(self.labelled.training.labels, self.label_noise, self.classes, stream(self.seed, NOISE))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input; loads the data on first use."""
        return tuple(self.labelled.training.inputs.shape[1:])

    @property
    def classes(self) -> int:
        """How many there are; loads the data on first use."""
        return self.labelled.classes

    @property
    def sizes(self) -> list[int]:
        """What a network must know of the data: the shape of one input, then the number of classes."""
        return [*self.shape, self.classes]

    def setup(self, stage: str) -> None:
        self.noisy_labels  # noqa: B018 - errors come before training
        if self.crop_padding and len(self.shape) != 3:
            raise ValueError(f"crops need images (channels, height, width), got inputs of shape {self.shape}")

    def normalised(self, inputs: Tensor) -> Tensor:
        """As the network sees them: (B, ...) -> (B, ...), float32."""
        values = inputs / 255 if inputs.dtype == torch.uint8 else inputs
        return (values - self.labelled.mean) / self.labelled.deviation

    def training_batch(self, indices: Tensor, epoch: int) -> Batch:
        """Rows of the training set as they are seen in an epoch: with augmentation, noise if it has begun."""
        training = self.labelled.training
        inputs = training.inputs[indices]
        if self.crop_padding:
            corners, mirrored = self._crops(epoch)
            inputs = crop_and_flip(inputs, corners[indices], mirrored[indices], self.crop_padding)
        labels = self.noisy_labels if epoch >= self.noise_from_epoch else training.labels
        return self.normalised(inputs), labels[indices]

    def _crops(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Corner (n, 2) and mirroring (n,) of every training example in an epoch, whatever batch it will be in."""
        generator, examples = stream(self.seed, AUGMENTATION, epoch), len(self.labelled.training.labels)
        corners = torch.randint(2 * self.crop_padding + 1, (examples, 2), generator=generator)
        return corners, torch.rand(examples, generator=generator) < 0.5

    def training_rows(self, indices: Tensor) -> Batch:
        """Rows of the training set without augmentation, with the labels that training ends with."""
        return self.normalised(self.labelled.training.inputs[indices]), self.noisy_labels[indices]

    def held_out_rows(self, indices: Tensor) -> Batch:
        """Rows of the held-out set."""
        inputs, labels = self.labelled.held_out.chosen(indices)
        return self.normalised(inputs), labels

    def training_batches(self, rows: int | None = None, batch_size: int = 1000) -> list[Batch]:
        """The training set as curves are measured on it: fixed order, not augmented, labels as training ends with.

        Args:
            rows: only the first so many, a random sample of all classes; None: all (as float32: 614 MB for CIFAR).
            batch_size: rows in every batch but the last.
        Returns:
            Inputs (B, ...), float32, and labels (B,), int64.
        Raises:
            ValueError: one of the arguments is below 1.
        """
        return fixed_batches(len(self.labelled.training.labels), rows, batch_size, self.training_rows)

    def held_out_batches(self, rows: int | None = None, batch_size: int = 1000) -> list[Batch]:
        """The held-out set alike; its order does not depend on `seed`."""
        return fixed_batches(len(self.labelled.held_out.labels), rows, batch_size, self.held_out_rows)

    def train_dataloader(self) -> DataLoader[Batch]:
        return shuffled_loader(self, len(self.labelled.training.labels), self.training_batch)

    def val_dataloader(self) -> DataLoader[Batch]:
        return fixed_loader(len(self.labelled.held_out.labels), self.batch_size, self.held_out_rows)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Batch]:
        return self.val_dataloader()


def with_label_noise(labels: Tensor, share: float, classes: int, generator: torch.Generator) -> Tensor:
    """A copy of labels (n,) of which round(share n), chosen at random, are replaced by another class at random.

    Raises:
        ValueError: there is no other class.
    """
    wrong = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    if len(wrong) and classes < 2:
        raise ValueError(f"label noise needs another class to choose, got {classes} class")
    noisy = labels.clone()
    if len(wrong):
        noisy[wrong] += torch.randint(1, classes, (len(wrong),), generator=generator)
    return noisy % classes


def crop_and_flip(images: Tensor, corners: Tensor, mirrored: Tensor, padding: int) -> Tensor:
    """Windows of the images' own size out of their zero-padded versions.

    Args:
        images: (B, C, H, W).
        corners: row and column of each window in the padded image, 0 ... 2 padding, shape (B, 2).
        mirrored: which windows are turned left to right, shape (B,), bool.
        padding: pixels added on each side.
    """
    batch, _, height, width = images.shape
    padded = F.pad(images, (padding, padding, padding, padding))
    rows = corners[:, :1] + torch.arange(height)  # (B, H)
    columns = corners[:, 1:] + torch.arange(width)  # (B, W)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    windows = padded[torch.arange(batch)[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return windows.permute(0, 3, 1, 2).contiguous()
