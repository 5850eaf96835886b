"""DMD2 and consistency distillation: where gradients go, what is imitated, what is counted."""

import copy

import pytest
import torch

from multi_student_distill import (
    DMD2,
    ConsistencyDistillation,
    ConsistencyFunction,
    DistillBatch,
    DMDWeights,
    EDMDenoiser,
    MixtureDenoiser,
    ResidualMLP,
    edm_sampler,
    karras_sigmas,
    one_step,
    tsm_loss,
)
from multi_student_distill.adversarial import VectorHead
from multi_student_distill.distiller import frozen
from multi_student_distill.mixture import ring_means
from multi_student_distill.step_noise import StepNoise

TEACHER = MixtureDenoiser(ring_means(), 0.05)


def mlp(width=8, seed=0):
    torch.manual_seed(seed)
    net = ResidualMLP((2,), 8, width, 1)
    torch.nn.init.normal_(net.outlet.weight, std=0.1)
    return net


def batch(rows=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(8, (rows,), generator=g)
    z = torch.randn(rows, 2, generator=g)
    return DistillBatch(labels, TEACHER.sample(labels, g), labels, z, TEACHER.sample(labels, g), labels)


def dmd(gan=False, teacher=TEACHER):
    weights = DMDWeights(0.25, 0.1, 0.1) if gan else DMDWeights(0.25)
    head = VectorHead(8) if gan else None
    return DMD2(copy.deepcopy(teacher), EDMDenoiser(mlp(), 0.4), EDMDenoiser(mlp(seed=1), 0.4), head, weights)


def has_gradient(module):
    return [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters()]


def test_the_students_step_reaches_the_student_alone():
    distiller = dmd(gan=True, teacher=EDMDenoiser(mlp(seed=2), 0.4))
    noise = StepNoise([0], 0)
    x = distiller.generate(batch(), noise)
    losses = distiller.student_losses(x, batch(), noise)
    assert set(losses) == {"matching", "regression", "generator"}
    sum(losses.values()).backward()
    assert all(has_gradient(distiller.student))
    assert not any(has_gradient(distiller.guidance)) and not any(has_gradient(distiller.teacher))
    assert all(p.requires_grad for p in distiller.guidance.parameters())


def test_each_term_of_the_student_alone_reaches_it():
    distiller = dmd(gan=True)
    for term in ("matching", "regression", "generator"):
        distiller.student.zero_grad(set_to_none=True)
        noise = StepNoise([0], 0)
        distiller.student_losses(distiller.generate(batch(), noise), batch(), noise)[term].backward()
        assert any(has_gradient(distiller.student)), term


def test_the_heads_loss_reaches_the_backbone_of_the_fake_score():
    distiller = dmd(gan=True)
    noise = StepNoise([0], 0)
    x = distiller.generate(batch(), noise)
    losses = distiller.guidance_losses(x, batch(), noise)
    losses["head"].backward()
    backbone = dict(distiller.fake.named_parameters())
    assert all(has_gradient(distiller.guidance[1]))
    assert backbone["net.inlet.weight"].grad.abs().sum() > 0
    assert not any(has_gradient(distiller.student))


def test_no_graph_runs_through_the_noised_sample():
    """The gradient of L_DM with respect to the generated sample is g / numel and nothing else."""
    distiller = dmd()
    noise = StepNoise([0], 0)
    x = distiller.generate(batch(), noise).detach().requires_grad_(True)
    loss = distiller.student_losses(x, batch(), noise)["matching"]
    (found,) = torch.autograd.grad(loss, x)
    repeat = StepNoise([0], 0)
    repeat.normal(6, 2)
    levels, draw = repeat.integers(20, 981, 6), repeat.normal(6, 2)
    sigma = TEACHER.levels[levels]
    noised = x + sigma[:, None] * draw
    with torch.no_grad():
        real, fake = TEACHER(noised, sigma, batch().labels), distiller.fake(noised, sigma, batch().labels)
    g = (fake - real) / (x - real).abs().mean(1, keepdim=True)
    assert torch.allclose(found, g.detach() / x.numel(), atol=1e-7)


def test_generation_is_at_sigma_80_with_scaled_noise():
    distiller = dmd()
    z = StepNoise([0], 0).normal(6, 2)
    student = distiller.student
    expected = student(80 * z, torch.full((6,), float(karras_sigmas(1000)[0])), batch().labels)
    assert torch.equal(distiller.generate(batch(), StepNoise([0], 0)), expected)


def test_what_an_iteration_costs_is_counted_by_role():
    distiller = dmd(gan=True)
    noise = StepNoise([0], 0)
    x = distiller.generate(batch(), noise)
    distiller.student_losses(x, batch(), noise)
    distiller.guidance_losses(x, batch(), noise)
    # G forward and backward, the same on pairs; μ_T; μ_fake, L_G through it, its own loss, the head on fake and real
    assert distiller.ledger.passes == {"student": 6 * 6.0, "teacher": 6.0, "fake": 6 * (1 + 3 + 3 + 6.0)}
    assert distiller.ledger.generated == 6
    with torch.no_grad():
        distiller.generate(batch(), noise)
    assert distiller.ledger.passes["student"] == 7 * 6


def test_weights_and_head_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least 0"):
        DMDWeights(-1)
    with pytest.raises(ValueError, match=r"both weights or neither, got 0\.1, 0"):
        DMDWeights(0, 0.1, 0.0)
    with pytest.raises(ValueError, match="belong together"):
        DMD2(TEACHER, EDMDenoiser(mlp()), EDMDenoiser(mlp()), VectorHead(8))


def test_frozen_parameters_are_free_again_after_an_error():
    net = mlp()
    with pytest.raises(RuntimeError, match="inside"), frozen(net):
        assert not any(p.requires_grad for p in net.parameters())
        raise RuntimeError("inside")
    assert all(p.requires_grad for p in net.parameters())


# teacher score matching


def test_a_teacher_that_is_wrong_is_imitated(generator):
    """Against data this student would go to the data's mean; against the teacher, to the teacher's constant."""

    class Wrong(torch.nn.Module):
        def forward(self, x, sigma, labels):
            return torch.full_like(x, 3.0)

    student = EDMDenoiser(mlp(16), 0.4)
    optimizer = torch.optim.Adam(student.parameters(), 0.02)
    labels = torch.zeros(64, dtype=torch.int64)
    for _ in range(300):
        x, noise = torch.randn(2, 64, 2, generator=generator)
        loss = tsm_loss(student, Wrong(), x, labels, torch.full((64,), 5.0), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = 5 * torch.randn(64, 2, generator=generator)
    assert float((student(x, torch.full((64,), 5.0), labels) - 3).abs().mean().detach()) < 0.5


def test_with_an_exact_teacher_the_gradient_is_denoising_score_matchings_with_less_variance(generator):
    student = EDMDenoiser(mlp(), TEACHER.sigma_data)
    student.double()
    teacher = copy.deepcopy(TEACHER).double()
    weight = student.net.outlet.bias
    found = {"tsm": [], "dsm": []}
    for _ in range(300):
        labels = torch.randint(8, (256,), generator=generator)
        x = teacher.sample(labels, generator)
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        sigma = torch.full((256,), 0.3, dtype=torch.float64)
        (one,) = torch.autograd.grad(tsm_loss(student, teacher, x, labels, sigma, noise), weight)
        error = (student(x + 0.3 * noise, sigma, labels) - x).square()
        (other,) = torch.autograd.grad((student.loss_weight(sigma)[:, None] * error).mean(), weight)
        found["tsm"].append(one)
        found["dsm"].append(other)
    tsm, dsm = torch.stack(found["tsm"]), torch.stack(found["dsm"])
    spread = ((tsm.var(0) + dsm.var(0)) / 300).sqrt()
    assert bool(((tsm.mean(0) - dsm.mean(0)).abs() < 4 * spread).all())
    assert bool((tsm.var(0) < dsm.var(0)).all())


# consistency distillation


def test_a_consistency_function_is_the_identity_at_sigma_min(generator):
    f = ConsistencyFunction(mlp(), 0.4)
    x = torch.randn(5, 2, generator=generator)
    assert torch.equal(f(x, torch.full((5,), 0.002), torch.arange(5)), x)
    assert not torch.allclose(f(x, torch.full((5,), 1.0), torch.arange(5)), x)


def test_one_heun_step_of_consistency_distillation_is_the_samplers():
    distiller = ConsistencyDistillation(TEACHER, ConsistencyFunction(mlp(), 0.4), steps=2)
    x = 80 * torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(4)
    high, low = torch.full((4,), 80.0), torch.full((4,), 0.5)
    step = distiller.heun(x, high, low, labels)
    final, _ = edm_sampler(TEACHER, x / 80, labels, sigmas=torch.tensor([80.0, 0.5]))
    last = TEACHER(step, low, labels)  # the sampler's Euler step to σ = 0 ends at D
    assert torch.allclose(last, final, atol=1e-5)


def test_consistency_distillation_moves_the_student_and_its_slow_average(generator):
    distiller = ConsistencyDistillation(TEACHER, ConsistencyFunction(mlp(), 0.4), steps=6, decay=0.5)
    optimizer = torch.optim.Adam(distiller.student.parameters(), 0.01)
    before = copy.deepcopy(distiller.target.state_dict())
    noise = StepNoise([0], 0)
    losses = distiller.student_losses(distiller.generate(batch(), noise), batch(), noise)
    sum(losses.values()).backward()
    assert not any(has_gradient(distiller.target)) and any(has_gradient(distiller.student))
    optimizer.step()
    distiller.after_student_step()
    for name, slow in distiller.target.state_dict().items():
        assert torch.allclose(slow, (before[name] + distiller.student.state_dict()[name]) / 2)
    assert distiller.guidance_losses(None, batch(), noise) == {}
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1"):
        ConsistencyDistillation(TEACHER, ConsistencyFunction(mlp(), 0.4), decay=1.0)


def test_an_exact_one_step_map_is_a_fixed_point_of_consistency(generator):
    """For a Gaussian the ODE's solution is known: f(x, σ) = x √(s² + σ_min²) / √(s² + σ²) makes the loss small."""
    s = 0.5

    class Gaussian(torch.nn.Module):
        levels = karras_sigmas(1000).flip(0)
        start_scale = 80.0

        def forward(self, x, sigma, labels):
            return s**2 / (s**2 + sigma.expand(len(x))[:, None] ** 2) * x

    class Exact(ConsistencyFunction):
        def forward(self, x, sigma, labels):
            return x * ((s**2 + 0.002**2) / (s**2 + sigma.expand(len(x))[:, None] ** 2)).sqrt()

    data = batch(512)._replace(real=s * torch.randn(512, 2, generator=generator))
    noise = StepNoise([0], 0)
    exact = ConsistencyDistillation(Gaussian(), Exact(mlp(), s), steps=80)
    wrong = ConsistencyDistillation(Gaussian(), ConsistencyFunction(mlp(), s), steps=80)
    x = one_step(Gaussian(), data.pair_z, data.labels)
    found = [float(d.student_losses(x, data, noise)["consistency"].detach()) for d in (exact, wrong)]
    assert found[0] < 1e-5 and found[1] > 5 * found[0], found
