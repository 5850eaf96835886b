"""Readouts: optimality of the sparse logistic regression, and what neighbours and centroids amount to."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from conftest import separable
from flexible_fewshot import LogisticReadout, NearestCentroid, NearestNeighbor, SparseLogisticRegression
from flexible_fewshot.readouts import prototypes


def gradient_at(rule, x, y):
    """(E, D) and (E,), of the mean logistic loss, by autograd."""
    weight, bias = rule.weight.clone().requires_grad_(), rule.bias.clone().requires_grad_()
    logits = torch.einsum("end,ed->en", x, weight) + bias[:, None]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y.double(), reduction="none").mean(-1).sum()
    return torch.autograd.grad(loss, (weight, bias))


@pytest.mark.parametrize("width", [3, 40, 100])  # fewer and more features than images
def test_the_solution_satisfies_the_optimality_conditions(width):
    x, y = separable(episodes=5, width=width)
    lam = 0.02
    rule = SparseLogisticRegression(lam, tolerance=1e-7).fit(x, y)
    by_weight, by_bias = gradient_at(rule, x, y)
    zero = rule.weight == 0
    assert by_bias.abs().max() < 1e-6  # the intercept is free
    assert (by_weight.abs()[zero] <= lam + 1e-6).all() and zero.any() == (width > 3)
    assert torch.allclose(by_weight[~zero], -lam * rule.weight[~zero].sign(), atol=1e-6)


def test_a_penalty_above_the_largest_gradient_at_zero_gives_no_weights():
    x, y = separable()
    largest = gradient_at(SparseLogisticRegression(1e9).fit(x, y), x, y)[0].abs().amax(-1)
    assert (SparseLogisticRegression(float(largest.max()) * 1.001).fit(x, y).weight == 0).all()
    weights = SparseLogisticRegression(float(largest.min()) * 0.9).fit(x, y).weight
    assert (weights != 0).any()


@pytest.mark.parametrize("lam", [1e-3, 1e-2, 1e-1])
def test_the_objective_is_that_of_liblinear_with_c_one_over_lambda_n(lam):
    """liblinear minimises |w|_1 + C Σ loss and penalises the intercept too, which a wide intercept column undoes."""
    x, y = separable(episodes=3, n=20, width=30, shift=0.7)
    ours = SparseLogisticRegression(lam, tolerance=1e-7)
    for own, labels, value in zip(x, y, ours.objective(ours.fit(x, y), x, y), strict=True):
        theirs = LogisticRegression(
            C=1 / (lam * len(own)), l1_ratio=1, solver="liblinear", intercept_scaling=1e3, tol=1e-8, max_iter=20_000
        ).fit(own.numpy(), labels.numpy())
        rule = type(ours.fit(x, y))(torch.from_numpy(theirs.coef_), torch.from_numpy(theirs.intercept_))
        assert float(value) == pytest.approx(float(ours.objective(rule, own[None], labels[None])), abs=1e-4)


def test_the_naive_c_of_sklearn_is_another_problem():
    """C = 1 / λ instead of 1 / (λ 2N): the trap gives an objective that is clearly worse."""
    x, y = separable(episodes=1, width=30)
    lam = 1e-2
    ours = SparseLogisticRegression(lam)
    wrong = LogisticRegression(C=1 / lam, l1_ratio=1, solver="liblinear", max_iter=5000).fit(x[0].numpy(), y[0].numpy())
    rule = type(ours.fit(x, y))(torch.from_numpy(wrong.coef_), torch.from_numpy(wrong.intercept_))
    assert ours.objective(rule, x, y) > ours.objective(ours.fit(x, y), x, y) + 1e-2


def test_solving_many_episodes_is_solving_each():
    x, y = separable(episodes=40, width=12, shift=0.3)
    x = x * torch.linspace(0.3, 3, 40, dtype=x.dtype)[:, None, None]  # some need many steps, some few
    solver = SparseLogisticRegression(1e-2, tolerance=1e-6)
    together, alone = (
        solver.fit(x, y),
        torch.cat([solver.fit(a[None], b[None]).weight for a, b in zip(x, y, strict=True)]),
    )
    assert torch.allclose(together.weight, alone, atol=1e-3)


def test_centroids_are_a_linear_rule():
    """w = 2 (p⁺ - p⁻), b = |p⁻|² - |p⁺|²."""
    x, y = separable(width=7)
    query = torch.randn(3, 11, 7, dtype=torch.float64)
    positive, negative = prototypes(x, y)
    w, b = 2 * (positive - negative), negative.square().sum(-1) - positive.square().sum(-1)
    expected = torch.einsum("eqd,ed->eq", query, w) + b[:, None]
    assert torch.allclose(NearestCentroid().logits(x, y, query), expected)


def test_neighbours_answer_with_the_label_of_the_nearest():
    x, y = separable(width=5)
    query = torch.randn(3, 50, 5, dtype=torch.float64)
    nearest = (query[:, :, None] - x[:, None]).norm(dim=-1).argmin(-1)
    assert torch.equal((NearestNeighbor().logits(x, y, query) > 0).long(), y.gather(1, nearest))


@pytest.mark.parametrize("readout", [LogisticReadout(), NearestCentroid(), NearestNeighbor()])
def test_all_readouts_learn_what_can_be_learnt_and_shuffled_labels_give_chance(readout, generator):
    x, y = separable(episodes=200, n=10, shift=3.0)
    query, query_y = separable(episodes=200, n=10, shift=3.0, seed=1)
    right = ((readout.logits(x, y, query) > 0) == query_y.bool()).double().mean()
    shuffled = y.gather(1, torch.rand(y.shape, generator=generator).argsort(1))
    chance = ((readout.logits(x, shuffled, query) > 0) == query_y.bool()).double().mean()
    assert right > 0.75 and abs(chance - 0.5) < 0.06


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2, 4), r"got \(2, 3, 4\), \(2, 4\)"),
        (torch.zeros(1, 3, 4), torch.tensor([[1, 1, 1]]), "both must occur"),
        (torch.zeros(1, 3, 4), torch.tensor([[1, 0, 2]]), "labels must be 0 and 1"),
        (torch.full((1, 2, 4), np.nan), torch.tensor([[1, 0]]), "must be finite, got 8"),
    ],
)
def test_supports_that_mean_nothing_are_refused(x, y, said):
    with pytest.raises(ValueError, match=said):
        SparseLogisticRegression().fit(x, y)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="lam must be >= 0"):
        SparseLogisticRegression(-1.0)
