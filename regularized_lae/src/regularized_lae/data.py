"""Data whose principal components are known: exact spectra, Gaussian samples, digits, MNIST, anybody's matrix."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from .covariance import DenseCovariance, RunningCovariance, SampleCovariance
from .idx import IMAGES, find_idx, read_idx
from .resuming import ResumingLoader

CHUNK = 4096  # rows that are held in float64 at a time


class PrincipalAxes(NamedTuple):
    """The ground truth: eigenvalues s_1 >= ... >= s_d, (d,), and axes U in columns, (d, d), of the training covariance.

    A tuple, so that Lightning moves and converts it like any batch.
    """

    eigenvalues: Tensor
    axes: Tensor

    @classmethod
    def of(cls, covariance: Tensor) -> PrincipalAxes:
        """Exact eigendecomposition in float64; (d, d)."""
        eigenvalues, axes = torch.linalg.eigh(covariance.double())
        return cls(eigenvalues.flip(0).clamp(min=0), axes.flip(1).contiguous())

    @property
    def rank(self) -> int:
        """Number of eigenvalues above rounding error."""
        floor = self.eigenvalues[0] * len(self.eigenvalues) * torch.finfo(self.eigenvalues.dtype).eps
        return int((self.eigenvalues > floor).sum())


def check_samples(samples: np.ndarray, name: str) -> None:
    """Raises ValueError, opening with `name`, unless `samples` is (n, d) with n >= 2 and all finite."""
    if samples.ndim != 2 or samples.shape[1] == 0:
        raise ValueError(f"{name}: samples must be (n, d), got {samples.shape}")
    if len(samples) < 2:
        raise ValueError(f"{name}: principal components need at least 2 samples, got {len(samples)}")
    if samples.dtype.kind not in "fiub":
        raise ValueError(f"{name}: samples must be real numbers, got dtype {samples.dtype}")
    for start in range(0, len(samples), CHUNK):
        bad = ~np.isfinite(samples[start : start + CHUNK])
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(f"{name}: value at row {start + row}, column {column} is {samples[start + row, column]}")


class PrincipalData(LightningDataModule):
    """Centred data as a linear autoencoder sees them; abstract.

    Training yields their exact covariance every step (full batch), or minibatches of samples; validation and test yield
    the principal axes to compare with; predict yields the centred samples.

    Args:
        batch_size: samples in a minibatch; 0 is the full batch, through its covariance.
        unit_scale: divide by the top eigenvalue, so that one learning rate suits all data.
        steps_per_epoch: length of a full-batch epoch in steps.
        seed: order of the minibatches in epoch e depends on (seed, e) alone, so a resumed run sees the same.
    Raises:
        ValueError: a size that is negative, or an epoch without steps.
    """

    def __init__(self, batch_size: int = 0, unit_scale: bool = True, steps_per_epoch: int = 1000, seed: int = 0):
        super().__init__()
        if batch_size < 0 or steps_per_epoch < 1:
            raise ValueError(
                f"batch_size must be >= 0 and steps_per_epoch >= 1, got {batch_size} and {steps_per_epoch}"
            )
        self.batch_size, self.unit_scale = batch_size, unit_scale
        self.steps_per_epoch, self.seed = steps_per_epoch, seed
        self._truth: PrincipalAxes | None = None

    @abstractmethod
    def load(self) -> tuple[np.ndarray | None, Tensor, Tensor]:
        """Samples (n, d) or None, their mean (d,) and covariance (d, d), float64; see `moments_of`."""

    @property
    def truth(self) -> PrincipalAxes:
        """The principal axes of what is trained on; loads the data on first use.

        Raises:
            ValueError: all samples are equal.
        """
        if self._truth is None:
            self._samples, self._mean, covariance = self.load()
            truth = PrincipalAxes.of(covariance)
            if truth.rank == 0:
                raise ValueError(f"{type(self).__name__}: all samples are equal, there are no components")
            self._scale = float(truth.eigenvalues[0]) if self.unit_scale else 1.0
            self._covariance = DenseCovariance(covariance / self._scale)
            self._truth = PrincipalAxes(truth.eigenvalues / self._scale, truth.axes)
        return self._truth

    @property
    def eigenvalues(self) -> list[float]:
        """s_1 >= ... >= s_d of what is trained on."""
        return self.truth.eigenvalues.tolist()

    @property
    def covariance(self) -> DenseCovariance:
        """The exact covariance that is trained on."""
        return self.truth and self._covariance

    def setup(self, stage: str) -> None:
        if self.truth and (self.batch_size or stage == "predict"):
            self.rows(slice(0, 1))  # an exact covariance has none

    def rows(self, indices: list[int] | slice) -> Tensor:
        """Centred, scaled samples, shape (n, d), float64.

        Raises:
            ValueError: the data are an exact covariance and have no samples.
        """
        if self.truth and self._samples is None:
            raise ValueError(
                f"{type(self).__name__} is an exact covariance: it has no samples for minibatches or predictions"
            )
        return (float64(self._samples[indices]) - self._mean) / self._scale**0.5

    def train_dataloader(self) -> DataLoader:
        if not self.batch_size:
            return DataLoader([self.covariance] * self.steps_per_epoch, batch_size=None)
        world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        indices = range(len(self._samples))
        sampler = DistributedSampler(indices, num_replicas=world, rank=rank, seed=self.seed)
        return ResumingLoader(
            indices,
            self.trainer,
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=lambda chosen: SampleCovariance(self.rows(chosen)),
        )

    def val_dataloader(self) -> DataLoader:
        return DataLoader([self.truth], batch_size=None)

    def test_dataloader(self) -> DataLoader:
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader:
        chunks = [slice(start, start + CHUNK) for start in range(0, len(self._samples), CHUNK)]
        return DataLoader(chunks, batch_size=None, collate_fn=self.rows)


def moments_of(samples: np.ndarray) -> tuple[np.ndarray, Tensor, Tensor]:
    """Samples, their mean (d,) and covariance (d, d), accumulated in float64 without a second copy of the samples."""
    running = RunningCovariance(samples.shape[1])
    for start in range(0, len(samples), CHUNK):
        running.update(float64(samples[start : start + CHUNK]))
    return samples, running.mean, running.covariance


def float64(samples: np.ndarray) -> Tensor:
    """A float64 copy as a tensor (memory maps are read-only, tensors are not)."""
    return torch.from_numpy(np.array(samples, dtype=np.float64))


class SpectrumData(PrincipalData):
    """An exact covariance with eigenvalues evenly spaced from `top` to `bottom`, in a random basis.

    Args:
        dim: d.
        top, bottom: largest and smallest eigenvalue.
        basis_seed: the basis is drawn uniformly (Haar) from this seed.
        batch_size, unit_scale, steps_per_epoch, seed: see `PrincipalData`.
    Raises:
        ValueError: no dimension, or not top >= bottom >= 0 with top > 0.
    """

    def __init__(
        self,
        dim: int = 128,
        top: float = 1.0,
        bottom: float = 0.01,
        basis_seed: int = 0,
        batch_size: int = 0,
        unit_scale: bool = True,
        steps_per_epoch: int = 1000,
        seed: int = 0,
    ):
        super().__init__(batch_size, unit_scale, steps_per_epoch, seed)
        if dim < 1 or not top >= bottom >= 0 or top == 0:
            raise ValueError(f"a spectrum needs dim >= 1 and top >= bottom >= 0, top > 0; got {dim}, {top}, {bottom}")
        self.dim, self.top, self.bottom, self.basis_seed = dim, top, bottom, basis_seed

    def load(self):
        axes = haar_basis(self.dim, self.basis_seed)
        spectrum = torch.linspace(self.top, self.bottom, self.dim, dtype=torch.float64)
        return None, torch.zeros(self.dim, dtype=torch.float64), axes * spectrum @ axes.mT


class GaussianData(PrincipalData):
    """The synthetic data of the paper's Figure 4: Gaussian samples, eigenvalues evenly spaced from `top` to `bottom`.

    The ground truth is that of the samples, not of the distribution.

    Args:
        samples: n. dim: d. The paper has 5000 and 1000, eigenvalues 100 to 1, not scaled.
        sample_seed: draws basis and samples.
        top, bottom, batch_size, unit_scale, steps_per_epoch, seed: see `SpectrumData`.
    Raises:
        ValueError: fewer than 2 samples, no dimension, or not top >= bottom >= 0.
    """

    def __init__(
        self,
        samples: int = 5000,
        dim: int = 1000,
        top: float = 100.0,
        bottom: float = 1.0,
        sample_seed: int = 0,
        batch_size: int = 0,
        unit_scale: bool = False,
        steps_per_epoch: int = 1000,
        seed: int = 0,
    ):
        super().__init__(batch_size, unit_scale, steps_per_epoch, seed)
        if samples < 2 or dim < 1 or not top >= bottom >= 0 or top == 0:
            raise ValueError(
                f"Gaussian data need samples >= 2, dim >= 1, top >= bottom >= 0; got {samples}, {dim}, {top}, {bottom}"
            )
        self.samples, self.dim, self.top, self.bottom, self.sample_seed = samples, dim, top, bottom, sample_seed

    def load(self):
        axes = haar_basis(self.dim, self.sample_seed)
        spread = torch.linspace(self.top, self.bottom, self.dim, dtype=torch.float64).sqrt()
        generator = torch.Generator().manual_seed(self.sample_seed)
        white = torch.randn(self.samples, self.dim, generator=generator, dtype=torch.float64)
        return moments_of((white * spread @ axes.mT).numpy())


def haar_basis(dim: int, seed: int) -> Tensor:
    """A uniformly random orthonormal basis in columns, shape (d, d), float64."""
    gaussian = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    return q * torch.sign(torch.diagonal(r))


class DigitsData(PrincipalData):
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels (they ship with the library); see `PrincipalData`."""

    image_shape = (8, 8)

    def load(self):
        return moments_of(load_digits().data)


