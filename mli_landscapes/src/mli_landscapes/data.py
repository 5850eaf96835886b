"""The data sets: digits, MNIST, CIFAR, folders of images, generated images, and text. Everything is held in memory."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from .cifar import read_cifar
from .classification import ONE, ZERO, ClassificationData, Examples, LabelledData
from .idx import read_idx_pair
from .image_folder import read_image_folder
from .loading import SAMPLES, stream
from .text_data import MarkovText, WikiTextData

__all__ = ["CIFARData", "DigitsData", "ImageFolderData", "MNISTData", "MarkovText", "SyntheticImages", "WikiTextData"]


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
