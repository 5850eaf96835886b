"""The distance that training moved the weights: of parameters alone, in parts of the initial norm."""

import copy

import pytest
import torch
from torch import nn

from conftest import network
from mli_landscapes import NetworkStack, snapshot, stacked_weight_distance, weight_distance
from mli_landscapes.language import LSTMLanguageModel


def filled(*values):
    """One parameter."""
    module = nn.Module()
    module.register_parameter("w", nn.Parameter(torch.tensor(values)))
    return module


def test_the_norm_of_the_change_is_divided_by_the_initial_norm():
    """From (3, 4) to (3, 16): moved by 12 from a norm of 5; the final norm is about 16.3."""
    near, far = filled(3.0, 4.0), filled(3.0, 16.0)
    assert weight_distance(near, far) == 2.4
    assert weight_distance(far, near) == pytest.approx(12 / 265**0.5)
    assert weight_distance(near, near) == 0
    assert weight_distance(snapshot(near), far) == weight_distance(near, snapshot(far)) == 2.4


def test_all_tensors_count_as_one_vector():
    start = network(4, 5, 3)
    end = network(4, 5, 3, seed=1)
    flat = [torch.cat([p.detach().flatten() for p in model.parameters()]) for model in (start, end)]
    expected = float((flat[1] - flat[0]).norm() / flat[0].norm())
    assert weight_distance(start, end) == pytest.approx(expected, rel=1e-12)


def test_a_tied_embedding_counts_once():
    """It grows from ones to threes beside a bias of twos; all else is 0. Counted twice it would weigh twice."""
    start = LSTMLanguageModel(7, width=4, layers=1, tied=True)
    with torch.no_grad():
        for p in start.parameters():
            p.zero_()
        start.embedding.weight.fill_(1)  # norm² 28
        start.to_logits.bias.fill_(2)  # norm² 28
    end = copy.deepcopy(start)
    with torch.no_grad():
        end.embedding.weight.fill_(3)  # moved² 112
    assert end.to_logits.weight is end.embedding.weight
    assert weight_distance(start, end) == pytest.approx((112 / 56) ** 0.5)  # twice: (224 / 84) ** 0.5
    assert weight_distance(snapshot(start), snapshot(end)) == weight_distance(start, end)


def test_running_statistics_never_count():
    start, end = network(4, 5, 3, batchnorm=True), network(4, 5, 3, seed=1, batchnorm=True)
    before = weight_distance(start, end)
    end[1].running_mean.fill_(1e6), start[1].running_var.fill_(1e6)
    assert weight_distance(start, end) == before == weight_distance(snapshot(start), end)


def test_many_small_float32_changes_are_summed_in_float64():
    start, end = (nn.Linear(1000, 1000, bias=False) for _ in "ab")
    with torch.no_grad():
        start.weight.fill_(1), end.weight.fill_(1 + 2**-20)
    assert weight_distance(start, end) == 2**-20


def test_distances_of_a_stack_are_those_of_its_networks():
    starts, ends = ([network(4, 5, 3, seed=seed) for seed in seeds] for seeds in ((0, 1, 2), (3, 4, 5)))
    stacks = NetworkStack(starts), NetworkStack(ends)
    expected = [weight_distance(a, b) for a, b in zip(starts, ends, strict=True)]
    for first, last in (stacks, map(snapshot, stacks)):
        assert stacked_weight_distance(first, last).tolist() == pytest.approx(expected, rel=1e-12)


def test_networks_without_a_distance_are_refused():
    with pytest.raises(ValueError, match="relative distance from an initialisation of norm 0 is not defined"):
        weight_distance(filled(0.0, 0.0), filled(1.0, 1.0))
    with pytest.raises(ValueError, match="relative distance from an initialisation of norm 0 is not defined"):
        stacked_weight_distance({"w": torch.tensor([[1.0], [0.0]])}, {"w": torch.ones(2, 1)})
    with pytest.raises(ValueError, match=r"w is \(2,\) in one and \(3,\) in the other"):
        weight_distance(filled(1.0, 1.0), filled(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="w holds NaN or infinite values: that network diverged"):
        weight_distance(filled(1.0), filled(float("nan")))
