"""Theorems 1 and 2, Corollaries 1 and 2, and the mixture, against enumeration of small discrete packings."""

import math

import pytest
import torch
from brute_force import bayes_error, bits, joint_of_mixture, joint_of_novel, joint_of_training
from hypothesis import given
from hypothesis import strategies as st

from meta_bounds import (
    discrete_kl_bits,
    fano_error,
    hexagon,
    iid_bound,
    information_bound,
    linear_kl_bits,
    mean_kl,
    meta_bound,
    mixture_information,
    partial_bound,
    sharp_fano_error,
    unseen_information,
)

IDENTITY = torch.eye(2, dtype=torch.float64)


@st.composite
def discrete_packings(draw):
    """J random distributions on 2 or 3 letters, with M, n, k small enough to write everything out."""
    J, A = draw(st.integers(3, 4)), draw(st.integers(2, 3))
    raw = draw(st.lists(st.lists(st.floats(0.02, 1), min_size=A, max_size=A), min_size=J, max_size=J))
    tables = torch.tensor(raw, dtype=torch.float64)
    M, n = draw(st.integers(1, min(J - 1, 2))), draw(st.integers(1, 2))
    return tables / tables.sum(1, keepdim=True), M, n, draw(st.integers(0, 2))


@given(discrete_packings())
def test_the_information_of_every_discrete_packing_is_below_both_corollaries(packing):
    tables, M, n, k = packing
    J, K = len(tables), float(mean_kl(discrete_kl_bits(tables)))
    assert bits(joint_of_training(tables, M, n)) <= M * n * K / (J - 1) + 1e-12
    assert bits(joint_of_training(tables, M, n)) <= float(unseen_information(J, M)) + 1e-12
    assert bits(joint_of_novel(tables, k)) <= k * K + 1e-12


@given(discrete_packings())
def test_the_decoder_errs_as_often_as_fano_says(packing):
    tables, M, n, k = packing
    training, novel = joint_of_training(tables, M, n), joint_of_novel(tables, k)
    both = (training[:, :, None] * novel[:, None, :] * len(tables)).flatten(1)  # independent given the novel task
    assert bits(both) <= bits(training) + bits(novel) + 1e-12
    assert bayes_error(both) >= float(sharp_fano_error(len(tables), max(bits(both), 0))) - 1e-9
    assert float(sharp_fano_error(len(tables), max(bits(both), 0))) >= float(
        fano_error(len(tables), max(bits(both), 0))
    )


@given(discrete_packings(), st.integers(1, 3))
def test_a_mixture_of_rows_tells_at_most_its_bound(packing, rows):
    tables, *_ = packing
    J, K = len(tables), float(mean_kl(discrete_kl_bits(tables)))
    assert bits(joint_of_mixture(tables, rows)) <= float(mixture_information(J, K, rows)) + 1e-12


def test_the_mixture_bound_without_n_as_printed_is_false():
    tables = torch.tensor([[0.5, 0.5], [0.6, 0.4], [0.4, 0.6]], dtype=torch.float64)
    K = float(mean_kl(discrete_kl_bits(tables)))
    assert bits(joint_of_mixture(tables, 6)) > float(mixture_information(3, K, 1))
    assert bits(joint_of_mixture(tables, 6)) < float(mixture_information(3, K, 6))


def test_two_rows_of_a_training_task_tell_more_than_twice_one_row():
    """Bernoulli(0), (1/2), (1), M = 1: the step I(W) <= n I(row) of the paper's proof is false, its claim is not."""
    tables = torch.tensor([[1, 0], [0.5, 0.5], [0, 1]], dtype=torch.float64)
    one, two = (bits(joint_of_training(tables, 1, n)) for n in (1, 2))
    assert one == pytest.approx(0.1258, abs=1e-4) and two == pytest.approx(0.2842, abs=1e-4)
    assert two > 2 * one
    softer = 0.999 * tables + 0.0005  # divergences of the first are infinite
    K = float(mean_kl(discrete_kl_bits(softer)))
    assert bits(joint_of_training(softer, 1, 2)) <= 2 * K / 2


def test_without_training_data_corollary_1_is_theorem_2():
    psi, kl = torch.rand(5).double(), torch.rand(5).double() / 5
    without, iid = meta_bound(psi, 9, kl, 0, 3, 2), iid_bound(psi, 9, kl, 2)
    assert torch.equal(without.value, iid.value) and torch.equal(without.bits, iid.bits)
    assert torch.equal(meta_bound(psi, 9, kl, 7, 0, 2).value, iid.value)


