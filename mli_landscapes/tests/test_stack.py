"""Many networks in one loop: each does what it would do alone, with its own rate, momentum and statistics."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import MultiStepLR

from conftest import network
from mli_landscapes import NetworkStack, cross_entropy, interpolate, snapshot, squared_error
from mli_landscapes.optim import Graft, PerNetworkRate
from mli_landscapes.outward import outward_penalty
from mli_landscapes.resnet import VARIANTS, ResNet
from mli_landscapes.stacked_trainer import Run, StackedTrainer, runs_of, seeded


def inputs(rows=12, width=4, seed=0, dtype=torch.float64):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# ---- the stack


@pytest.mark.parametrize(
    ("build", "x"),
    [
        (lambda seed: network(4, 6, 3, seed=seed, batchnorm=True), inputs()),
        *(
            (lambda seed, v=v: seeded(partial(ResNet, 8, v), seed).double(), inputs(2, 192).view(2, 3, 8, 8))
            for v in VARIANTS
        ),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_a_stack_computes_what_each_network_computes(build, x, training):
    members = [build(seed).train(training) for seed in range(3)]
    stack = NetworkStack(members).train(training)
    outputs = stack(x)
    assert outputs.shape[:2] == (3, len(x))
    for j, member in enumerate(members):
        assert torch.allclose(outputs[j], member(x), rtol=1e-10, atol=1e-12)
        for name, value in member.state_dict().items():  # running statistics have moved alike, if they have
            assert torch.allclose(stack.network(j).state_dict()[name], value, rtol=1e-10, atol=1e-12)


def test_networks_come_back_as_copies_with_their_modes():
    members = [network(4, 6, 3, seed=seed, batchnorm=True) for seed in range(4)]
    members[0][0].weight.requires_grad_(False)
    stack = NetworkStack(members).eval()
    assert len(list(stack.parameters())) == len(list(members[0].parameters())) and stack.size == 4
    last = stack.network(-1)
    assert torch.equal(last[0].weight, members[3][0].weight) and type(last) is nn.Sequential
    assert not last.training and not last[0].weight.requires_grad and last[0].bias.requires_grad
    with torch.no_grad():
        last[0].bias.add_(1), last[1].running_mean.add_(1)
    assert torch.equal(stack.network(3)[0].bias, members[3][0].bias)
    assert torch.equal(stack.network(3)[1].running_mean, members[3][1].running_mean)

    chosen = stack.select([2, 0])
    assert chosen.size == 2 and stack.size == 4 and not chosen.training
    assert torch.equal(chosen(inputs()), stack(inputs())[[2, 0]])
    masked = stack.select([True, False, False, True])
    assert masked.size == 2 and torch.equal(masked(inputs()), stack(inputs())[[0, 3]])
    with torch.no_grad():
        chosen.networks[0].bias.add_(1)
    assert torch.equal(stack.network(2)[0].bias, members[2][0].bias)
    assert len(list(stack.parameters())) == len(list(chosen.parameters()))


def test_a_stack_is_a_copy_and_its_members_do_not_share():
    member = network(4, 6, 3)
    stack = NetworkStack([member, member])
    with torch.no_grad():
        stack.networks[0].weight[0].add_(1)
    assert torch.equal(stack.network(1)[0].weight, member[0].weight)
    assert torch.equal(stack.network(0)[0].weight, member[0].weight + 1)


class Tied(nn.Module):
    """Two names in two modules, and two in one, are one parameter each."""

    def __init__(self, seed):
        super().__init__()
        self.encoder, self.decoder = network(4, 4, seed=seed)[0], network(4, 4, seed=seed)[0]
        self.decoder.weight = self.encoder.weight
        self.scale = self.same = nn.Parameter(inputs(1, 4, seed)[0])

    def forward(self, x):
        return self.decoder(self.encoder(x * self.scale)) / self.same


def test_tied_weights_stay_tied():
    members = [Tied(seed) for seed in range(3)]
    stack = NetworkStack(members)
    assert [n for n, _ in stack.networks.named_parameters()] == [n for n, _ in members[0].named_parameters()]
    for holder in (stack.networks, stack.network(1), stack.select([2, 1]).networks):
        assert holder.decoder.weight is holder.encoder.weight and holder.scale is holder.same
    for j, member in enumerate(members):
        assert torch.allclose(stack(inputs())[j], member(inputs()), rtol=1e-12)
    stack(inputs()).square().sum().backward()
    members[1](inputs()).square().sum().backward()
    assert torch.allclose(stack.networks.encoder.weight.grad[1], members[1].encoder.weight.grad, rtol=1e-10)
    assert torch.allclose(stack.networks.scale.grad[1], members[1].scale.grad, rtol=1e-10)


def test_dropout_differs_between_networks_and_is_off_in_eval_mode():
    member = nn.Sequential(nn.Dropout(0.5))
    member.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    stack, ones = NetworkStack([member, member]), torch.ones(200, 1)
    first, second = stack(ones)
    assert (first != second).double().mean() == pytest.approx(0.5, abs=0.15)  # four standard deviations
    assert torch.equal(stack.eval()(ones), ones.expand(2, 200, 1))


def test_a_stack_interpolates_to_what_its_networks_do_alone():
    starts, ends = ([network(4, 6, 3, seed=seed) for seed in seeds] for seeds in ((0, 1), (2, 3)))
    batch = inputs(), inputs(width=3, seed=1)
    for chunk_size in (1, 3, "auto"):
        options = {"data": batch, "metric": squared_error, "alphas": 5, "chunk_size": chunk_size}
        result = interpolate(NetworkStack(starts), NetworkStack(ends), **options)
        assert result.values.shape == (5, 2) and result.min_delta.shape == (2,)
        for j in (0, 1):
            alone = interpolate(starts[j], ends[j], **options).values
            assert torch.allclose(result.values[:, j], alone, rtol=1e-12)


def test_a_stack_that_is_none_is_refused():
    with pytest.raises(ValueError, match="at least one network"):
        NetworkStack([])
    for other in (network(4, 5, 3), network(4, 6, 6, 3)):
        with pytest.raises(ValueError, match="must be of one architecture"):
            NetworkStack([network(4, 6, 3), other])
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"network {index} of a stack of 2"):
            NetworkStack([network(4, 6, 3)] * 2).network(index)


# ---- training it

OPTIMIZERS = {
    "sgd with momentum": partial(SGD, momentum=0.9),
    "sgd with weight decay": partial(SGD, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": Adam,
    "adamw": partial(AdamW, weight_decay=0.1),
}
RATES, SEEDS = (0.003, 0.03), (4, 7)


def digits(dtype):
    """Fifty batches of a problem with three classes."""
    x, w = inputs(50 * 16, dtype=dtype), inputs(4, 3, seed=1, dtype=dtype)
    return list(zip(x.split(16), (x @ w).argmax(1).split(16), strict=True))


def classifier(dtype):
    without_bias = nn.Linear(
        4, 8, bias=False
    )  # gradients of one before batch norm are noise, and Adam would enlarge it
    return nn.Sequential(without_bias, nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_every_network_is_what_a_run_of_its_seed_and_rate_is_alone(optimizer, dtype, tolerance):
    """After 50 steps: weights, running statistics, losses on the way, outputs. Tolerance: roundings of the type."""
    batches = digits(dtype)
    trainer = StackedTrainer(partial(classifier, dtype), cross_entropy, RATES, SEEDS, OPTIMIZERS[optimizer])
    losses = torch.stack([trainer.step(batch) for batch in batches])
    assert trainer.runs == [(0.003, 4), (0.003, 7), (0.03, 4), (0.03, 7)]
    for j, (rate, seed) in enumerate(trainer.runs):
        torch.manual_seed(seed)
        model = classifier(dtype)
        start, alone = snapshot(model), OPTIMIZERS[optimizer](model.parameters(), lr=rate)
        for k, (x, y) in enumerate(batches):
            loss = F.cross_entropy(model(x), y)
            alone.zero_grad(), loss.backward(), alone.step()
            assert float(losses[k, j]) == pytest.approx(float(loss.detach()), abs=tolerance)
        stacked = trainer.stack.network(j)
        for name, value in model.state_dict().items():
            assert torch.allclose(stacked.state_dict()[name], value, rtol=0, atol=tolerance)
        for name, value in start.items():
            assert torch.equal(trainer.start[f"networks.{name}"][j], value)
        x = batches[0][0]
        assert torch.allclose(trainer.stack.eval()(x)[j], model.eval()(x), rtol=0, atol=10 * tolerance)
    distances = (trainer.start["networks.0.weight"] - trainer.stack.networks[0].weight).flatten(1).norm(dim=1)
    assert distances.min() > 0.01 and distances[2] > 2 * distances[0]  # they moved, each at its rate


def test_a_network_that_diverges_leaves_the_others_alone():
    batches = [(inputs(), 5 * inputs(width=3, seed=1))] * 60
    build = partial(network, 4, 6, 3, activation=nn.ReLU)
    mixed = StackedTrainer(build, squared_error, [0.01, 1e3], optimizer=SGD)
    alone = StackedTrainer(build, squared_error, [0.01], optimizer=SGD)
    losses = mixed.fit(batches)
    alone.fit(batches)
    assert mixed.stack.finite().tolist() == [True, False] and not losses[0, 1].isfinite()
    for stacked, single in zip(mixed.stack.parameters(), alone.stack.parameters(), strict=True):
        assert torch.allclose(stacked[0], single[0], rtol=1e-12)
    with pytest.raises(ValueError, match="that network diverged"):
        mixed.interpolate(batches[0])


def test_losses_of_an_epoch_and_curves_are_one_a_run():
    batches = digits(torch.float64)[:5]
    trainer = StackedTrainer(partial(classifier, torch.float64), cross_entropy, RATES, [0])
    losses = trainer.fit(iter(batches), epochs=4)
    assert losses.shape == (4, 2) and (losses[-1] < losses[0]).all()
    result = trainer.interpolate(batches, alphas=6)
    assert result.values.shape == (6, 2)
    start = seeded(partial(classifier, torch.float64), 0)
    for j in (0, 1):
        alone = interpolate(start, trainer.stack.network(j), data=batches, metric=cross_entropy, alphas=6).values
        assert torch.allclose(result.values[:, j], alone, rtol=1e-11)


class Product(nn.Module):
    """Takes two inputs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, x, z):
        return self.first(x) * self.second(z)


