"""Small meshes, one thread, and hypothesis without deadlines: the machine may be busy."""

import os
from pathlib import Path

import matplotlib
import pytest
import shapes
import torch
from hypothesis import HealthCheck, settings

matplotlib.use("Agg")
torch.set_num_threads(1)  # these matrices are too small to share
settings.register_profile(
    "house",
    deadline=None,
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
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
def papers_data():
    if "PAPERS_DATA" not in os.environ:
        pytest.skip("PAPERS_DATA is unset: it should name the folder that holds meshes/dodecahedron_poly.obj")
    return Path(os.environ["PAPERS_DATA"])


@pytest.fixture
def cube():
    return shapes.cube()


@pytest.fixture
def dodecahedron():
    return shapes.dodecahedron()


@pytest.fixture
def torus():
    return shapes.quad_torus()


@pytest.fixture
def tube():
    return shapes.open_tube()


@pytest.fixture
def genus_two():
    return shapes.genus_two()


@pytest.fixture(params=sorted(shapes.ALL))
def mesh(request):
    """Every small mesh in turn."""
    return shapes.ALL[request.param]()
