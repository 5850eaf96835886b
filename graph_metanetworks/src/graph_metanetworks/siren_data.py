"""SIRENs of images and of sine waves, fitted here once and kept as files, with what they are to become or to tell."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from .batch import NetBatch
from .cache import load_state, save_state
from .cifar import read_cifar
from .idx import read_idx_pair
from .networks.siren import Siren, fit_sirens, image_grid
from .parameter_graph import ParameterGraph
from .resuming import ResumingLoader
from .sampling import EpochOrder
from .tracing import build_parameter_graph
from .zoo import digits


class SirenBatch(NamedTuple):
    """nets: SIRENs of one architecture. target: the edited image (B, pixels · channels), or (a, b) of a wave (B, 2)."""

    nets: NetBatch
    target: Tensor


def dilate(images: Tensor) -> Tensor:
    """The largest value of every pixel's 3x3 surroundings. (n, rows, columns), likewise."""
    return F.max_pool2d(images[:, None], 3, 1, 1)[:, 0]


def more_contrast(images: Tensor) -> Tensor:
    """Contrast-limited adaptive histogram equalisation of the lightness L of LAB; (n, rows, columns, 3), likewise.

    In thirds of the image's sides, the histogram's bins clipped at the height that a flat one would have.
    """
    from skimage.color import lab2rgb, rgb2lab
    from skimage.exposure import equalize_adapthist

    tile, bins, edited = [max(side // 3, 1) for side in images.shape[1:3]], 256, []
    for image in images.double().numpy():
        lab = rgb2lab(image)
        lab[..., 0] = 100 * equalize_adapthist(lab[..., 0] / 100, tile, clip_limit=1 / bins, nbins=bins)
        edited.append(torch.from_numpy(lab2rgb(lab)).float())
    return torch.stack(edited)


class SirenData(LightningDataModule):
    """SIRENs of one architecture; subclasses give signals and targets.

    Args:
        sizes: n_0 .. n_L. omega: ω. steps, rate: of the fits. val, test: how many are held out.
    """

    def __init__(
        self, folder: str, sizes: Sequence[int], omega: float, steps: int, rate: float, val: int, test: int,
        batch_size: int, seed: int, order_seed: int,
    ):  # fmt: skip
        super().__init__()
        self.folder, self.sizes, self.omega, self.steps, self.rate = folder, list(sizes), omega, steps, rate
        self.val, self.test, self.batch_size, self.seed, self.order_seed = val, test, batch_size, seed, order_seed
        self.flat: Tensor | None = None

    def signals(self) -> tuple[Tensor, Tensor, Tensor]:
        """What SIRENs are fitted to (B, n, n_L), where (n, n_0), and the targets (B, ·)."""
        raise NotImplementedError

    def chores(self) -> list[partial]:
        """What `setup` has to make, for another process."""
        return [partial(_set_up, self)]

    def setup(self, stage: str | None = None) -> None:
        """Fits the SIRENs, or reads them.

        Raises:
            ValueError: fewer SIRENs than are held out, or a fit failed.
        Warns:
            UserWarning: a file of SIRENs that were fitted before is damaged; they are fitted again.
        """
        if self.flat is not None:
            return
        signal, self.places, self.target = self.signals()
        if len(signal) <= self.val + self.test:
            raise ValueError(
                f"more than {self.val + self.test} SIRENs expected, for those are held out; got {len(signal)}"
            )
        self.signal = signal.flatten(1)
        self.flat, self.fit_error = self._fitted(signal)
        self.graph: ParameterGraph = siren_graph(self.sizes, self.omega)
        cuts = len(signal) - self.val - self.test, len(signal) - self.test
        self.rows = {"train": range(cuts[0]), "val": range(*cuts), "test": range(cuts[1], len(signal))}

    def _fitted(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (B, P) and errors of fit (B,): fitted now, or before to the same signals by the same settings."""
        content = hashlib.sha256(signal.contiguous().numpy().tobytes()).hexdigest()
        settings = [self.sizes, self.omega, self.steps, self.rate, self.seed, list(signal.shape), content]
        mark = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
        path = Path(self.folder) / f"{type(self).__name__}-{mark[:8]}.pt"
        if (kept := kept_sirens(path, mark, len(signal))) is not None:
            return kept
        flat, error = fit_sirens(signal, self.places, self.sizes, self.omega, self.steps, self.rate, self.seed)
        if not torch.isfinite(flat).all():
            raise ValueError(f"{path}: some fits did not end in finite weights; lower the rate {self.rate}")
        save_state(path, mark, {"flat": flat, "error": error})
        return flat, error

    def batch(self, indices: Sequence[int]) -> SirenBatch:
        rows = torch.as_tensor(indices)
        return SirenBatch(NetBatch([(self.graph, self.flat[rows])]), self.target[rows])

    def loader(self, part: str, shuffle: bool = False) -> DataLoader:
        rows = list(self.rows[part])
        order = EpochOrder(len(rows), self.order_seed, shuffle)
        if self.trainer and shuffle:  # a resumed run starts at a later epoch
            order.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)
        return ResumingLoader(
            rows,
            self.trainer if shuffle else None,
            batch_size=self.batch_size,
            sampler=order,
            collate_fn=self.batch,
            drop_last=shuffle and len(rows) > self.batch_size,
        )

    def train_dataloader(self) -> DataLoader:
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self.loader("val")

    def test_dataloader(self) -> list[DataLoader]:
        """Test first; then train, on which a linear probe is fitted."""
        return [self.loader("test"), self.loader("train")]

    def predict_dataloader(self) -> DataLoader:
        return self.loader("test")


def kept_sirens(path: Path, mark: str, count: int) -> tuple[Tensor, Tensor] | None:
    """Weights (B, P) and errors of fit (B,) of `count` SIRENs that were kept under this mark.

    Returns:
        None: there are none, or the file is damaged, of which a warning tells.
    """
    kept = load_state(path, mark)
    if kept is None:
        return None
    flat, error = kept.get("flat"), kept.get("error")
    whole = isinstance(flat, Tensor) and isinstance(error, Tensor) and flat.ndim == 2 and len(flat) == count
    if not whole or error.shape != flat.shape[:1] or not torch.isfinite(flat).all():
        warnings.warn(f"{path}: damaged, these are no {count} SIRENs, so they are fitted again", stacklevel=2)
        return None
    return flat, error


class ImageSirens(SirenData):
    """SIRENs of images in [0, 1]; the target is the edited image. Subclasses say which images, and which edit."""

    edit: Callable[[Tensor], Tensor] = staticmethod(dilate)

    def images(self) -> Tensor:
        """(n, rows, columns), or (n, rows, columns, 3), in [0, 1]."""
        raise NotImplementedError

    def signals(self) -> tuple[Tensor, Tensor, Tensor]:
        images = self.images()
        rows, columns = images.shape[1:3]
        pixels = images.reshape(len(images), rows * columns, -1)
        return pixels, image_grid(rows, columns), self.edit(images).flatten(1)


class DigitSirens(ImageSirens):
    """scikit-learn's 1,797 digits of 8x8 pixels. count: how many of them."""

    def __init__(
        self, folder: str = "runs/sirens", count: int = 1797, sizes: Sequence[int] = (2, 16, 16, 1),
        omega: float = 10.0, steps: int = 400, rate: float = 5e-3, val: int = 97, test: int = 300,
        batch_size: int = 32, seed: int = 0, order_seed: int = 0,
    ):  # fmt: skip
        super().__init__(folder, sizes, omega, steps, rate, val, test, batch_size, seed, order_seed)
        self.count = count

    def images(self) -> Tensor:
        return digits()[0][: self.count]


class MNISTSirens(ImageSirens):
    """MNIST's 10,000 test images, or its train images.

    Args:
        data_dir: folder of the official IDX files. prefix: t10k or train. count: how many of them. stride: 2 halves the
            resolution by averaging.
    """

    def __init__(
        self, data_dir: str = "data/mnist", prefix: str = "t10k", folder: str = "runs/sirens", count: int = 2000,
        sizes: Sequence[int] = (2, 32, 32, 1), omega: float = 30.0, steps: int = 500, rate: float = 2e-3,
        val: int = 100, test: int = 300, batch_size: int = 32, seed: int = 0, order_seed: int = 0, stride: int = 1,
    ):  # fmt: skip
        super().__init__(folder, sizes, omega, steps, rate, val, test, batch_size, seed, order_seed)
        self.data_dir, self.prefix, self.count, self.stride = data_dir, prefix, count, stride

    def images(self) -> Tensor:
        images, _ = read_idx_pair(self.data_dir, self.prefix)
        images = torch.tensor(images[: self.count], dtype=torch.float32) / 255
        return F.avg_pool2d(images[:, None], self.stride)[:, 0] if self.stride > 1 else images


class CIFARSirens(ImageSirens):
    """CIFAR-10's images, to be given more contrast.

    Args:
        path: of the binary batches, or of a folder or zip archive of pictures (`read_cifar`). part: train or test.
        count: how many of them. stride: 2 halves the resolution by averaging.
    """

    edit = staticmethod(more_contrast)

    def __init__(
        self, path: str = "data/cifar10", part: str = "train", folder: str = "runs/sirens", count: int = 2000,
        sizes: Sequence[int] = (2, 32, 32, 3), omega: float = 30.0, steps: int = 500, rate: float = 2e-3,
        val: int = 100, test: int = 300, batch_size: int = 32, seed: int = 0, order_seed: int = 0, stride: int = 1,
    ):  # fmt: skip
        super().__init__(folder, sizes, omega, steps, rate, val, test, batch_size, seed, order_seed)
        self.path, self.part, self.count, self.stride = path, part, count, stride

    def images(self) -> Tensor:
        images = torch.tensor(read_cifar(self.path, self.part, self.count), dtype=torch.float32) / 255
        if self.stride > 1:
            images = F.avg_pool2d(images.permute(0, 3, 1, 2), self.stride).permute(0, 2, 3, 1)
        return images


class SineSirens(SirenData):
    """a · sin(b x) on [-π, π) with a, b ~ U(0, 10); the target is (a, b).

    points: at which the waves are fitted. waves: how many.
    """

    def __init__(
        self, folder: str = "runs/sirens", waves: int = 1000, points: int = 128, sizes: Sequence[int] = (1, 16, 16, 1),
        omega: float = 10.0, steps: int = 500, rate: float = 5e-3, val: int = 50, test: int = 200, batch_size: int = 64,
        seed: int = 0, order_seed: int = 0,
    ):  # fmt: skip
        super().__init__(folder, sizes, omega, steps, rate, val, test, batch_size, seed, order_seed)
        self.waves, self.points = waves, points

    def signals(self) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1000 + self.seed)
        wave = 10 * torch.rand(self.waves, 2, generator=generator)
        x = torch.arange(self.points) * (2 * math.pi / self.points) - math.pi
        return (wave[:, :1] * torch.sin(wave[:, 1:] * x))[..., None], x[:, None], wave


def _set_up(data: SirenData) -> None:
    data.setup()


_GRAPHS: dict[tuple, ParameterGraph] = {}


def siren_graph(sizes: Sequence[int], omega: float) -> ParameterGraph:
    """The graph of a SIREN, made once."""
    key = (*sizes, omega)
    if key not in _GRAPHS:
        _GRAPHS[key] = build_parameter_graph(Siren(sizes, omega), torch.zeros(1, sizes[0]))
    return _GRAPHS[key]
