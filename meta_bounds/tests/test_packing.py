"""Packings and what data tell of them."""

import math

import pytest
import torch
from brute_force import permanent_sum
from hypothesis import given
from hypothesis import strategies as st

from meta_bounds import (
    Packing,
    greedy_packing,
    hexagon,
    hypercube,
    information_bound,
    linear_kl_bits,
    mean_kl,
    meta_bound,
    packing_information,
    partial_bound,
    unseen_information,
)
from meta_bounds.information import orderings_log_likelihood

IDENTITY = torch.eye(2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("packing", "J", "delta"), [(hexagon(0.5), 7, 0.25), (hypercube(3, 0.9), 8, 0.9 / math.sqrt(3))]
)
def test_the_named_packings_have_their_size_and_separation(packing, J, delta):
    assert packing.J == J and packing.delta == pytest.approx(delta)
    assert packing.scaled(2).delta == pytest.approx(2 * delta)


@pytest.mark.parametrize("d", [2, 3, 4])
def test_a_greedy_packing_is_separated_in_the_ball_and_larger_than_two_to_the_d(d, generator):
    packing = greedy_packing(d, generator)
    assert torch.pdist(packing.points).min() >= 0.5 and packing.delta >= 0.25
    assert packing.radius <= 1 and 2**d < packing.J
    assert 5**d >= packing.J


@given(st.integers(0, 3), st.integers(4, 6), st.integers(0, 1000))
def test_the_sum_over_orderings_is_the_permanent(M, J, seed):
    rows = torch.rand(2, M, J, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    summed = orderings_log_likelihood(rows.log()).exp()
    for j in range(J):
        assert float(summed[1, j]) == pytest.approx(permanent_sum(rows[1], j) if M else 1.0)


def test_the_chain_from_the_bayes_risk_down_to_the_corollaries(generator):
    """Each link is a theorem; n = 5, k = 1, M = 2 on the hexagon, with the dossier's numbers."""
    packing = hexagon(0.5)
    told = packing_information(packing, 5 * IDENTITY, IDENTITY, 2, 20_000, generator)
    psi, K = packing.delta**2, mean_kl(linear_kl_bits(packing.points, IDENTITY, 1.0))
    theorem_1 = information_bound(psi, 7, told.training.mean, told.novel.mean).value
    chain = [
        told.bayes_risk.mean,
        psi * told.decoder_error.mean,
        float(theorem_1),
        max(float(meta_bound(psi, 7, K, 5, 2, 1).value), float(partial_bound(psi, 7, K, 2, 1).value)),
    ]
    assert chain == sorted(chain, reverse=True)
    assert chain[:3] == pytest.approx([0.190, 0.0463, 0.0360], abs=6e-4)
    assert told.both.mean < told.training.mean + told.novel.mean


def test_enough_samples_name_the_training_tasks_but_not_the_novel_one(generator):
    told = packing_information(hexagon(0.5), 1000 * IDENTITY, IDENTITY, 2, 5000, generator)
    assert told.training.mean == pytest.approx(math.log2(7 / 5), abs=1e-6)
    assert told.training.mean == pytest.approx(float(unseen_information(7, 2)), abs=1e-6)
    assert told.bayes_risk.mean == pytest.approx(0.180, abs=2e-3)


def test_training_information_is_below_every_bound_on_it(generator):
    packing = hexagon(0.5)
    K = float(mean_kl(linear_kl_bits(packing.points, IDENTITY, 1.0)))
    for n in (1, 5, 20):
        told = packing_information(packing, n * IDENTITY, IDENTITY, 3, 4000, generator).training
        assert told.mean <= min(3 * n * K / 6, float(unseen_information(7, 3))) + 4 * told.stderr


def test_a_monte_carlo_number_comes_with_its_error_and_repeats_with_its_seed():
    calls = [
        packing_information(hexagon(), IDENTITY, IDENTITY, 2, 200, torch.Generator().manual_seed(3)) for _ in range(2)
    ]
    assert calls[0] == calls[1] and calls[0].bayes_risk.stderr > 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Packing(torch.zeros(3, 2)), "points that differ"),
        (lambda: Packing(torch.zeros(1, 2)), "at least 2 finite points"),
        (lambda: hexagon(0), "radius must be positive"),
        (lambda: hypercube(13), "d from 1 to 12, got 13"),
        (lambda: greedy_packing(0, torch.Generator()), "need d >= 1"),
        (lambda: hexagon().scaled(-1), "factor must be positive"),
        (lambda: packing_information(hexagon(), IDENTITY, IDENTITY, 7, 10, torch.Generator()), r"M \+ 1 <= J"),
        (lambda: packing_information(hexagon(), torch.eye(3), IDENTITY, 2, 10, torch.Generator()), r"got \(3, 3\)"),
        (lambda: packing_information(hexagon(), IDENTITY, IDENTITY, 2, 1, torch.Generator()), "at least 2 draws"),
        (lambda: orderings_log_likelihood(torch.zeros(1, 12, 30)), "take a smaller packing"),
    ],
)
def test_bad_packings_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