class MNISTData(PrincipalData):
    """MNIST images, pixels in [0, 1], mean removed (the paper's Figures 2 and 3), from the official IDX files.

    Args:
        data_dir: holds `train-images-idx3-ubyte` (or .gz), directly, in raw/ or in MNIST/raw/.
        prefix: `train` for the 60,000 training images of the paper, `t10k` for the 10,000 test images.
        holdout: this many images at the end of the file are left out of training (see `held_out`).
        batch_size, unit_scale, steps_per_epoch, seed: see `PrincipalData`; the paper does not scale.
    """

    image_shape = (28, 28)

    def __init__(
        self,
        data_dir: str,
        prefix: str = "train",
        holdout: int = 0,
        batch_size: int = 0,
        unit_scale: bool = False,
        steps_per_epoch: int = 1000,
        seed: int = 0,
    ):
        super().__init__(batch_size, unit_scale, steps_per_epoch, seed)
        self.data_dir, self.prefix, self.holdout = data_dir, prefix, holdout

    def load(self):
        path = find_idx(self.data_dir, f"{self.prefix}-images-idx3-ubyte")
        images = read_idx(path, IMAGES)
        if not 0 <= self.holdout <= len(images) - 2:
            raise ValueError(f"{path}: holdout must leave 2 of {len(images)} images to train on, got {self.holdout}")
        training, self._held_out = np.split(images.reshape(len(images), -1), [len(images) - self.holdout])
        check_samples(training, str(path))
        training, mean, covariance = moments_of(training)
        return Pixels(training), mean / 255, covariance / 255**2

    @property
    def held_out(self) -> Tensor:
        """The images left out, centred by the training mean and scaled alike; (holdout, 784), float64."""
        return self.truth and (torch.as_tensor(self._held_out / 255.0) - self._mean) / self._scale**0.5


