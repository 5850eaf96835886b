"""The turn costs no reconstruction, sorts the latents, and stalls where the imbalance Q does not vanish."""

import pytest
import torch
from torch import nn

from regularized_lae import (
    RAG,
    DenseCovariance,
    LatentMoment,
    LinearAutoencoder,
    PerRunRate,
    SampleCovariance,
    TiedLinearAutoencoder,
    axis_alignment,
    balance_penalty,
    cayley,
    imbalance,
    l2_nonuniform,
    l2_optimum,
    ordered_alignment,
    rag_gamma,
    reconstruction,
    subspace_distance,
    toda_flow,
)


def train(model, covariance, steps, lr, momentum=0.0, sign=1, **options):
    moment = LatentMoment()
    sgd = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, nesterov=momentum > 0)
    optimizer = RAG(sgd, model.encoder, model.decoder, moment, **options)
    for _ in range(steps):
        optimizer.zero_grad()
        reconstruction(model.encoder, model.decoder, covariance).backward()
        with torch.no_grad():
            moment.observe(sign * covariance.rows_times(model.encoder) @ model.encoder.mT)
        optimizer.step()
    return model


def small_model(generator, scale=1e-3):
    return LinearAutoencoder(6, 3, init_scale=scale, generator=generator).double()


@pytest.fixture
def unit_covariance(covariance):
    return DenseCovariance(covariance.matrix / 5)  # s_1 = 1


def test_gamma_is_half_the_antisymmetric_part_of_the_upper_triangle():
    moment = torch.tensor([[1.0, 4.0], [4.0, 9.0]])
    assert torch.equal(rag_gamma(moment), torch.tensor([[0.0, 2.0], [-2.0, 0.0]]))


def test_the_turn_changes_the_loss_only_to_second_order(covariance, weights):
    encoder, decoder = weights
    gamma = rag_gamma(encoder @ covariance.matrix @ encoder.mT)
    before = reconstruction(encoder, decoder, covariance)
    change = [
        reconstruction(encoder + a * gamma @ encoder, decoder + a * decoder @ gamma.mT, covariance) - before
        for a in (1e-3, 1e-4)
    ]
    assert abs(change[0] / change[1]) == pytest.approx(100, rel=0.1)  # O(a²)
    for rotation in (torch.linalg.matrix_exp(gamma), cayley(gamma)):
        turned = reconstruction(rotation @ encoder, decoder @ rotation.mT, covariance)
        assert torch.isclose(turned, before, rtol=1e-10)


def test_rag_recovers_the_axes_in_order_and_the_other_triangle_in_reverse(unit_covariance, axes, generator):
    model = train(small_model(generator), unit_covariance, 3000, 0.3)
    assert ordered_alignment(model.decoder, axes) < 1e-5
    reverse = train(small_model(generator), unit_covariance, 3000, 0.3, sign=-1)
    assert axis_alignment(reverse.decoder, axes) < 1e-5
    assert ordered_alignment(reverse.decoder.flip(-1), axes) < 1e-5


@pytest.mark.parametrize("retraction", [cayley, torch.linalg.matrix_exp])
def test_exact_rotations_reach_the_same_axes(unit_covariance, axes, generator, retraction):
    model = train(small_model(generator), unit_covariance, 3000, 0.3, retraction=retraction)
    assert ordered_alignment(model.decoder, axes) < 1e-5


def test_rag_rests_off_the_axes_where_q_is_not_zero_and_balance_cures_it(eigenvalues, axes, generator):
    """W1 = D^½ O S_k^-½ U_kᵀ is stationary for any diagonal D and rotation O."""
    covariance = DenseCovariance(axes @ torch.diag(eigenvalues) @ axes.mT)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    spread = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    root = eigenvalues[:3].sqrt()
    model = small_model(generator)
    with torch.no_grad():
        model.encoder.copy_(spread.sqrt()[:, None] * turn / root @ axes[:, :3].mT)
        model.decoder.copy_(axes[:, :3] * root @ turn.mT / spread.sqrt())
    stuck = axis_alignment(model.decoder, axes)
    assert stuck > 0.05 and subspace_distance(model.decoder, axes) < 1e-12
    assert torch.linalg.matrix_norm(imbalance(model.encoder, model.decoder)) > 1

    train(model, covariance, 200, 0.01)
    assert torch.isclose(axis_alignment(model.decoder, axes), stuck, atol=1e-12)
    train(model, covariance, 3000, 0.02, balance=1.0)
    assert ordered_alignment(model.decoder, axes) < 1e-6
    assert torch.linalg.matrix_norm(imbalance(model.encoder, model.decoder)) < 1e-6


