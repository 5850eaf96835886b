"""Theorem 3: the printed slips, the corrected constants, and what they imply."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meta_bounds import (
    effective_samples,
    greedy_packing,
    hexagon,
    linear_kl_bits,
    linear_regression_bound,
    mean_kl,
    meta_bound,
    min_shots,
    packing_bound,
    printed_bound,
)

IDENTITY = torch.eye(2, dtype=torch.float64)


def test_the_claimed_quarter_survives_the_paper_s_nats():
    """At the printed δ the factor is 1 - a/128 - 1/d >= .3197 for d >= 2, a = 16/ln 2."""
    a = 16 / math.log(2)
    assert 1 - a / 128 - 1 / 2 == pytest.approx(0.3197, abs=1e-4)
    for d in (2, 5, 20):
        best, printed = linear_regression_bound(d, 1.0, 1.0, 50, 2, 100), printed_bound(d, 1.0, 1.0, 50, 2, 100)
        assert not printed.vacuous and best.value >= printed.value


def test_points_at_the_printed_delta_of_one_half_would_leave_the_unit_ball(generator):
    packing = greedy_packing(3, generator)  # 2δ = 1/2, so θ = 4δ v with v itself at δ = 1/4
    assert packing.scaled(4 * 0.25).radius <= 1
    assert packing.scaled(4 * 0.5).radius > 1
    assert torch.pdist(packing.scaled(4 * 0.25).points).max() > 4 * 0.25  # up to 8 δ apart, not 4 δ


@given(st.integers(2, 4), st.floats(0.05, 5), st.integers(0, 50), st.integers(0, 4), st.integers(1, 50))
def test_theorem_3_is_below_corollary_1_on_a_real_packing(d, variance, n, M, k):
    """Any maximal 1/2-packing will do: Theorem 3 only knows that J > 2^d."""
    packing = greedy_packing(d, torch.Generator().manual_seed(d), candidates=5000)
    identity = torch.eye(d, dtype=torch.float64)
    theorem = linear_regression_bound(d, variance, 1.0, n, M, k)
    delta = float(theorem.psi.sqrt())
    points = packing.scaled(4 * delta)
    K = mean_kl(linear_kl_bits(points.points, identity, variance))
    assert meta_bound(theorem.psi, packing.J, K, n, M, k).value >= theorem.value - 1e-12
    assert packing_bound(packing, identity, variance, n, M, k).value >= theorem.value - 1e-12


def test_the_best_delta_is_the_best_of_all(generator):
    grid = torch.linspace(1e-4, 1 / 16, 2000, dtype=torch.float64)
    d, S, a = 5, 2.0**-5 * 20 * 3 + 40, 16 / math.log(2)
    by_scan = (grid * (1 - (a * grid * S / 2.0 + 1) / d)).max()
    assert linear_regression_bound(d, 2.0, 1.0, 20, 3, 40).value == pytest.approx(float(by_scan), rel=1e-4)


def test_the_bound_is_a_constant_below_the_risk_of_least_squares():
    """M = 0: 92 (large d) to 369 (d = 2) times below d σ²/k."""
    for d, factor in ((2, 369), (10_000, 92)):
        k = 1000 * d
        bound = linear_regression_bound(torch.tensor(d), 1.0, 1.0, 0, 0, k).value
        assert d / k / float(bound) == pytest.approx(factor, rel=0.01)


def test_two_to_the_d_training_samples_are_worth_one_novel_sample():
    for d in (2, 5, 9):
        assert effective_samples(d, 2**d, 1, 0) == effective_samples(d, 0, 0, 1) == 1


def test_one_dimension_and_little_room_are_vacuous():
    bound = linear_regression_bound(torch.tensor([1, 2]), 1.0, 1.0, 5, 1, 5)
    assert bound.vacuous.tolist() == [True, False] and bound.value[0] == 0
    assert bool(printed_bound(4, 10.0, 1.0, 0, 0, 4).vacuous)  # S < d σ²/8 = 5: δ would exceed 1/4
    assert not bool(printed_bound(4, 10.0, 1.0, 0, 0, 5).vacuous)


def test_a_narrow_environment_lowers_the_bound():
    free, narrow = (linear_regression_bound(5, 1.0, 1.0, 20, 3, 40, beta=b).value for b in (None, 1e-3))
    assert 0 < narrow < free
    assert linear_regression_bound(5, 1.0, 1.0, 20, 3, 40, beta=1e6).value == free


def test_a_grid_is_the_same_as_its_cells():
    k = torch.arange(1, 5)[:, None]
    M = torch.arange(3)
    grid = packing_bound(hexagon(), IDENTITY, 1.0, 5, M, k).value
    for i in range(4):
        for j in range(3):
            assert grid[i, j] == pytest.approx(float(packing_bound(hexagon(), IDENTITY, 1.0, 5, j, i + 1).value))


def test_a_plan_finds_the_smallest_k_or_says_that_there_is_none():
    assert min_shots(lambda k: 10 / k, 0.1) == 100
    assert min_shots(lambda k: 10 / k, 0.0999) == 101
    assert min_shots(lambda k: 1 + 0 * k, 2.0) == 1
    assert min_shots(lambda k: 1 + 1 / k, 0.9, most=10**6) is None
    needed = min_shots(lambda k: linear_regression_bound(5, 1.0, 1.0, 20, 32, k).value, 1e-3)
    assert needed is not None and linear_regression_bound(5, 1.0, 1.0, 20, 32, needed).value <= 1e-3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: linear_regression_bound(3, 1, 1, 5, 9, 1), "got M = 9 and J = 9"),
        (lambda: linear_regression_bound(3, 0, 1, 5, 2, 1), "variance must be positive and finite, got 0"),
        (lambda: linear_regression_bound(3, 1, -1, 5, 2, 1), "gamma must be positive"),
        (lambda: linear_regression_bound(3, 1, 1, 5, 2, 1, beta=0), "beta must be positive"),
        (lambda: printed_bound(0, 1, 1, 5, 0, 1), "d must be a whole number"),
        (lambda: packing_bound(hexagon(), IDENTITY, 1, 5, 7, 1), r"M \+ 1 <= J"),
        (lambda: min_shots(lambda k: k, 0), "error must be positive"),
    ],
)
def test_what_theorem_3_does_not_cover_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
