"""A small classifier whose penultimate features measure digits, as Inception's do photographs."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .results import whole


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
    """The network at `path`, trained on the even rows first if it is not there."""
    if not path.is_file():
        network = train_features(images[::2], labels[::2], steps)
        with whole(path) as temporary:
            save_file(network.state_dict(), temporary)
    return read_features(path, FeatureNetwork(images.shape[1], images.shape[2], int(labels.max()) + 1))


def read_features(path: Path, network: FeatureNetwork) -> FeatureNetwork:
    """The network with the weights at `path`.

    Raises:
        ValueError: they are not such weights.
    """
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:  # safetensors and torch raise many kinds
        raise ValueError(f"{path}: not the weights of a feature network; remove it, it is trained anew") from error
    return network.requires_grad_(False).eval()