def test_what_the_encoder_holds_without_variance_stays_and_bends_even_the_balanced_decoder(axes, generator):
    """Why to start small: two directions have no variance, as blank pixels have none."""
    spectrum = torch.tensor([1.0, 0.6, 0.4, 0.2, 0.0, 0.0], dtype=torch.float64)
    covariance = DenseCovariance(axes * spectrum @ axes.mT)
    ends = {}
    for scale in (1e-3, 0.5):
        model = small_model(generator, scale)
        blank = (model.encoder @ axes[:, 4:]).detach()
        train(model, covariance, 4000, 0.2, balance=1.0)
        ends[scale] = ordered_alignment(model.decoder, axes)
        left = (model.encoder @ axes[:, 4:]).detach()
        assert torch.linalg.matrix_norm(left) > 0.3 * torch.linalg.matrix_norm(blank)
    assert ends[1e-3] < 1e-5 and ends[0.5] > 1e-2


def test_the_plain_flow_conserves_the_norm_of_q(unit_covariance, generator):
    model = small_model(generator, scale=0.5)
    norms = []
    for _ in range(2):
        norms.append(torch.linalg.matrix_norm(imbalance(model.encoder, model.decoder)).item())
        train(model, unit_covariance, 2000, 1e-4)  # close to the flow
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_tied_weights_reach_the_l2_optimum_and_hide_the_imbalance(eigenvalues, axes, covariance, generator):
    lam = torch.tensor([0.1, 0.3, 0.7], dtype=torch.float64)
    model = TiedLinearAutoencoder(6, 3, init_scale=0.1, generator=generator).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(6000):
        optimizer.zero_grad()
        l2_nonuniform(model.encoder, model.decoder, covariance, lam).backward()
        optimizer.step()
    optimum = l2_optimum(eigenvalues, axes, lam)
    assert torch.allclose(model.encoder.abs(), optimum.encoder.abs(), atol=1e-6)
    assert imbalance(model.encoder, model.decoder).abs().max() == 0
    x = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    assert torch.allclose(model(x), x @ model.encoder.mT @ model.decoder.mT)
    with pytest.raises(ValueError, match="does not hold the decoder"):
        RAG(optimizer, model.encoder, model.decoder, LatentMoment())


def test_the_balance_term_is_the_gradient_of_a_quarter_of_q_squared(weights):
    encoder, decoder = (w.clone().requires_grad_() for w in weights)
    by_encoder, by_decoder = torch.autograd.grad(balance_penalty(encoder, decoder), (encoder, decoder))
    q = imbalance(*weights)
    assert torch.allclose(by_encoder, q @ weights[0]) and torch.allclose(by_decoder, -weights[1] @ q)


def test_sgd_treats_all_bases_alike_and_adam_does_not(unit_covariance, axes, generator):
    """Training in turned coordinates and turning back changes nothing for SGD; Adam's scaling sees the basis."""

    def final(optimizer_class, turn, **options):
        torch_generator = torch.Generator().manual_seed(1)
        model = LinearAutoencoder(6, 3, init_scale=0.1, generator=torch_generator).double()
        with torch.no_grad():
            model.encoder.copy_(model.encoder @ turn.mT)
            model.decoder.copy_(turn @ model.decoder)
        covariance = DenseCovariance(turn @ unit_covariance.matrix @ turn.mT)
        moment = LatentMoment()
        optimizer = RAG(optimizer_class(model.parameters(), **options), model.encoder, model.decoder, moment)
        for _ in range(50):
            optimizer.zero_grad()
            reconstruction(model.encoder, model.decoder, covariance).backward()
            moment.observe(covariance.rows_times(model.encoder) @ model.encoder.mT)
            optimizer.step()
        return turn.mT @ model.decoder.detach()

    identity = torch.eye(6, dtype=torch.float64)
    for optimizer_class, options, same in (
        (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}, True),
        (torch.optim.Adam, {"lr": 0.05}, False),
    ):
        plain, turned = final(optimizer_class, identity, **options), final(optimizer_class, axes, **options)
        assert torch.allclose(plain, turned, atol=1e-9) is same


def test_it_turns_a_linear_bottleneck_of_any_network_by_the_batch_that_was_just_seen(generator):
    encoder, decoder = nn.Linear(5, 2), nn.Linear(2, 5)
    network = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), encoder, decoder)
    moment = LatentMoment.of_layer(encoder)
    sgd = torch.optim.SGD(network.parameters(), lr=0.5)
    optimizer = RAG(sgd, encoder.weight, decoder.weight, moment)
    x = torch.randn(8, 5, generator=generator)
    with torch.no_grad():
        network(torch.randn(3, 5, generator=generator))  # evaluation in between leaves no trace
        hidden = network[:2](x)
    before = encoder.weight.clone()
    network(x).square().mean().backward()
    gradient = encoder.weight.grad.clone()
    optimizer.step()
    codes = hidden @ before.mT
    expected = before - 0.5 * (gradient - rag_gamma(codes.mT @ codes / 8) @ before)
    assert torch.allclose(encoder.weight, expected, atol=1e-6)


def test_the_moments_of_accumulated_batches_are_averaged_as_their_gradients_are():
    moment = LatentMoment()
    moment.observe(torch.eye(2))
    moment.observe(3 * torch.eye(2))
    assert torch.equal(moment.read(), 2 * torch.eye(2))
    with pytest.raises(RuntimeError, match="run a forward pass in training mode"):
        moment.read()


