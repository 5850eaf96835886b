"""Features of a whole pool, computed once and kept by the hash of the weights that made them."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .results import whole

BATCH = 500


def extract(encoder: nn.Module, images: Tensor, batch: int = BATCH) -> Tensor:
    """h of all images, (n, D) on the CPU, in evaluation mode: no feature depends on its neighbours in the batch.

    Args:
        images: (n, 3, H, W), uint8 or in [0, 1].
    """
    training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    with torch.no_grad():
        parts = [encoder(_as_float(part.to(device))).float().cpu() for part in images.split(batch)]
    encoder.train(training)
    return torch.cat(parts)


def weights_hash(encoder: nn.Module) -> str:
    """Of every parameter and statistic by name: the same for the same function, whatever file it came from."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


class FeatureCache:
    """Keeps features of pools in a folder, as `.npy` files of plain numbers.

    Args:
        folder: where they are; it is made when needed.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, encoder: nn.Module, images: Tensor) -> Path:
        """Where the features of these weights on these images are, or will be."""
        pool = hashlib.sha256(f"{tuple(images.shape)}{images.dtype}".encode())
        pool.update(images.contiguous().numpy().tobytes())
        return self.folder / f"{weights_hash(encoder)}-{pool.hexdigest()[:24]}.npy"

    def extract(self, encoder: nn.Module, images: Tensor, batch: int = BATCH) -> Tensor:
        """As `extract`, from the file if it is there; a damaged one is made again, with a warning."""
        path = self.path(encoder, images)
        if path.is_file():
            try:
                return read_features(path)
            except ValueError as error:
                warnings.warn(f"{error}, so it is made again", stacklevel=2)
        features = extract(encoder, images, batch)
        with whole(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, features.numpy(), allow_pickle=False)
        return features


def read_features(path: Path) -> Tensor:
    """Features (n, D) that were kept.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        features = torch.from_numpy(np.load(path, allow_pickle=False))
    except Exception as error:  # numpy raises many kinds for a damaged file
        raise ValueError(f"{path}: not readable features ({error})") from error
    if features.ndim != 2 or not features.is_floating_point() or not bool(features.isfinite().all()):
        raise ValueError(f"{path}: finite features (n, D) expected, got {tuple(features.shape)}")
    return features


def _as_float(images: Tensor) -> Tensor:
    images = images.float() / 255 if images.dtype == torch.uint8 else images
    return images.contiguous(memory_format=torch.channels_last)
