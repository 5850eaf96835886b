"""The data sets: mixtures with an exact teacher, digits, folders and archives of images, and captions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from .captions import read_captions, tokenize
from .image_files import ClassFolder, EDMImages
from .lmdb_images import LMDBImages
from .mixture import MixtureDenoiser, lissajous_means, ring_means
from .partitioned import PartitionedDataModule, Source, TensorSource


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