def test_a_run_resumed_from_its_state_dicts_is_the_same_to_the_bit(unit_covariance, generator):
    def run(model, optimizer, moment, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            reconstruction(model.encoder, model.decoder, unit_covariance).backward()
            moment.observe(unit_covariance.rows_times(model.encoder) @ model.encoder.mT)
            optimizer.step()

    def build():
        model = LinearAutoencoder(6, 3, init_scale=0.1, generator=torch.Generator().manual_seed(3)).double()
        moment = LatentMoment()
        return (
            model,
            RAG(torch.optim.Adam(model.parameters(), lr=0.01), model.encoder, model.decoder, moment, balance=1.0),
            moment,
        )

    whole = build()
    run(*whole, 40)
    first = build()
    run(*first, 17)
    second = build()
    second[0].load_state_dict(first[0].state_dict())
    second[1].load_state_dict(first[1].state_dict())
    run(*second, 23)
    assert torch.equal(second[0].encoder, whole[0].encoder) and torch.equal(second[0].decoder, whole[0].decoder)


def test_schedulers_and_closures_reach_the_wrapped_optimizer(unit_covariance, generator):
    model, moment = small_model(generator), LatentMoment()
    optimizer = RAG(torch.optim.SGD(model.parameters(), lr=0.1), model.encoder, model.decoder, moment)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def closure():
        optimizer.zero_grad()
        loss = reconstruction(model.encoder, model.decoder, unit_covariance)
        loss.backward()
        moment.observe(unit_covariance.rows_times(model.encoder) @ model.encoder.mT)
        return loss

    assert optimizer.step(closure) > 0
    scheduler.step()
    assert optimizer.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    "build, error, message",
    [
        (
            lambda m: RAG(torch.optim.SGD(m.parameters(), lr=1), m.encoder, m.encoder, LatentMoment()),
            ValueError,
            r"got \(3, 6\) and \(3, 6\)",
        ),
        (
            lambda m: RAG(torch.optim.SGD([m.encoder], lr=1), m.encoder, m.decoder, LatentMoment()),
            ValueError,
            "does not hold the decoder",
        ),
        (
            lambda m: RAG(
                torch.optim.SGD(m.parameters(), lr=1, weight_decay=0.1), m.encoder, m.decoder, LatentMoment()
            ),
            ValueError,
            "set weight_decay=0 for the encoder",
        ),
        (
            lambda m: RAG(torch.optim.SGD(m.parameters(), lr=1), m.encoder, m.decoder, LatentMoment()).step(),
            RuntimeError,
            "call backward",
        ),
    ],
)
def test_misuse_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build(LinearAutoencoder(6, 3))


def test_a_retraction_wants_one_rate():
    model = LinearAutoencoder(6, 3, stack=(2,))
    many = PerRunRate(torch.optim.SGD(model.parameters(), lr=1.0), torch.tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match="turns by one learning rate"):
        RAG(many, model.encoder, model.decoder, LatentMoment(), retraction=cayley)


def test_the_turn_alone_is_the_toda_flow(generator):
    """Closed form against Euler steps of Ġ = [Γ, G] on the weights themselves."""
    encoder = torch.randn(4, 6, generator=generator, dtype=torch.float64) / 3
    spectrum = torch.tensor([3.0, 2.0, 1.5, 1.0, 0.5, 0.2], dtype=torch.float64)
    start = encoder * spectrum @ encoder.mT
    step, steps = 2e-5, 50_000  # error of Euler: O(step)
    moment = start.clone()
    identity = torch.eye(4, dtype=torch.float64)
    for _ in range(steps // 100):
        for _ in range(100):
            turn = identity + step * rag_gamma(moment)
            moment = turn @ moment @ turn.mT
    assert torch.allclose(toda_flow(start, step * steps), moment, atol=1e-4)


def test_the_toda_flow_keeps_the_spectrum_lifts_leading_traces_and_sorts(generator):
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    start = root @ root.mT
    late = toda_flow(start, 200.0)
    spectrum = torch.linalg.eigvalsh(start).flip(0)
    assert torch.allclose(late, torch.diag(spectrum), atol=1e-6)
    step = 1e-6
    gain = (toda_flow(start, step).diagonal() - start.diagonal()).cumsum(0) / step
    lift = torch.stack([start[: i + 1, i + 1 :].square().sum() for i in range(5)])
    assert torch.allclose(gain, lift, atol=1e-3)


def test_bad_toda_input_is_named():
    with pytest.raises(ValueError, match=r"must be \(k, k\), got \(2, 3\)"):
        toda_flow(torch.zeros(2, 3), 1.0)
    with pytest.raises(ValueError, match="not be negative, got -1"):
        toda_flow(torch.zeros(2, 2), -1)


def test_samples_give_the_same_turn_as_their_covariance(generator):
    x = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    encoder = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    codes = x @ encoder.mT
    assert torch.allclose(SampleCovariance(x).rows_times(encoder) @ encoder.mT, codes.mT @ codes / 50, atol=1e-10)
