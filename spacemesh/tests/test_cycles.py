"""The best single cycle around a vertex, against enumeration; a plain assignment is no answer."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from spacemesh.cycles import (
    EXACT,
    cycle_score,
    decode_cycles,
    exhaustive,
    greedy,
    held_karp,
    or_opt,
    single_cycles,
    tour_of,
)
from spacemesh.orbits import orbits
from spacemesh.permutation import DECODING_ITERATIONS, no_fixed_point, sinkhorn_log


def weights(count, degree, seed=0):
    return torch.randn(count, degree, degree, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_probabilities(count, degree):
    return sinkhorn_log(weights(count, degree, seed=2), DECODING_ITERATIONS, no_fixed_point(degree))


def cycles_of(succ):
    return [int(orbits(row).max()) + 1 for row in succ]


def best_by_hand(W):
    best = -float("inf")
    for rest in itertools.permutations(range(1, len(W))):
        tour = (0, *rest)
        best = max(best, sum(float(W[a, b]) for a, b in zip(tour, (*tour[1:], 0), strict=True)))
    return best


@pytest.mark.parametrize("degree", range(2, 9))
def test_exhaustive_held_karp_and_brute_force_agree(degree):
    W = weights(12, degree)
    by_hand = torch.tensor([best_by_hand(one) for one in W], dtype=torch.float64)
    for solver in (exhaustive, held_karp):
        succ = solver(W)
        assert torch.allclose(cycle_score(W, succ), by_hand, atol=1e-12) and set(cycles_of(succ)) == {1}
    assert torch.equal(exhaustive(W), held_karp(W))  # no ties among random scores


@pytest.mark.parametrize("degree", range(3, 11))
def test_greedy_is_never_better_than_the_optimum_and_or_opt_never_worse_than_greedy(degree):
    W = weights(60, degree, seed=1)
    first = greedy(W)
    improved, best = or_opt(W, first), held_karp(W)
    scores = [cycle_score(W, succ) for succ in (first, improved, best)]
    assert (scores[0] <= scores[1] + 1e-12).all() and (scores[1] <= scores[2] + 1e-12).all()
    for succ in (first, improved, best):
        assert set(cycles_of(succ)) == {1}


@pytest.mark.parametrize("degree", [5, 8])
def test_or_opt_reaches_half_of_the_optima_that_greedy_misses(degree):
    """On what decoding gives it: log P of random scores, whose diagonal is -inf."""
    W = log_probabilities(400, degree).clamp_min(-1e30)
    best = cycle_score(W, held_karp(W))
    missed = [int((cycle_score(W, succ) < best - 1e-9).sum()) for succ in (greedy(W), or_opt(W, greedy(W)))]
    assert missed[0] > 80 and missed[1] < missed[0] / 2


def test_beyond_exact_degrees_the_decoder_improves_on_greedy():
    log_p = log_probabilities(100, 14)
    W = log_p.clamp_min(-1e30)
    first, found = cycle_score(W, greedy(W)), cycle_score(W, decode_cycles(log_p))
    assert (found >= first - 1e-9).all() and int((found > first + 1e-9).sum()) > 50


@pytest.mark.parametrize("degree", [2, 3, 5, EXACT, EXACT + 1, 25])
def test_the_decoder_gives_one_cycle_at_any_degree(degree):
    succ = decode_cycles(weights(30, degree).float())
    assert succ.shape == (30, degree) and set(cycles_of(succ)) == {1}


@pytest.mark.parametrize(("degree", "share"), [(4, 0.68), (6, 0.44), (8, 0.33)])
def test_a_plain_assignment_is_often_several_cycles(degree, share):
    """Without fixed points; shares of single cycles among random scores."""
    W = weights(600, degree, seed=3)
    single = 0
    for one in W:
        one = one.clone().fill_diagonal_(-1e6)
        single += cycles_of(torch.from_numpy(linear_sum_assignment(one.numpy(), maximize=True)[1])[None])[0] == 1
    assert single / 600 == pytest.approx(share, abs=0.06)  # three standard errors of 600 draws


@given(st.integers(2, 13), st.sampled_from([0.0, 1.0, 1e30, float("inf"), -float("inf")]), st.integers(0, 100))
def test_equal_huge_and_impossible_scores_still_give_one_cycle(degree, value, seed):
    W = weights(3, degree, seed)
    W[torch.rand(W.shape, generator=torch.Generator().manual_seed(seed)) < 0.6] = value
    assert set(cycles_of(decode_cycles(W))) == {1}


def test_two_neighbours_are_swapped_and_three_compare_two_sums():
    assert decode_cycles(weights(4, 2)).tolist() == [[1, 0]] * 4
    W = weights(100, 3)
    forward = W[:, 0, 1] + W[:, 1, 2] + W[:, 2, 0] > W[:, 0, 2] + W[:, 2, 1] + W[:, 1, 0]
    assert torch.equal(decode_cycles(W)[:, 0] == 1, forward)


def test_all_single_cycles_are_listed_once():
    table = single_cycles(5)
    assert len({tuple(row) for row in table.tolist()}) == 24 and set(cycles_of(table)) == {1}


def test_a_tour_lists_the_elements_in_order():
    assert tour_of(torch.tensor([[2, 0, 3, 1]])).tolist() == [[0, 2, 3, 1]]


def test_the_order_of_neighbours_means_nothing():
    W, order = weights(20, 9), torch.randperm(9, generator=torch.Generator().manual_seed(0))
    back = torch.argsort(order)
    assert torch.equal(order[decode_cycles(W[:, order][:, :, order])][:, back], decode_cycles(W))


def test_no_vertices_have_no_cycles():
    assert [solver(weights(0, 5)).shape for solver in (exhaustive, held_karp)] == [(0, 5)] * 2


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 4), (2, 1, 1)])
def test_scores_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"log P must be \(n, d, d\) with d >= 2, got \("):
        decode_cycles(torch.zeros(shape))


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="log P holds NaN"):
        decode_cycles(torch.full((1, 3, 3), float("nan")))