def test_two_inputs_reach_the_networks_of_a_stack():
    def error(outputs, batch):
        return (outputs - batch[2]).square().sum(-1)

    trainer = StackedTrainer(Product, error, [0.01, 0.02], inputs=lambda batch: batch[:2])
    batch = tuple(inputs(width=k).float() for k in (4, 5, 3))
    losses = trainer.fit([batch], epochs=20)
    assert (losses[-1] < losses[0]).all()
    assert trainer.interpolate([batch], alphas=3).values.shape == (3, 2)


def test_building_and_training_leave_the_global_random_state_untouched():
    before = torch.get_rng_state()
    trainer = StackedTrainer(partial(classifier, torch.float64), cross_entropy, RATES, SEEDS)
    trainer.fit(digits(torch.float64)[:2])
    trainer.interpolate(digits(torch.float64)[:2], alphas=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("batches", "epochs"), [([], 3), (iter(()), 1), ([(inputs(), inputs(width=3))], 0)])
def test_training_on_nothing_is_refused(batches, epochs):
    trainer = StackedTrainer(partial(network, 4, 3), squared_error, [0.1])
    with pytest.raises(ValueError, match=rf"nothing to train on: {epochs} epochs of 0 batches"):
        trainer.fit(batches, epochs)


@pytest.mark.parametrize(("rates", "seeds"), [([], [0]), ([0.1], []), ([0.1, 0.0], [0]), ([-1.0], [0])])
def test_runs_without_rates_or_seeds_are_refused(rates, seeds):
    with pytest.raises(ValueError, match="rates and seeds must not be empty and rates positive, got"):
        runs_of(rates, seeds)
    assert runs_of([0.1, 0.2], [3]) == [Run(0.1, 3), Run(0.2, 3)]


