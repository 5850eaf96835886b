"""What is trained on and what losses are measured on: labelled images, and text.

Everything is held in memory. Order, augmentation and label noise of an epoch depend on (seed, epoch) alone, so that a
resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_lightning import LightningDataModule
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from .cifar import read_cifar
from .idx import read_idx_pair
from .imagefolder import read_image_folder
from .resuming import ResumingLoader
from .wikitext import Text, read_wikitext

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
    """The first `rows` examples (None: all) in fixed order; all batches but the last have `batch_size` rows."""
    if batch_size < 1 or (rows is not None and rows < 1):
        raise ValueError(f"rows and batch_size must be >= 1, got {rows} and {batch_size}")
    chosen = torch.arange(examples if rows is None else min(rows, examples))
    return [batch_of(indices) for indices in chosen.split(batch_size)]


# ---- labelled images


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
        """The data set, checked and permuted; training examples with their clean labels, cut to `train_size`."""
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


class DigitsData(ClassificationData):
    """scikit-learn's 1,797 handwritten digits: 64 features in [0, 1], centred by the training mean; no download.

    1,437 are for training and 360 held out, the same ones for every seed, with equal shares of all classes.

    Args:
        batch_size, train_size, label_noise, noise_from_epoch, seed: see `ClassificationData`.
    """

    def __init__(
        self,
        batch_size: int = 128,
        train_size: int | None = None,
        label_noise: float = 0.0,
        noise_from_epoch: int = 0,
        seed: int = 0,
    ):
        super().__init__(batch_size, train_size, label_noise, noise_from_epoch, seed)

    def load(self) -> LabelledData:
        digits = load_digits()
        train_x, test_x, train_y, test_y = train_test_split(
            digits.data / 16, digits.target, test_size=360, stratify=digits.target, random_state=0
        )
        mean = torch.tensor(train_x.mean(0), dtype=torch.float32)
        return LabelledData(Examples.of(train_x, train_y), Examples.of(test_x, test_y), 10, mean, ONE)


class MNISTData(ClassificationData):
    """MNIST or Fashion-MNIST from the official IDX files: inputs (1, 28, 28) in [0, 1].

    Args:
        data_dir: holds `train-images-idx3-ubyte` and its three companions, gzipped or not; torchvision's folders do.
        prefix: `train`: 60,000 training images, the 10,000 of t10k are held out. `t10k`: only the 10,000 test images
            are read, and the last `holdout` of them are held out: not the published split, to be said with any number.
        holdout: hold out the last so many images of the file that is trained on; 0: the t10k file for prefix `train`,
            the last 2,000 for `t10k`.
        batch_size, train_size, label_noise, noise_from_epoch, seed: see `ClassificationData`.
    Raises:
        ValueError: another prefix, or a negative holdout.
    """

    def __init__(
        self,
        data_dir: str,
        prefix: str = "train",
        holdout: int = 0,
        batch_size: int = 128,
        train_size: int | None = None,
        label_noise: float = 0.0,
        noise_from_epoch: int = 0,
        seed: int = 0,
    ):
        super().__init__(batch_size, train_size, label_noise, noise_from_epoch, seed)
        if prefix not in ("train", "t10k") or holdout < 0:
            raise ValueError(f"prefix must be train or t10k and holdout >= 0, got {prefix!r} and {holdout}")
        self.data_dir, self.prefix = data_dir, prefix
        self.holdout = 2000 if prefix == "t10k" and holdout == 0 else holdout

    def load(self) -> LabelledData:
        images, labels = read_idx_pair(self.data_dir, self.prefix)
        if self.holdout and self.holdout >= len(labels):
            raise ValueError(f"{self.data_dir}: holdout is {self.holdout}, of only {len(labels)} images")
        cut = len(labels) - self.holdout
        held_out = (images[cut:], labels[cut:]) if self.holdout else read_idx_pair(self.data_dir, "t10k")
        training, held_out = (
            Examples.of(pixels[:, None], numbers) for pixels, numbers in ((images[:cut], labels[:cut]), held_out)
        )
        return LabelledData(training, held_out, 10, ZERO, ONE)


CIFAR_MEAN = {10: (0.4914, 0.4822, 0.4465), 100: (0.5071, 0.4867, 0.4408)}  # of each channel
CIFAR_DEVIATION = {10: (0.2023, 0.1994, 0.2010), 100: (0.2675, 0.2565, 0.2761)}


class CIFARData(ClassificationData):
    """CIFAR-10 or CIFAR-100, official files; inputs (3, 32, 32), normalised for each channel.

    Args:
        data_dir: holds the official "python" or "binary" files, or their official folder.
        classes: 10 or 100.
        augment: train on random crops of images padded by 4, half of them mirrored.
        batch_size, train_size, label_noise, noise_from_epoch, seed: see `ClassificationData`.
    Raises:
        ValueError: other than 10 or 100 classes.
    """

    def __init__(
        self,
        data_dir: str,
        classes: int = 10,
        augment: bool = True,
        batch_size: int = 128,
        train_size: int | None = None,
        label_noise: float = 0.0,
        noise_from_epoch: int = 0,
        seed: int = 0,
    ):
        super().__init__(batch_size, train_size, label_noise, noise_from_epoch, seed, crop_padding=4 if augment else 0)
        if classes not in CIFAR_MEAN:
            raise ValueError(f"CIFAR has 10 or 100 classes, got {classes}")
        self.data_dir, self.which = data_dir, classes

    def load(self) -> LabelledData:
        training, held_out = (Examples.of(*read_cifar(self.data_dir, self.which, split)) for split in ("train", "test"))
        mean, deviation = (torch.tensor(table[self.which])[:, None, None] for table in (CIFAR_MEAN, CIFAR_DEVIATION))
        return LabelledData(training, held_out, self.which, mean, deviation)


class ImageFolderData(ClassificationData):
    """Images in `train/CLASS/` and `test/CLASS/`, as RGB; normalised by channel means of its training images.

    Args:
        path: a folder, or a zip file with these folders in it.
        size: resize to size x size pixels; None: images must be equally large.
        augment: train on random crops of images padded by 4, half of them mirrored.
        batch_size, train_size, label_noise, noise_from_epoch, seed: see `ClassificationData`.
    """

    def __init__(
        self,
        path: str,
        size: int | None = None,
        augment: bool = True,
        batch_size: int = 128,
        train_size: int | None = None,
        label_noise: float = 0.0,
        noise_from_epoch: int = 0,
        seed: int = 0,
    ):
        super().__init__(batch_size, train_size, label_noise, noise_from_epoch, seed, crop_padding=4 if augment else 0)
        self.path, self.size = path, size

    @property
    def class_names(self) -> tuple[str, ...]:
        """Sorted; label i is the i-th. Loads the data on first use."""
        return self.labelled and self._class_names

    def load(self) -> LabelledData:
        folder = read_image_folder(self.path, self.size)
        self._class_names = folder.classes
        training = Examples.of(folder.train_images, folder.train_labels)
        held_out = Examples.of(folder.test_images, folder.test_labels)
        mean, deviation = channel_moments(training.inputs)
        return LabelledData(training, held_out, len(folder.classes), mean, deviation)


def channel_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel of uint8 images, as fractions of 255, both (C, 1, 1).

    From counts of the 256 values, so without a float copy; a channel of one value has deviation 1.
    """
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.transpose(0, 1)])
    share = counts.double() / counts.sum(1, keepdim=True)  # (C, 256)
    value = torch.arange(256).double() / 255
    mean = share @ value
    deviation = (share @ value.square() - mean.square()).clamp(min=0).sqrt()
    deviation = torch.where(deviation < 1e-6, 1.0, deviation)
    return mean.float()[:, None, None], deviation.float()[:, None, None]


