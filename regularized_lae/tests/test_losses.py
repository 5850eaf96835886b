import pytest
import torch

from regularized_lae import (
    DenseCovariance,
    LinearAutoencoder,
    RunningCovariance,
    SampleCovariance,
    even_survival,
    from_repo_list,
    geometric_survival,
    l2_nonuniform,
    l2_uniform,
    nested_dropout,
    nested_dropout_expectation,
    reconstruction,
    running_covariance,
    sample_kept,
)

SURVIVAL = torch.tensor([1.0, 0.6, 0.1], dtype=torch.float64)


def centred(generator, n=40, d=6):
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x - x.mean(0)


def gradients(loss, *weights):
    weights = [w.clone().requires_grad_() for w in weights]
    return torch.autograd.grad(loss(*weights), weights)


def test_the_trace_form_is_the_mean_squared_error_without_a_half(generator, weights):
    x, (encoder, decoder) = centred(generator), weights
    plain = (x - x @ encoder.mT @ decoder.mT).square().sum() / len(x)
    assert torch.isclose(reconstruction(encoder, decoder, SampleCovariance(x)), plain, rtol=1e-12)


def test_samples_and_their_covariance_give_the_same_loss_and_gradients(generator, weights):
    x = centred(generator)
    exact, streamed = DenseCovariance(x.mT @ x / len(x)), SampleCovariance(x)
    for loss in (
        lambda w1, w2, c: l2_nonuniform(w1, w2, c, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)),
        lambda w1, w2, c: nested_dropout_expectation(w1, w2, c, SURVIVAL),
    ):
        a = gradients(lambda w1, w2, loss=loss: loss(w1, w2, exact), *weights)
        b = gradients(lambda w1, w2, loss=loss: loss(w1, w2, streamed), *weights)
        for left, right in zip(a, b, strict=True):
            assert torch.allclose(left, right, atol=1e-10, rtol=0)


def test_the_gradients_are_the_closed_forms_of_the_paper(covariance, weights):
    (encoder, decoder), c = weights, covariance.matrix
    error = torch.eye(6, dtype=torch.float64) - decoder @ encoder
    by_encoder, by_decoder = gradients(lambda w1, w2: reconstruction(w1, w2, covariance), *weights)
    assert torch.allclose(by_encoder, -2 * decoder.mT @ error @ c, atol=1e-10)
    assert torch.allclose(by_decoder, -2 * error @ c @ encoder.mT, atol=1e-10)

    moment, p = encoder @ c @ encoder.mT, torch.diag(SURVIVAL)
    both = torch.minimum(SURVIVAL[:, None], SURVIVAL[None])
    by_encoder, by_decoder = gradients(
        lambda w1, w2: nested_dropout_expectation(w1, w2, covariance, SURVIVAL), *weights
    )
    assert torch.allclose(by_decoder, -2 * c @ encoder.mT @ p + 2 * decoder @ (moment * both), atol=1e-10)
    assert torch.allclose(
        by_encoder, -2 * p @ decoder.mT @ c + 2 * ((decoder.mT @ decoder) * both) @ encoder @ c, atol=1e-10
    )


def test_deterministic_nested_dropout_is_the_sum_over_all_cuts(covariance, weights):
    encoder, decoder = weights
    cuts = SURVIVAL - torch.cat([SURVIVAL[1:], torch.zeros(1, dtype=torch.float64)])  # P(exactly b + 1 latents kept)
    total = sum(p * reconstruction(encoder[: b + 1], decoder[:, : b + 1], covariance) for b, p in enumerate(cuts))
    assert torch.isclose(nested_dropout_expectation(encoder, decoder, covariance, SURVIVAL), total, rtol=1e-12)


def test_without_dropout_it_is_the_reconstruction_loss(covariance, weights):
    ones = torch.ones(3, dtype=torch.float64)
    assert torch.isclose(
        nested_dropout_expectation(*weights, covariance, ones), reconstruction(*weights, covariance), rtol=1e-12
    )