class Pixels:
    """uint8 images read as floats in [0, 1], a few rows at a time: a quarter of the memory."""

    def __init__(self, images: np.ndarray):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows) -> np.ndarray:
        return self.images[rows] / 255.0


class MatrixData(PrincipalData):
    """Anybody's samples: a matrix (n, d) in a .npy file, read through a memory map, or in a .npz file.

    Args:
        path: the file; never unpickled.
        key: which array of a .npz file, when it has several.
        batch_size, unit_scale, steps_per_epoch, seed: see `PrincipalData`.
    """

    def __init__(
        self,
        path: str,
        key: str | None = None,
        batch_size: int = 0,
        unit_scale: bool = True,
        steps_per_epoch: int = 1000,
        seed: int = 0,
    ):
        super().__init__(batch_size, unit_scale, steps_per_epoch, seed)
        self.path, self.key = path, key

    def load(self):
        samples = read_matrix(self.path, self.key)
        check_samples(samples, self.path)
        return moments_of(samples)


def read_matrix(path: str, key: str | None = None) -> np.ndarray:
    """The array of a .npy file (memory-mapped) or .npz file; pickled objects are refused.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a readable array file, or the key is missing.
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: no such file; a matrix of samples (n, d) saved by numpy.save was expected"
        ) from error
    except Exception as error:  # numpy raises many kinds for a damaged file
        raise ValueError(f"{path}: not a readable .npy or .npz file of numbers; pickles are not opened") from error
    if isinstance(loaded, np.ndarray):
        return loaded
    names = loaded.files
    if key is None and len(names) == 1:
        key = names[0]
    if key not in names:
        raise ValueError(f"{path}: holds the arrays {', '.join(names)}; choose one with key, got {key}")
    try:
        return np.asarray(loaded[key])
    except Exception as error:  # and for a damaged member of an archive
        raise ValueError(f"{path}: the array {key} cannot be read ({type(error).__name__}: {error})") from error
