"""A small classifier whose penultimate features measure digits, as Inception's do photographs."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .cache import load_state, save_state


class FeatureNetwork(nn.Module):
    """Images (N, C, S, S) -> features (N, 32); `classify` gives logits."""

    def __init__(self, channels: int = 1, size: int = 8, classes: int = 10, width: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(2 * width * (size // 2) ** 2, 32),
            nn.SiLU(),
        )
        self.outlet = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)

    def classify(self, images: Tensor) -> Tensor:
        """Logits (N, C)."""
        return self.outlet(self(images))


def train_features(images: Tensor, labels: Tensor, steps: int = 600, seed: int = 0) -> FeatureNetwork:
    """Trained on the given rows: Adam at 1e-3, batches of 64, images jittered by noise of 0.1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FeatureNetwork(images.shape[1], images.shape[2], int(labels.max()) + 1)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(steps):
        rows = torch.randint(len(images), (64,), generator=generator)
        jittered = images[rows] + 0.1 * torch.randn(images[rows].shape, generator=generator)
        loss = cross_entropy(network.classify(jittered), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.requires_grad_(False).eval()


def stored_features(path: Path, images: Tensor, labels: Tensor, steps: int) -> FeatureNetwork:
    """The network at `path` if it was trained on these data for as many steps; else it is trained on their even rows.

    Args:
        path: where it is kept. A damaged file is made again, with a warning.
        images: (N, C, S, S). labels: (N,) int64. steps: of the training.
    """
    mark = features_mark(images, labels, steps)
    if (state := load_state(path, mark)) is not None:
        try:
            network = FeatureNetwork(images.shape[1], images.shape[2], len(state["outlet.bias"]))
            network.load_state_dict(state)
            return network.requires_grad_(False).eval()
        except (LookupError, TypeError, RuntimeError):  # a damaged file that could be read
            said = f"{path}: damaged, these are no weights of a feature network, so it is made again"
            warnings.warn(said, stacklevel=2)
    network = train_features(images[::2], labels[::2], steps)
    save_state(path, mark, network.state_dict())
    return network


def features_mark(images: Tensor, labels: Tensor, steps: int) -> str:
    """All that decides a feature network: a hash of the data to the bit, and the steps."""
    content = hashlib.sha256(images.contiguous().numpy().tobytes() + labels.contiguous().numpy().tobytes())
    return f"{tuple(images.shape)} {content.hexdigest()} {steps}"