def test_sampled_nested_dropout_is_unbiased_and_masks_per_sample(generator, weights):
    x = centred(generator)
    draws = [nested_dropout(*weights, x, sample_kept(SURVIVAL, len(x), generator)) for _ in range(4000)]
    mean, error = torch.stack(draws).mean(), torch.stack(draws).std() / 4000**0.5
    exact = nested_dropout_expectation(*weights, SampleCovariance(x), SURVIVAL)
    assert abs(mean - exact) < 4 * error  # four standard errors
    kept = sample_kept(SURVIVAL, 1000, generator)
    assert set(kept.tolist()) == {1, 2, 3}
    assert abs((kept > 1).double().mean() - 0.6) < 0.06  # four standard errors of a proportion


def test_one_mask_for_a_whole_batch_is_refused(generator, weights):
    with pytest.raises(ValueError, match=r"one number for each of 40 samples, got \(1,\)"):
        nested_dropout(*weights, centred(generator), torch.tensor([2]))


def test_survival_is_geometric_for_every_latent_though_the_last_takes_the_rest():
    rho, k = 0.9, 5
    exactly = [rho**b * (1 - rho) for b in range(k - 1)]
    exactly.append(1 - sum(exactly))
    survival = torch.tensor(exactly[::-1]).cumsum(0).flip(0)
    assert torch.allclose(geometric_survival(k, rho).float(), survival, atol=1e-6)
    assert torch.allclose(even_survival(4), torch.tensor([1, 0.75, 0.5, 0.25], dtype=torch.float64))
    with pytest.raises(ValueError, match="rho must be between 0 and 1"):
        geometric_survival(3, 1.0)


def test_the_repository_lists_square_roots_of_the_penalties():
    assert torch.allclose(from_repo_list([0.1, 0.9]), torch.tensor([0.01, 0.81], dtype=torch.float64))


def test_uniform_l2_does_not_see_a_rotation_of_the_latents_but_non_uniform_does(covariance, weights, generator):
    encoder, decoder = weights
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    turned = turn @ encoder, decoder @ turn.mT
    lam = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    assert torch.isclose(l2_uniform(*turned, covariance, 0.3), l2_uniform(*weights, covariance, 0.3), rtol=1e-12)
    assert not torch.isclose(
        l2_nonuniform(*turned, covariance, lam), l2_nonuniform(*weights, covariance, lam), rtol=1e-3
    )


def test_a_stack_computes_what_each_autoencoder_alone_does(covariance, generator):
    stack = LinearAutoencoder(6, 3, stack=(4,), init_scale=1.0, generator=generator).double()
    together = reconstruction(stack.encoder, stack.decoder, covariance)
    alone = [reconstruction(w1, w2, covariance) for w1, w2 in zip(stack.encoder, stack.decoder, strict=True)]
    assert torch.allclose(together, torch.stack(alone), rtol=1e-12)
    x = torch.randn(5, 6, dtype=torch.float64)
    assert torch.allclose(stack(x)[2], x @ stack.encoder[2].mT @ stack.decoder[2].mT)


def test_a_stream_in_pieces_has_the_covariance_of_the_whole(generator):
    x = 1e6 + torch.randn(
        101, 6, generator=generator, dtype=torch.float64
    )  # a mean that naive sums of squares drown in
    running = running_covariance(x.split(7), 6)
    centred_x = x - x.mean(0)
    assert torch.allclose(running.covariance, centred_x.mT @ centred_x / 101, atol=1e-9)
    assert torch.allclose(running.mean, x.mean(0))
    running.update(x[:0])
    assert running.count == 101


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: SampleCovariance(torch.zeros(0, 3)), r"n >= 1, got \(0, 3\)"),
        (lambda: DenseCovariance(torch.zeros(2, 3)), r"must be \(d, d\), got \(2, 3\)"),
        (lambda: RunningCovariance(3).update(torch.zeros(2, 4)), r"must be \(n, 3\), got \(2, 4\)"),
        (lambda: RunningCovariance(3).covariance, "at least 2 samples, got 0"),
        (lambda: LinearAutoencoder(3, 4), "between 1 and the data dimension 3, got 4"),
    ],
)
def test_wrong_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
