"""A small spectrum with a random eigenbasis, in float64: every fact of the paper must hold for it."""

import os
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis import settings

from regularized_lae import DenseCovariance

matplotlib.use("Agg")
torch.set_num_threads(1)  # these matrices are too small to share
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def one_thread():
    """A test may set more; sums over threads differ in their last bits from run to run."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def eigenvalues():
    return torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.2], dtype=torch.float64)


@pytest.fixture
def axes(generator, eigenvalues):
    return torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q


@pytest.fixture
def covariance(eigenvalues, axes):
    return DenseCovariance(axes @ torch.diag(eigenvalues) @ axes.mT)


@pytest.fixture
def weights(generator):
    """An encoder (3, 6) and a decoder (6, 3), far from any optimum and unbalanced."""
    encoder = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    decoder = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    return encoder, decoder


@pytest.fixture
def papers_data():
    if "PAPERS_DATA" not in os.environ:
        pytest.skip("PAPERS_DATA is unset: it should name the folder that holds mnist/t10k-images-idx3-ubyte.gz")
    return Path(os.environ["PAPERS_DATA"])
