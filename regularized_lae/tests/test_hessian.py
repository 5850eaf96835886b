"""The exact spectra against automatic differentiation, and what they say about k."""

import pytest
import torch

from regularized_lae import (
    DenseCovariance,
    condition_number,
    geometric_survival,
    hessian_spectrum_l2,
    hessian_spectrum_nd,
    l2_nonuniform,
    l2_optimum,
    l2_rotation_bound,
    nd_rotation_bound,
    nested_dropout_expectation,
    nested_dropout_optimum,
    rag_gamma,
    rag_rates,
    reconstruction,
    relative_penalties,
)
from regularized_lae.rag import balance_penalty


def by_differentiation(loss, optimum):
    shape = optimum.encoder.shape
    flat = torch.cat([optimum.encoder.flatten(), optimum.decoder.flatten()])
    n = optimum.encoder.numel()
    hessian = torch.autograd.functional.hessian(lambda t: loss(t[:n].view(shape), t[n:].view(shape[::-1])), flat)
    return torch.linalg.eigvalsh(hessian)


@pytest.mark.parametrize("latents", [1, 3, 6])
def test_the_l2_spectrum_is_the_hessian_of_the_loss(eigenvalues, axes, covariance, latents):
    lam = relative_penalties(eigenvalues, latents)
    numeric = by_differentiation(
        lambda w1, w2: l2_nonuniform(w1, w2, covariance, lam), l2_optimum(eigenvalues, axes, lam)
    )
    assert torch.allclose(hessian_spectrum_l2(eigenvalues, lam), numeric, atol=1e-12)


@pytest.mark.parametrize("latents", [1, 3, 6])
def test_the_nested_dropout_spectrum_is_the_hessian_of_the_loss(eigenvalues, axes, covariance, latents):
    survival = geometric_survival(latents)
    numeric = by_differentiation(
        lambda w1, w2: nested_dropout_expectation(w1, w2, covariance, survival),
        nested_dropout_optimum(eigenvalues, axes, survival),
    )
    spectrum = hessian_spectrum_nd(eigenvalues, survival)
    assert torch.allclose(spectrum, numeric, atol=1e-12)
    assert (spectrum.abs() < 1e-12).sum() == latents  # free scales


@pytest.mark.parametrize("balance", [0.0, 0.7])
def test_the_rates_of_rag_are_the_jacobian_of_its_flow_and_real(eigenvalues, balance):
    k, d = 3, 6
    covariance = DenseCovariance(torch.diag(eigenvalues))

    def flow(theta):
        encoder, decoder = theta[: k * d].view(k, d), theta[k * d :].view(d, k)
        loss = reconstruction(encoder, decoder, covariance) + balance * balance_penalty(encoder, decoder)
        by_encoder, by_decoder = torch.autograd.grad(loss, (encoder, decoder), create_graph=True)
        gamma = rag_gamma(covariance.rows_times(encoder) @ encoder.mT)
        return torch.cat([(by_encoder - gamma @ encoder).flatten(), (by_decoder - decoder @ gamma.mT).flatten()])

    optimum = torch.eye(k, d, dtype=torch.float64)
    theta = torch.cat([optimum.flatten(), optimum.mT.flatten()]).requires_grad_()
    modes = torch.linalg.eigvals(torch.autograd.functional.jacobian(flow, theta))
    # zero modes are defective, so rounding splits them by its square root
    assert modes.imag.abs().max() < 1e-6
    assert torch.allclose(rag_rates(eigenvalues, k, balance), modes.real.sort().values, atol=1e-6)
    zeros = (rag_rates(eigenvalues, k, balance).abs() < 1e-12).sum()
    assert zeros == (k * (k + 1) // 2 if balance == 0 else 0)


def test_the_rotation_bounds_hold(eigenvalues):
    for k in (2, 4, 6):
        lam, survival = relative_penalties(eigenvalues, k), geometric_survival(k)
        assert hessian_spectrum_l2(eigenvalues, lam)[0] <= l2_rotation_bound(eigenvalues, lam).min()
        assert hessian_spectrum_nd(eigenvalues, survival)[k] <= nd_rotation_bound(eigenvalues, survival).min()
        assert hessian_spectrum_l2(eigenvalues, lam)[-1] >= 4 * (eigenvalues[0] - lam[0])


def test_as_the_gaps_shrink_with_k_the_condition_grows_as_k_for_rag_k_squared_for_l2_and_exponentially_for_nd():
    """d = 2k eigenvalues, evenly spaced from 1 to 0.01: the gap is proportional to 1/k."""

    def condition(k):
        s = torch.linspace(1, 0.01, 2 * k, dtype=torch.float64)
        return torch.tensor(
            [
                condition_number(rag_rates(s, k), flat=k * (k + 1) // 2),
                condition_number(hessian_spectrum_l2(s, relative_penalties(s, k))),
                condition_number(hessian_spectrum_nd(s, geometric_survival(k)), flat=k),
            ]
        )

    rag, l2, nd = torch.log2(condition(80) / condition(40))
    assert rag == pytest.approx(1, abs=0.05)
    assert l2 == pytest.approx(2, abs=0.2)
    assert nd > 1 + 40 * torch.log2(torch.tensor(1 / 0.9)) - 0.2  # the last gap of p is 0.1 · 0.9^(k-2)


def test_a_collapsed_unit_has_no_spectrum(eigenvalues):
    with pytest.raises(ValueError, match=r"units \[1\], counted from 0, have collapsed"):
        hessian_spectrum_l2(eigenvalues, torch.tensor([1.0, 4.0]))
