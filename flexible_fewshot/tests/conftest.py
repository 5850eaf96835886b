"""A hand-made table of attributes, and the folder of real data if there is one."""

import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import settings

from flexible_fewshot import AttributeTable

matplotlib.use("Agg")
torch.set_num_threads(1)  # what is computed here is too small to share
settings.register_profile("house", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("house")

EIGHT = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]], np.int8)


@pytest.fixture(autouse=True)
def one_thread():
    """A test may set more; sums over threads differ in their last bits from run to run."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def eight():
    """Eight images with all combinations of three attributes."""
    return AttributeTable(tuple(f"image{i}" for i in range(8)), ("a", "b", "c"), EIGHT)


def random_table(n=2000, names=("a", "b", "c", "d"), seed=0, chance=0.5):
    values = (np.random.default_rng(seed).random((n, len(names))) < chance).astype(np.int8)
    return AttributeTable(tuple(f"i{i}" for i in range(n)), tuple(names), values)


def separable(episodes=3, n=20, width=6, dtype=torch.float64, seed=0, shift=1.0):
    """Features (E, 2n, D) whose classes differ by `shift` in the first feature; labels (E, 2n)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(episodes, 2 * n, width, generator=generator, dtype=dtype)
    y = torch.tensor([1] * n + [0] * n).expand(episodes, -1)
    x[:, :n, 0] += shift
    return x, y


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def papers_data():
    if "PAPERS_DATA" not in os.environ:
        pytest.skip("PAPERS_DATA is unset: it should name the folder that holds omniglot/")
    return Path(os.environ["PAPERS_DATA"])