# ---- one rate a network


def parameter(*rows):
    return nn.Parameter(torch.tensor(rows, dtype=torch.float64))


def test_the_step_of_each_network_is_scaled_by_its_rate_and_all_by_the_schedule():
    weights = parameter([0.0, 0.0], [0.0, 0.0])
    optimizer = PerNetworkRate(SGD([weights], lr=1.0), torch.tensor([0.5, 0.25]))
    schedule = MultiStepLR(optimizer, [1, 2], gamma=0.1)
    positions = []
    for _ in range(3):
        weights.grad = torch.tensor([[-1.0, 2.0], [-1.0, 2.0]], dtype=torch.float64)
        optimizer.step()
        schedule.step()
        positions.append(weights.detach().clone())
    for position, expected in zip(positions, (1, 1.1, 1.11), strict=True):
        assert torch.allclose(position, expected * torch.tensor([[0.5, -1.0], [0.25, -0.5]]).double())


def test_a_step_returns_the_loss_of_its_closure_with_gradients_on():
    weights = parameter([1.0], [1.0])
    optimizer = PerNetworkRate(SGD([weights], lr=1.0), torch.tensor([0.5, 0.25]))

    def closure():
        optimizer.zero_grad()
        loss = weights.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert weights.flatten().tolist() == [0.0, 0.5]


