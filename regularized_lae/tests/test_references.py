"""GHA, EigenGame and the linear VAE against their published fixed points."""

import math

import pytest
import torch

from regularized_lae import (
    eigengame_direction,
    gha_direction,
    negative_elbo,
    ordered_alignment,
    rag_gamma,
    to_sphere,
    vae_optimum,
)


def orthonormal_rows(generator):
    return torch.linalg.qr(torch.randn(6, 3, generator=generator, dtype=torch.float64)).Q.mT


def test_gha_is_the_subspace_rule_plus_the_turn_of_rag_plus_a_symmetric_part(covariance, weights):
    w, c = weights[0], covariance.matrix
    moment = w @ c @ w.mT
    upper = moment.triu(1)
    parts = (w @ c - moment @ w) + rag_gamma(moment) @ w + (upper + upper.mT) / 2 @ w
    assert torch.allclose(gha_direction(w, covariance), parts, atol=1e-10)


def test_gha_and_eigengame_find_the_axes_in_order_from_an_orthonormal_start(covariance, axes, generator):
    w = v = orthonormal_rows(generator)
    for _ in range(3000):
        w = w + 0.03 * gha_direction(w, covariance)
        v = to_sphere(v + 0.03 * eigengame_direction(v, covariance))
    assert ordered_alignment(w.mT, axes) < 1e-7  # the 1e-8 that guards zero columns counts twice
    assert ordered_alignment(v.mT, axes) < 1e-7


def test_eigengame_climbs_the_utility_of_every_player(covariance, generator):
    c = covariance.matrix
    v = orthonormal_rows(generator)

    def utility(i, vi):
        parents = sum((vi @ c @ v[j]) ** 2 / (v[j] @ c @ v[j]) for j in range(i))
        return vi @ c @ vi - parents

    direction = eigengame_direction(v, covariance)
    for i in range(3):
        vi = v[i].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(utility(i, vi), vi)
        tangent = gradient - (gradient @ v[i]) * v[i]
        assert torch.allclose(direction[i], tangent, atol=1e-10)


def test_at_the_ppca_optimum_the_elbo_is_the_log_likelihood_and_stationary(eigenvalues, axes, covariance):
    optimum = vae_optimum(eigenvalues, axes, 3)
    parameters = [optimum.encoder, optimum.decoder, optimum.variance.log(), optimum.noise.log()]
    parameters = [p.clone().requires_grad_() for p in parameters]
    value = negative_elbo(*parameters, covariance)
    model = optimum.decoder @ optimum.decoder.mT + optimum.noise * torch.eye(6, dtype=torch.float64)
    likelihood = (
        -(6 * math.log(2 * math.pi) + torch.logdet(model) + torch.trace(torch.linalg.solve(model, covariance.matrix)))
        / 2
    )
    assert torch.isclose(value, -likelihood, rtol=1e-12)
    assert torch.isclose(value, optimum.value, rtol=1e-12)
    assert max(g.abs().max() for g in torch.autograd.grad(value, parameters)) < 1e-10


def test_only_the_diagonal_posterior_fixes_the_rotation(eigenvalues, axes, covariance, generator):
    optimum = vae_optimum(eigenvalues, axes, 3)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    turned = negative_elbo(
        turn @ optimum.encoder, optimum.decoder @ turn.mT, optimum.variance.log(), optimum.noise.log(), covariance
    )
    assert turned > optimum.value + 1e-2


def test_a_vae_that_keeps_everything_has_no_noise_to_learn(eigenvalues, axes):
    with pytest.raises(ValueError, match="1 <= latents < 6, got 6"):
        vae_optimum(eigenvalues, axes, 6)