def test_corollary_1_falls_in_n_M_and_k_and_corollary_2_is_constant_in_n():
    grid = torch.arange(1, 6)
    for values in (
        meta_bound(1, 64, 0.2, grid, 5, 1).value,
        meta_bound(1, 64, 0.2, 5, grid, 1).value,
        meta_bound(1, 64, 0.2, 5, 5, grid).value,
        partial_bound(1, 64, 0.2, 5, grid).value,
        partial_bound(1, 64, 0.2, 8 * grid, 1).value,
    ):
        assert (values.diff() < 0).all()
    assert partial_bound(1, 64, 0.2, 5, 1).value > 0  # n is not even asked for


def test_the_chain_of_bounds_on_a_hexagon():
    """J = 7, radius 1/2, σ = 1, unit design, n = 5, k = 1, M = 2; the dossier's numbers."""
    packing = hexagon(0.5)
    psi, K = packing.delta**2, mean_kl(linear_kl_bits(packing.points, IDENTITY, 1.0))
    assert float(meta_bound(psi, 7, K, 5, 2, 1).value) == pytest.approx(0.0219, abs=5e-5)
    assert float(partial_bound(psi, 7, K, 2, 1).value) == pytest.approx(0.0225, abs=5e-5)
    assert float(iid_bound(psi, 7, K, 1).value) == pytest.approx(0.0334, abs=5e-5)
    nats = math.log(2) * K  # what nats under a log2 would give
    assert float(meta_bound(psi, 7, nats, 5, 2, 1).value) == pytest.approx(0.0275, abs=5e-5)


def test_divergences_are_in_bits():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    assert float(linear_kl_bits(points, IDENTITY, 2.0)[0, 1]) == pytest.approx(25 / 4 / math.log(2))
    coins = torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=torch.float64)
    assert float(discrete_kl_bits(coins)[0, 1]) == pytest.approx(0.5 * math.log2(2) + 0.5 * math.log2(2 / 3))


def test_a_vacuous_bound_is_zero_and_says_so():
    bound = meta_bound(1.0, 7, 0.3, torch.tensor([0, 5, 1000]), 2, 1)
    assert bound.vacuous.tolist() == [False, False, True] and bound.value[2] == 0 and (bound.value[:2] > 0).all()
    assert bool(partial_bound(1.0, 7, 0.3, 6, 0).vacuous)  # M + 1 = J


def test_sharp_fano_has_its_two_known_ends():
    assert float(sharp_fano_error(8, 0)) == pytest.approx(7 / 8, abs=1e-7)
    assert float(sharp_fano_error(8, 3)) == pytest.approx(0, abs=1e-7)
    assert (sharp_fano_error(8, torch.linspace(0, 3, 9)) >= fano_error(8, torch.linspace(0, 3, 9))).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: meta_bound(1, 7, 0.1, 5, 7, 1), r"M \+ 1 <= J is needed, got M = 7 and J = 7"),
        (lambda: partial_bound(1, 7, 0.1, torch.tensor([2, 9]), 1), "got M = 9 and J = 7"),
        (lambda: iid_bound(1, 1, 0.1, 1), "J must be a whole number of at least 2, got 1"),
        (lambda: iid_bound(0, 7, 0.1, 1), "psi must be positive and finite, got 0"),
        (lambda: iid_bound(1, 7, -0.1, 1), "kl must be not negative and finite, got -0.1"),
        (lambda: iid_bound(1, 7, float("inf"), 1), "kl must be not negative"),
        (lambda: iid_bound(1, 7, 0.1, 1.5), "k must be a whole number of at least 0, got 1.5"),
        (lambda: information_bound(1, 7, -1, 0), "training_bits must be not negative"),
        (lambda: linear_kl_bits(torch.zeros(3, 2), torch.eye(3), 1), r"got \(3, 2\) and \(3, 3\)"),
        (lambda: linear_kl_bits(torch.zeros(3, 2), torch.eye(2), 0), "variance must be positive"),
        (lambda: discrete_kl_bits(torch.ones(2, 2)), "sum to 1"),
        (lambda: mean_kl(torch.ones(2, 3)), r"kl must be \(J, J\), got \(2, 3\)"),
    ],
)
def test_what_the_theorems_do_not_cover_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