def steps_on(optimizer, weights, gradients):
    for gradient in gradients:
        weights.grad = gradient.clone()
        optimizer.step()


def stacked_adam(weights):
    return PerNetworkRate(Adam([weights], lr=1.0), torch.tensor([0.1, 0.02]))


def stacked_graft(weights):
    grafted = Graft(SGD([weights], lr=1.0, momentum=0.9), Adam([weights], lr=1.0), stacked=True)
    return PerNetworkRate(grafted, torch.tensor([0.1, 0.02]))


def graft(weights):
    return Graft(SGD([weights], lr=0.1, momentum=0.9), Adam([weights], lr=0.3))


@pytest.mark.parametrize("build", [stacked_adam, stacked_graft, graft])
def test_an_optimizer_resumes_from_its_state_to_the_same_bits_and_so_does_its_schedule(build):
    gradients = [inputs(2, 3, seed=k) for k in range(8)]
    whole, half = parameter([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), parameter([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    optimizer = build(whole)
    schedule = MultiStepLR(optimizer, [1, 2])
    steps_on(optimizer, whole, gradients[:4])
    schedule.step()
    steps_on(optimizer, whole, gradients[4:6])
    schedule.step()
    steps_on(optimizer, whole, gradients[6:])

    first = build(half)
    before = MultiStepLR(first, [1, 2])
    steps_on(first, half, gradients[:4])
    before.step()
    state = copy.deepcopy((first.state_dict(), before.state_dict()))
    second = build(half)
    after = MultiStepLR(second, [1, 2])
    second.load_state_dict(state[0])
    after.load_state_dict(state[1])
    steps_on(second, half, gradients[4:6])
    after.step()
    steps_on(second, half, gradients[6:])
    assert torch.equal(half, whole)
    assert [group["lr"] for group in second.param_groups] == [group["lr"] for group in optimizer.param_groups]


def test_rates_that_do_not_fit_the_stack_are_refused():
    with pytest.raises(ValueError, match=r"3 rates for a stacked parameter of shape \(2, 1\)"):
        PerNetworkRate(SGD([parameter([1.0], [1.0])], lr=1.0), torch.ones(3))
    with pytest.raises(ValueError, match=r"learning rates must be positive, got \[1.0, 0.0\]"):
        PerNetworkRate(SGD([parameter([1.0], [1.0])], lr=1.0), torch.tensor([1.0, 0.0]))


# ---- grafting


def test_a_grafted_step_is_as_long_as_one_optimizers_and_points_along_the_others():
    """Three steps, two tensors; each optimizer keeps the state it would have on the weights that are passed through."""
    layers = [nn.Parameter(inputs(3, 4, seed=k)) for k in range(2)]
    grafted = Graft(SGD(layers, lr=0.1, momentum=0.9), Adam(layers, lr=7.0))  # a direction has no rate
    copies = [nn.Parameter(p.detach().clone()) for p in layers]
    sgd, adam = SGD(copies, lr=0.1, momentum=0.9), Adam(copies, lr=1.0)
    for k in range(3):
        old = torch.cat([p.detach().clone() for p in layers]).flatten()
        alone = []
        for optimizer in (sgd, adam):
            for p, q, seed in zip(copies, layers, (0, 1), strict=True):
                p.data.copy_(q.data)
                p.grad = inputs(3, 4, seed=10 * k + seed)
            optimizer.step()
            alone.append(torch.cat([p.detach() for p in copies]).flatten() - old)
        for q, seed in zip(layers, (0, 1), strict=True):
            q.grad = inputs(3, 4, seed=10 * k + seed)
        grafted.step()
        step = torch.cat([p.detach() for p in layers]).flatten() - old
        assert float(step.norm()) == pytest.approx(float(alone[0].norm()), rel=1e-12)
        assert float(F.cosine_similarity(step, alone[1], dim=0)) == pytest.approx(1, abs=1e-12)
        assert float(F.cosine_similarity(step, alone[0], dim=0)) < 0.99


@pytest.mark.parametrize("per_network", [False, True])
def test_norms_in_a_stack_are_those_of_each_network(per_network):
    """As a network alone does; with its rate, if it has one, as with that rate alone."""
    stacked = [nn.Parameter(inputs(2 * 3, 4, seed=k).view(2, 3, 4)) for k in range(2)]
    alone = [[nn.Parameter(p[j].detach().clone()) for p in stacked] for j in range(2)]
    rates = (0.1, 0.02) if per_network else (1.0, 1.0)
    together = Graft(SGD(stacked, lr=1.0, momentum=0.9), Adam(stacked, lr=1.0), stacked=True)
    if per_network:
        together = PerNetworkRate(together, torch.tensor(rates, dtype=torch.float64))
    single = [Graft(SGD(p, lr=rate, momentum=0.9), Adam(p, lr=rate)) for p, rate in zip(alone, rates, strict=True)]
    for k in range(3):
        for i, p in enumerate(stacked):
            p.grad = inputs(2 * 3, 4, seed=10 + 2 * k + i).view(2, 3, 4)
            for j in range(2):
                alone[j][i].grad = (1 + 9 * j) * p.grad[j]
            p.grad[1] *= 10  # the second network's steps are longer
        together.step()
        for optimizer in single:
            optimizer.step()
    for j in range(2):
        for p, q in zip(stacked, alone[j], strict=True):
            assert torch.allclose(p[j], q, rtol=1e-10)


def test_a_direction_of_length_zero_and_parameters_without_gradient_stay():
    moved, still = parameter([1.0, 1.0]), parameter([5.0])
    grafted = Graft(SGD([moved, still], lr=1.0, weight_decay=0.5), SGD([moved, still], lr=1.0))
    moved.grad = torch.zeros(1, 2, dtype=torch.float64)
    grafted.step()  # length 1/√2 from the weight decay, direction 0
    assert moved.tolist() == [[1.0, 1.0]] and still.tolist() == [[5.0]]
    with pytest.raises(ValueError, match="must be over the same parameters in the same order"):
        Graft(SGD([moved, still], lr=1.0), SGD([still, moved], lr=1.0))


# ---- the outward pull


def test_the_penalty_is_the_squared_distance_of_every_tensors_norm_to_the_radius():
    tensors = [torch.tensor([3.0, 4.0]), torch.tensor([[0.0, 6.0], [8.0, 0.0]]), torch.tensor([1.0])]  # 5, 10, 1
    assert float(outward_penalty(tensors, radius=7.0, strength=0.5)) == 0.5 * (4 + 9 + 36)
    assert float(outward_penalty(tensors, radius=7.0, strength=0.0)) == 0


def test_the_pull_ends_on_the_sphere_and_leaves_zeros_at_zero():
    """Its gradient is 2 s (|θ| - R) θ / |θ|, and 0 at θ = 0, where no direction leads outwards."""
    weights, zeros = parameter([3.0, 4.0]), parameter([0.0, 0.0])
    outward_penalty([weights, zeros], radius=20.0, strength=0.1).backward()
    assert torch.allclose(weights.grad, torch.tensor([[0.6, 0.8]]).double() * 0.2 * -15)
    assert zeros.grad.tolist() == [[0.0, 0.0]]
    optimizer = SGD([weights, zeros], lr=1.0)
    for _ in range(100):
        optimizer.step(), optimizer.zero_grad()
        outward_penalty([weights, zeros], radius=20.0, strength=0.1).backward()
    assert weights.flatten().tolist() == pytest.approx([12.0, 16.0]) and zeros.tolist() == [[0.0, 0.0]]


def test_in_a_stack_the_pull_is_that_of_each_network():
    stack = {"w": inputs(6, 4).view(3, 2, 4), "b": torch.zeros(3, 2, dtype=torch.float64)}
    for tensor in stack.values():
        tensor.requires_grad_()
    values = torch.vmap(lambda p: outward_penalty(p.values(), 5.0, 0.1))(stack)
    for j in range(3):
        alone = outward_penalty([tensor[j] for tensor in stack.values()], 5.0, 0.1)
        assert values[j].item() == pytest.approx(alone.item(), rel=1e-14)
    values.sum().backward()
    assert stack["b"].grad.abs().max() == 0 and stack["w"].grad.isfinite().all()
