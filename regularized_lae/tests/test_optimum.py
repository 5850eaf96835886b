"""The landscape theorems: the regularised losses have the ordered principal axes as their only minima."""

import itertools

import pytest
import torch

from regularized_lae import (
    check_penalties,
    collapsed_units,
    geometric_survival,
    l2_nonuniform,
    l2_optimum,
    nested_dropout_expectation,
    nested_dropout_optimum,
    recovers_axes,
    relative_penalties,
)

LAM = torch.tensor([0.1, 0.3, 0.7], dtype=torch.float64)


def gradient_norm(loss, *weights):
    weights = [w.clone().requires_grad_() for w in weights]
    return max(g.abs().max() for g in torch.autograd.grad(loss(*weights), weights))


def smallest_curvature(loss, encoder, decoder):
    flat = torch.cat([encoder.flatten(), decoder.flatten()])

    def of_flat(theta):
        return loss(theta[: encoder.numel()].view_as(encoder), theta[encoder.numel() :].view_as(decoder))

    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(of_flat, flat))[0]


def test_the_l2_optimum_is_stationary_and_has_the_stated_value(eigenvalues, axes, covariance):
    optimum = l2_optimum(eigenvalues, axes, LAM)
    assert (
        gradient_norm(lambda w1, w2: l2_nonuniform(w1, w2, covariance, LAM), optimum.encoder, optimum.decoder) < 1e-12
    )
    assert torch.isclose(l2_nonuniform(optimum.encoder, optimum.decoder, covariance, LAM), optimum.value, rtol=1e-12)


def test_the_nested_dropout_optimum_is_stationary_at_any_scale(eigenvalues, axes, covariance):
    survival = geometric_survival(3)
    optimum = nested_dropout_optimum(eigenvalues, axes, survival)
    scale = torch.tensor([2.0, -0.5, 7.0], dtype=torch.float64)
    for encoder, decoder in (
        (optimum.encoder, optimum.decoder),
        (optimum.encoder / scale[:, None], optimum.decoder * scale),
    ):
        assert (
            gradient_norm(lambda w1, w2: nested_dropout_expectation(w1, w2, covariance, survival), encoder, decoder)
            < 1e-10
        )
        assert torch.isclose(
            nested_dropout_expectation(encoder, decoder, covariance, survival), optimum.value, rtol=1e-12
        )


@pytest.mark.parametrize("lam", [(0.1, 0.3, 0.7), (0.05, 0.5, 1.9), (0.9, 1.0, 1.1)])
def test_of_all_assignments_of_units_to_eigenvectors_only_the_ordered_one_is_a_minimum(lam):
    """Every assignment of units to distinct eigenvectors or to zero is stationary; one alone has no way down."""
    lam = torch.tensor(lam, dtype=torch.float64)
    s = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    from regularized_lae import DenseCovariance

    covariance = DenseCovariance(torch.diag(s))

    def loss(w1, w2):
        return l2_nonuniform(w1, w2, covariance, lam)

    minima = []
    for chosen in itertools.product([None, *range(5)], repeat=3):
        used = [j for j in chosen if j is not None]
        if len(set(used)) < len(used):
            continue
        decoder = torch.zeros(5, 3, dtype=torch.float64)
        for unit, j in enumerate(chosen):
            if j is not None and lam[unit] < s[j]:
                decoder[j, unit] = (1 - lam[unit] / s[j]).sqrt()
        assert gradient_norm(loss, decoder.mT, decoder) < 1e-12
        if smallest_curvature(loss, decoder.mT.contiguous(), decoder) > -1e-10:
            minima.append(chosen)
    assert minima == [(0, 1, 2)]


def test_training_ends_at_transposed_weights_whatever_the_penalties(covariance, weights):
    """The transpose theorem: at every stationary point of the L2 losses W1 = W2ᵀ."""
    encoder, decoder = (w.clone().requires_grad_() for w in weights)
    optimizer = torch.optim.LBFGS(
        [encoder, decoder], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = l2_nonuniform(encoder, decoder, covariance, LAM)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert (
        gradient_norm(lambda w1, w2: l2_nonuniform(w1, w2, covariance, LAM), encoder.detach(), decoder.detach()) < 1e-6
    )
    assert (encoder - decoder.mT).abs().max() < 1e-5


def test_a_unit_whose_penalty_exceeds_its_eigenvalue_collapses_and_is_named(eigenvalues, axes, covariance):
    lam = torch.tensor([0.1, 0.3, 2.5], dtype=torch.float64)  # s_3 = 2
    optimum = l2_optimum(eigenvalues, axes, lam)
    assert optimum.decoder[:, 2].abs().max() == 0
    assert torch.isclose(l2_nonuniform(optimum.encoder, optimum.decoder, covariance, lam), optimum.value, rtol=1e-12)
    assert collapsed_units(eigenvalues, lam) == [2]
    assert not recovers_axes(eigenvalues, lam)
    with pytest.warns(UserWarning, match=r"2 \(lam 2.5 >= s 2\)"):
        check_penalties(lam, eigenvalues)


@pytest.mark.parametrize(
    "lam, message",
    [
        ([0.1, 0.3, 0.3], r"strictly increasing.*lam\[1\] = 0.3 and lam\[2\] = 0.3"),
        ([0.0, 0.3], "positive and finite"),
        ([0.1, float("nan")], "positive and finite"),
        ([], r"shape \(k,\), got \(0,\)"),
    ],
)
def test_penalties_that_cannot_order_the_units_are_refused(lam, message):
    with pytest.raises(ValueError, match=message):
        check_penalties(torch.tensor(lam, dtype=torch.float64))


def test_relative_penalties_always_recover(eigenvalues):
    for k in (1, 3, 6):
        lam = relative_penalties(eigenvalues, k)
        assert len(lam) == k and recovers_axes(eigenvalues, lam)
