"""Small float64 networks: every fact of the paper must hold for them."""

import os
from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis import settings
from torch import nn

matplotlib.use("Agg")
torch.set_num_threads(1)  # these networks are too small to share
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


def network(*sizes, activation=nn.Tanh, seed=0, batchnorm=False, dtype=torch.float64):
    """A fully connected network with its own random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] * batchnorm), activation()]
        last = 2 + batchnorm
        return nn.Sequential(*layers[: len(layers) - last + 1]).to(dtype)


@pytest.fixture(autouse=True)
def one_thread():
    """A test may set more; sums over threads differ in their last bits from run to run."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def papers_data():
    if "PAPERS_DATA" not in os.environ:
        pytest.skip("PAPERS_DATA is unset: it should name the folder that holds mnist/ and cifar10/")
    return Path(os.environ["PAPERS_DATA"])
