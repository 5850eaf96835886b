"""Small scenes, one thread, and hypothesis without deadlines: the machine may be busy."""

import os
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis import HealthCheck, settings

from att3d.cameras import CameraSampler
from att3d.distillation import ScoreDistillation
from att3d.field import DensityBlob
from att3d.guidance import ExactPrior
from att3d.text import HashTokenEncoder
from att3d.training import ATT3D, SceneSettings

matplotlib.use("Agg")
torch.set_num_threads(1)  # these matrices are too small to share
settings.register_profile("house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
PROMPTS = ["a red sphere", "a blue cube", "a green cone"]


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
        pytest.skip("PAPERS_DATA is unset: it should name the folder that holds prompts/")
    return Path(os.environ["PAPERS_DATA"])


@pytest.fixture
def prior():
    """Four random images of each prompt, one in each view bucket."""
    generator = torch.Generator().manual_seed(1)
    captions = [prompt for prompt in PROMPTS for _ in range(4)]
    return ExactPrior(torch.rand(12, 3, 8, 8, generator=generator), captions, torch.arange(4).repeat(3))


def small_settings(prior, **changed):
    return {
        "scene": SceneSettings([3, 5], 4, 16, DensityBlob(6.0, 0.5, -0.5, 6.0)),
        "guidance": prior,
        "cameras": CameraSampler((2.6, 2.6), (45.0, 45.0), (-10.0, 60.0)),
        "samples": 8,
        "resolution": 8,
        "distillation": ScoreDistillation(2.0),
        **changed,
    }


@pytest.fixture
def model(prior):
    torch.manual_seed(0)
    return ATT3D(HashTokenEncoder(4, 8), hidden=8, modulation_scale=10.0, **small_settings(prior))
