"""Small hubs and networks: every fact must hold for them."""

import os
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings
from torch import nn

from forecasting_model_search.checkpoints import CheckpointStore
from forecasting_model_search.fitting import FitSettings
from forecasting_model_search.hub import ModelHub
from forecasting_model_search.parameter_graph import model_to_graph
from forecasting_model_search.weights import Checkpoint, fingerprint

matplotlib.use("Agg")
torch.set_num_threads(1)  # these networks are too small to share
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")
QUICK = FitSettings(steps=4, rate=5e-3)


def small_mlp(hidden=4):
    return nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))


def random_state(network, seed=0, scale=0.5):
    generator = torch.Generator().manual_seed(seed)
    return {name: scale * torch.randn(p.shape, generator=generator) for name, p in network.named_parameters()}


def checkpoint_of(network, weights):
    return Checkpoint(weights, model_to_graph(network), fingerprint(weights))


def small_hub(configs=10, epochs=5, seed=0, weights=True):
    """Curves that rise to a height which one hyperparameter decides; weights that carry noise of that height."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"rate": 10 ** random.uniform(-3, -1, configs), "width": random.integers(1, 9, configs)})
    height = 0.5 + 0.2 * np.log10(frame["rate"].to_numpy()) + 0.05 * random.standard_normal(configs)
    curves = height[:, None] * (1 - 0.5 ** np.arange(1, epochs + 1)) + 0.01 * random.standard_normal((configs, epochs))
    store = CheckpointStore({"": small_mlp()}) if weights else None
    if weights:
        for i in range(configs):
            for epoch in range(epochs + 1):
                store.put(i, epoch, random_state(small_mlp(), 100 * i + epoch, 0.3 + abs(height[i]) * epoch))
    return ModelHub(frame, curves, store, np.zeros(configs), log=("rate",))


@pytest.fixture(autouse=True)
def one_thread():
    """A test may set more; sums over threads differ in their last bits from run to run."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def hub():
    return small_hub()


@pytest.fixture
def papers_data():
    if "PAPERS_DATA" not in os.environ:
        pytest.skip("PAPERS_DATA is unset: it should name the folder that holds taskset/")
    return Path(os.environ["PAPERS_DATA"])
