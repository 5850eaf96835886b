"""The mapping network: text to modulations, with a Lipschitz constant that can be checked."""

import pytest
import torch

from att3d.mapping import SILU_SLOPE, MappingNetwork, largest_singular_value
from att3d.text import HashTokenEncoder


def settled(**kwargs):
    torch.manual_seed(0)
    network = MappingNetwork(4, 8, 200, hidden=16, **kwargs)
    for _ in range(50):  # power iterations
        network(torch.randn(2, 4, 8))
    return network.eval()


def test_the_steepest_slope_of_silu_is_the_constant():
    x = torch.linspace(-10, 10, 200_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.nn.functional.silu(x).sum(), x)
    assert float(slope.max()) == pytest.approx(SILU_SLOPE, abs=1e-5)


def test_random_pairs_obey_the_lipschitz_bound():
    network = settled(modulation_scale=10.0)
    bound = network.lipschitz_bound()
    assert 10 * SILU_SLOPE * 0.98 < bound < 10 * SILU_SLOPE * 1.05  # both layers have norm one
    for scale in (1e-3, 1.0, 30.0):
        c1, c2 = scale * torch.randn(2, 500, 4, 8)
        moved = (network(c1) - network(c2)).norm(dim=1)
        assert bool((moved <= bound * (c1 - c2).flatten(1).norm(dim=1) * (1 + 1e-5)).all())


def test_without_spectral_norm_that_constant_does_not_bound():
    network = settled(spectral_norm=False, modulation_scale=10.0)
    with torch.no_grad():
        network.first.weight.mul_(50)
        c1 = torch.randn(500, 4, 8)
        c2 = c1 + 0.01 * torch.randn(500, 4, 8)
        ratio = (network(c1) - network(c2)).norm(dim=1) / (c1 - c2).flatten(1).norm(dim=1)
    assert 10 * SILU_SLOPE * 1.05 < float(ratio.max()) <= network.lipschitz_bound()


def test_the_largest_singular_value_is_that_of_the_svd_either_way_round():
    weight = torch.randn(7, 40)
    expected = float(torch.linalg.matrix_norm(weight.double(), 2))
    assert largest_singular_value(weight) == pytest.approx(expected)
    assert largest_singular_value(weight.T) == pytest.approx(expected)


def test_modulations_change_with_any_word_and_with_its_place():
    encoder = HashTokenEncoder(8, 8)
    prompts = ["ball-topped red cube", "slab-topped red cube", "red ball-topped cube"]
    network = MappingNetwork(8, 8, 50).eval()
    w = network(encoder.encode(prompts))
    assert float(torch.cdist(w, w).add(torch.eye(3)).min()) > 1e-3


def test_the_paper_sizes_have_the_parameters_that_they_should():
    with torch.device("meta"):
        network = MappingNetwork(77, 4096, 1_023_556, spectral_norm=False)
    assert network.second.weight.numel() == 32_753_792 and network.first.weight.numel() == 77 * 4096 * 32


@pytest.mark.parametrize("sizes", [(0, 8, 10), (4, 0, 10), (4, 8, 0)])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(ValueError, match="must be at least 1"):
        MappingNetwork(*sizes)


def test_embeddings_of_another_encoder_are_refused_by_shape():
    with pytest.raises(ValueError, match=r"must be \(P, 4, 8\), got \(2, 4, 9\)"):
        MappingNetwork(4, 8, 10)(torch.zeros(2, 4, 9))