class SyntheticImages(ClassificationData):
    """A random template for each class plus Gaussian noise as strong: to test, or to step large configs without data.

    Args:
        examples: for training; a quarter as many, at least `classes`, are held out.
        channels, size: inputs are (channels, size, size).
        classes: how many templates; examples take turns.
        sample_seed: templates and noise.
        batch_size, train_size, label_noise, noise_from_epoch, seed: see `ClassificationData`.
    Raises:
        ValueError: a count below 1.
    """

    def __init__(
        self,
        examples: int = 512,
        channels: int = 3,
        size: int = 32,
        classes: int = 10,
        sample_seed: int = 0,
        batch_size: int = 128,
        train_size: int | None = None,
        label_noise: float = 0.0,
        noise_from_epoch: int = 0,
        seed: int = 0,
    ):
        super().__init__(batch_size, train_size, label_noise, noise_from_epoch, seed)
        if min(examples, channels, size, classes) < 1:
            raise ValueError(
                f"examples, channels, size, classes must be >= 1, got {examples}, {channels}, {size}, {classes}"
            )
        self.examples, self.templates, self.sample_seed = examples, (classes, channels, size, size), sample_seed

    def load(self) -> LabelledData:
        generator, classes = stream(self.sample_seed, SAMPLES), self.templates[0]
        templates = torch.randn(self.templates, generator=generator)

        def draw(examples: int) -> Examples:
            labels = torch.arange(examples) % classes
            noise = torch.randn(examples, *self.templates[1:], generator=generator)
            return Examples(templates[labels] + noise, labels)

        return LabelledData(draw(self.examples), draw(max(self.examples // 4, classes)), classes, ZERO, ONE)


# ---- text


class LanguageData(LightningDataModule):
    """Windows of text and the words that follow; abstract.

    A text is cut into consecutive windows of T words; the last incomplete one is dropped. Every window is an example of
    its own: no state is carried from one to the next, so that their order is free.

    Args:
        window: T, words that one example predicts.
        batch_size: windows in a training batch (of each process).
        seed: the order of windows in epoch e depends on (seed, e) alone.
    Raises:
        ValueError: a setting out of its range; later, on loading, a text shorter than a window.
    """

    def __init__(self, window: int = 35, batch_size: int = 20, seed: int = 0):
        super().__init__()
        check_loading(batch_size, seed)
        if window < 1:
            raise ValueError(f"window must be >= 1, got {window}")
        self.window, self.batch_size, self.seed = window, batch_size, seed

    @abstractmethod
    def load(self) -> Text:
        """Numbered words."""

    @cached_property
    def text(self) -> Text:
        """The text, checked."""
        text = self.load()
        for name, words in (("train", text.train), ("valid", text.valid), ("test", text.test)):
            if len(words) <= self.window:
                raise ValueError(
                    f"{type(self).__name__}: a window of {self.window} needs one word more, {name} has {len(words)}"
                )
        return text

    @cached_property
    def training(self) -> Tensor:
        """Windows to train on and the word that follows each, shape (N, T + 1)."""
        return windows_of(self.text.train, self.window)

    @cached_property
    def validation(self) -> Tensor:
        """Held-out windows, alike."""
        return windows_of(self.text.valid, self.window)

    @cached_property
    def testing(self) -> Tensor:
        """Windows to test on, alike."""
        return windows_of(self.text.test, self.window)

    @property
    def vocabulary(self) -> int:
        """How many different words; loads the text on first use."""
        return self.text.vocabulary

    @property
    def sizes(self) -> list[int]:
        """What a network must know of the data: the vocabulary."""
        return [self.vocabulary]

    def setup(self, stage: str) -> None:
        self.text  # noqa: B018 - errors come before training

    def training_batches(self, rows: int | None = None, batch_size: int = 1000) -> list[Batch]:
        """The training windows in fixed order: words (B, T) and the next words (B, T), int64.

        Args:
            rows: only the first so many windows; None: all.
            batch_size: windows in every batch but the last.
        Raises:
            ValueError: one of the arguments is below 1.
        """
        return fixed_batches(len(self.training), rows, batch_size, rows_of(self.training))

    def held_out_batches(self, rows: int | None = None, batch_size: int = 1000) -> list[Batch]:
        """The validation windows alike."""
        return fixed_batches(len(self.validation), rows, batch_size, rows_of(self.validation))

    def train_dataloader(self) -> DataLoader[Batch]:
        rows = rows_of(self.training)
        return shuffled_loader(self, len(self.training), lambda indices, _epoch: rows(indices))

    def val_dataloader(self) -> DataLoader[Batch]:
        return fixed_loader(len(self.validation), self.batch_size, rows_of(self.validation))

    def test_dataloader(self) -> DataLoader[Batch]:
        return fixed_loader(len(self.testing), self.batch_size, rows_of(self.testing))

    def predict_dataloader(self) -> DataLoader[Batch]:
        return self.test_dataloader()


def windows_of(words: np.ndarray, window: int) -> Tensor:
    """Consecutive windows of T words with the next one: (n,) -> ((n - 1) // T, T + 1); a view."""
    return torch.as_tensor(words).unfold(0, window + 1, window)


def rows_of(windows: Tensor) -> Callable[[Tensor], Batch]:
    """From indices (B,) of windows (N, T + 1) to words and next words, both (B, T)."""
    return lambda indices: (windows[indices, :-1], windows[indices, 1:])


class WikiTextData(LanguageData):
    """WikiText-2, or any text in `train.txt`, `valid.txt`, `test.txt`.

    Args:
        data_dir: holds these files, or `wiki.train.tokens` and so on.
        window, batch_size, seed: see `LanguageData`; the paper takes 35 and 20.
    """

    def __init__(self, data_dir: str, window: int = 35, batch_size: int = 20, seed: int = 0):
        super().__init__(window, batch_size, seed)
        self.data_dir = data_dir

    def load(self) -> Text:
        return read_wikitext(self.data_dir)


class MarkovText(LanguageData):
    """Text from a random sparse Markov chain: after each word come at most 5 others; no download.

    Args:
        vocabulary: how many words.
        tokens: length of the training text; validation and test have a tenth each, from the same chain.
        window, batch_size, seed: see `LanguageData`.
        sample_seed: chain and text.
    Raises:
        ValueError: fewer than 2 words.
    """

    SUCCESSORS = 5

    def __init__(
        self,
        vocabulary: int = 50,
        tokens: int = 20000,
        window: int = 35,
        batch_size: int = 20,
        seed: int = 0,
        sample_seed: int = 0,
    ):
        super().__init__(window, batch_size, seed)
        if vocabulary < 2:
            raise ValueError(f"vocabulary must be >= 2, got {vocabulary}")
        self.words, self.tokens, self.sample_seed = vocabulary, tokens, sample_seed

    def load(self) -> Text:
        random = np.random.default_rng(self.sample_seed)
        following = random.integers(self.words, size=(self.words, self.SUCCESSORS))
        chances = random.dirichlet(np.ones(self.SUCCESSORS), size=self.words)
        lengths = (self.tokens, self.tokens // 10, self.tokens // 10)
        return Text(*(markov_walk(following, chances, length, random) for length in lengths), self.words)


def markov_walk(following: np.ndarray, chances: np.ndarray, length: int, random: np.random.Generator) -> np.ndarray:
    """A walk of `length` words from word 0: after word w comes following[w, j] with probability chances[w, j].

    Both are (V, J); returns (length,), int64.
    """
    thresholds = chances.cumsum(1)[:, :-1]
    walk, word = np.zeros(length, np.int64), 0
    for step, uniform in enumerate(random.random(length)):
        word = following[word, np.searchsorted(thresholds[word], uniform)]
        walk[step] = word
    return walk
