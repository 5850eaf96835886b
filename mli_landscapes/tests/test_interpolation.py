"""The loss on the line between two networks: what a loop by hand over its points would give, by every path to it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from conftest import network
from mli_landscapes import (
    cross_entropy,
    interpolate,
    interpolate_layers,
    interpolate_objective,
    interpolate_pairs,
    matching_states,
    min_delta,
    reconstruction_error,
    snapshot,
    squared_error,
)
from mli_landscapes.evaluate import SHARED_FAN_IN
from mli_landscapes.language import LSTMLanguageModel, TransformerLanguageModel
from mli_landscapes.losses import next_token_nll
from mli_landscapes.states import parameters_of

WIDE = SHARED_FAN_IN + 6  # inputs of a first layer that is shared


def regression(rows=20, inputs=WIDE, outputs=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(rows, k, generator=generator, dtype=torch.float64).to(dtype) for k in (inputs, outputs))


def ends(*sizes, **options):
    return network(*sizes, seed=0, **options), network(*sizes, seed=1, **options)


def at(start, end, alpha):
    """The network at a point of the line, made by hand."""
    model = copy.deepcopy(end).eval()
    with torch.no_grad():
        for p, a, b in zip(model.parameters(), start.parameters(), end.parameters(), strict=True):
            p.copy_((1 - alpha) * a + alpha * b)
    return model


@torch.no_grad()
def by_hand(start, end, batch, metric, alphas):
    return torch.stack([metric(at(start, end, a)(batch[0]), batch).mean() for a in alphas]).double()


class Trunk(nn.Module):
    """A frozen trunk under a head whose inputs are many."""

    def __init__(self, seed):
        super().__init__()
        self.trunk = network(5, WIDE, 4, seed=9)[:2].requires_grad_(False)  # one seed: alike at both ends
        self.head = network(WIDE, 8, 3, seed=seed)

    def forward(self, x):
        return self.head(self.trunk(x))


class Twice(nn.Module):
    """One layer, called on the inputs and on something else that does not depend on the parameters either."""

    def __init__(self, seed):
        super().__init__()
        self.first, self.last = network(WIDE, 8, 3, seed=seed)[0], network(8, 3, seed=seed)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)) + self.first(x.flip(1)))


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder transposed: one parameter, two layers."""

    def __init__(self, seed):
        super().__init__()
        self.encoder = network(WIDE, 8, 3, seed=seed)[0]
        self.square = network(8, 8, seed=seed)

    def forward(self, x):
        return F.linear(self.square(self.encoder(x).tanh()), self.encoder.weight.T)


def convolutional(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 5, 5), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)
        ).double()


def convolutional_pair():
    pair = convolutional(0), convolutional(1)
    for seed, model in enumerate(pair):
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            model(torch.zeros(1, 3, 10, 10, dtype=torch.float64))
    return pair


def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(9, 3, 10, 10, generator=generator, dtype=torch.float64), regression(9)[1]


# name -> two networks, a batch, and the layers whose output the line combines instead of computing it anew
ARCHITECTURES = {
    "narrow mlp": lambda: (ends(6, 8, 3), regression(inputs=6), []),
    "wide mlp": lambda: (ends(WIDE, 8, 8, 3), regression(), ["0"]),
    "wide hidden layer": lambda: (ends(6, WIDE, 8, 3, activation=nn.ReLU), regression(inputs=6), []),
    "convolutions": lambda: (convolutional_pair(), images(), ["0"]),
    "frozen trunk": lambda: ((Trunk(0), Trunk(1)), regression(inputs=5), ["head.0"]),
    "layer called twice": lambda: ((Twice(0), Twice(1)), regression(), []),
    "tied layers": lambda: ((Tied(0), Tied(1)), regression(outputs=WIDE), ["encoder"]),
}
ALPHAS = [-0.3, 0.0, 0.1, 0.5, 0.77, 1.0, 1.2]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("chunk_size", [1, 4, "auto"])
def test_loop_vmap_and_shared_layers_are_the_loop_by_hand(architecture, dtype, tolerance, chunk_size):
    """Tolerances are relative, some ten thousand roundings of each type."""
    (start, end), batch, _ = ARCHITECTURES[architecture]()
    start, end, batch = start.to(dtype), end.to(dtype), tuple(x.to(dtype) for x in batch)
    expected = by_hand(start, end, batch, squared_error, ALPHAS)
    result = interpolate(start, end, data=batch, metric=squared_error, alphas=ALPHAS, chunk_size=chunk_size)
    assert result.alphas.tolist() == ALPHAS
    assert torch.allclose(result.values, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_with_inputs_free_of_parameters_are_shared_and_no_others(architecture, monkeypatch):
    """A shared layer is computed five times, whatever the number of points: three to find out, two to combine."""
    (start, end), batch, shared = ARCHITECTURES[architecture]()
    layers = {tuple(m.weight.shape): name for name, m in end.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    calls = dict.fromkeys(layers.values(), 0)
    for function in ("linear", "conv2d"):
        original = getattr(F, function)

        def counted(x, weight, *rest, original=original):
            if tuple(weight.shape) in layers:  # a transposed weight is no layer
                calls[layers[tuple(weight.shape)]] += 1
            return original(x, weight, *rest)

        monkeypatch.setattr(F, function, counted)

    interpolate(start, end, data=batch, metric=squared_error, alphas=30, chunk_size=1)

    assert [name for name, count in calls.items() if count == 5] == shared
    assert all(count == 5 or count >= 30 for count in calls.values())


def test_an_input_that_only_differs_between_the_points_that_were_compared_is_noticed():
    """The second layer starts at 0 and is dead from half-way on: its outputs are 0 at α = 0, 1/2, 1 but not at 1/4."""

    def three_layers(bias, weight):
        model = network(2, 2, WIDE, 1, activation=nn.ReLU)
        with torch.no_grad():
            for p, value in zip(model.parameters(), (0, bias, weight, 0, 1, 0), strict=True):
                p.fill_(value)
        return model

    start, end = three_layers(0.5, 0), three_layers(-0.5, 4)  # hidden: (1/2 - α)+, then 4 α times that
    batch = torch.randn(5, 2).double(), torch.zeros(5, 1).double()
    result = interpolate(start, end, data=batch, metric=squared_error, alphas=5, chunk_size=1)
    assert result.values.tolist() == pytest.approx([0, (WIDE * 2 * 4 * 0.25 * 0.25) ** 2, 0, 0, 0], abs=1e-12)


def normed(seed):
    model = network(WIDE, 8, 3, seed=seed)
    torch.nn.utils.spectral_norm(model[0])
    model[0].weight_u, model[0].weight_v = F.normalize(torch.ones(8), dim=0), F.normalize(torch.ones(WIDE), dim=0)
    return model.double()


def hooked(seed):
    model = network(WIDE, 8, 3, seed=seed)
    model[0].register_forward_hook(lambda module, arguments, output: output.relu())
    return model


@pytest.mark.parametrize("build", [normed, hooked])
def test_a_first_layer_that_is_not_linear_in_its_parameters_is_computed_at_every_point(build):
    """Spectral norm divides the weight by a function of it, and a hook bends the output."""
    start, end, batch = build(0), build(1), regression()
    expected = by_hand(start, end, batch, squared_error, ALPHAS)
    result = interpolate(start, end, data=batch, metric=squared_error, alphas=ALPHAS, chunk_size=1)
    assert torch.allclose(result.values, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_curve_begins_and_ends_with_the_plain_losses_to_the_bit(architecture):
    (start, end), batch, _ = ARCHITECTURES[architecture]()
    with torch.no_grad():
        plain = [float(squared_error(model(batch[0]), batch).sum() / len(batch[0])) for model in (start, end)]
    values = interpolate(start, end, data=batch, metric=squared_error, chunk_size=1).values
    assert len(values) == 50 and values[[0, -1]].tolist() == plain
    values = interpolate(start, end, data=batch, metric=squared_error).values
    assert values[[0, -1]].tolist() == pytest.approx(plain, rel=1e-12)  # batched products sum in another order


@pytest.mark.parametrize("chunk_size", [1, 5])
def test_unequal_batches_weigh_as_their_rows(chunk_size):
    (start, end), (x, y) = ends(6, 8, 3), regression(100, 6)
    whole = interpolate(start, end, data=(x, y), metric=squared_error, chunk_size=chunk_size)
    batches = list(zip(x.split(64), y.split(64), strict=True))  # 64 and 36 rows
    parts = interpolate(start, end, data=batches, metric=squared_error, chunk_size=chunk_size)
    scalar = interpolate(
        start, end, data=batches, metric=lambda z, b: squared_error(z, b).mean(), chunk_size=chunk_size
    )
    assert torch.allclose(parts.values, whole.values, rtol=1e-13)
    assert torch.allclose(scalar.values, whole.values, rtol=1e-13)


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: DataLoader(TensorDataset(x, y), 30),
        lambda x, y: zip(x.split(30), y.split(30), strict=True),  # an iterator: one pass only
        lambda x, y: [[x[:50], y[:50]], [x[50:], y[50:]]],
        lambda x, y: ((x[:50], y[:50]), (x[50:], y[50:])),
    ],
)
@pytest.mark.parametrize("batchnorm", [False, True])
def test_loaders_iterators_and_lists_are_what_one_batch_is(form, batchnorm):
    """With batch norm every point passes over them anew; calibrated on one batch to be comparable."""
    (start, end), (x, y) = ends(6, 8, 3, batchnorm=batchnorm), regression(100, 6)
    options = {"metric": squared_error, "alphas": 5, "calibration": (x, y)}
    one = interpolate(start, end, data=(x, y), held_out=(x, y), **options)
    many = interpolate(start, end, data=form(x, y), held_out=form(x, y), **options)
    assert torch.allclose(many.values, one.values, rtol=1e-12)
    assert torch.equal(many.held_out, many.values)


def test_an_iterator_serves_for_statistics_and_losses_alike():
    (start, end), batch = ends(6, 8, 3, batchnorm=True), regression(100, 6)
    once = interpolate(start, end, data=iter([batch]), metric=squared_error, alphas=5)
    assert torch.equal(once.values, interpolate(start, end, data=[batch], metric=squared_error, alphas=5).values)


def test_held_out_data_give_a_second_curve():
    (start, end), train, test = ends(6, 8, 3), regression(30, 6), regression(11, 6, seed=1)
    result = interpolate(start, end, data=train, held_out=test, metric=squared_error, alphas=7)
    assert torch.equal(result.values, interpolate(start, end, data=train, metric=squared_error, alphas=7).values)
    assert torch.equal(result.held_out, interpolate(start, end, data=test, metric=squared_error, alphas=7).values)
    assert (result.held_out - result.values).abs().min() > 1e-3


def test_several_losses_a_row_give_several_curves():
    (start, end), batch = ends(6, 8, 3), regression(inputs=6)

    def both(outputs, batch):
        residual = outputs - batch[1]
        return torch.stack([residual.square().sum(-1), residual.abs().sum(-1)])  # (2, B)

    for chunk_size in (1, 3):
        result = interpolate(start, end, data=batch, metric=both, alphas=5, chunk_size=chunk_size)
        assert result.values.shape == (5, 2) and result.min_delta.shape == (2,)
        for k, metric in enumerate((squared_error, lambda z, b: (z - b[1]).abs().sum(-1))):
            alone = interpolate(start, end, data=batch, metric=metric, alphas=5).values
            assert torch.allclose(result.values[:, k], alone, rtol=1e-13)


def state_of(module):
    """All that a measurement could have changed."""
    tensors = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [
        (m.training, len(m._forward_hooks), len(m._forward_pre_hooks), "forward" in vars(m)) for m in module.modules()
    ]
    gradients = [(p.requires_grad, p.grad) for p in module.parameters()]
    return tensors, modes, gradients


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 3])
def test_dropout_is_off_and_both_networks_stay_as_they_are(training, chunk_size):
    pair = [nn.Sequential(*m[:3], nn.Dropout(0.5), m[3]).train(training) for m in ends(WIDE, 8, 3, batchnorm=True)]
    batch, before = regression(), [state_of(m) for m in pair]
    options = {"data": batch, "metric": squared_error, "alphas": 5, "chunk_size": chunk_size}
    for calibration in (None, []):
        first, second = (interpolate(*pair, calibration=calibration, **options).values for _ in range(2))
        assert torch.equal(first, second)
    for model, (tensors, modes, gradients) in zip(pair, before, strict=True):
        after = state_of(model)
        assert all(torch.equal(value, tensors[name]) for name, value in after[0].items())
        assert after[1:] == (modes, gradients)


# ---- what a path may run between


class Wrapped(nn.Module):
    """As a LightningModule holds a network."""

    def __init__(self, net):
        super().__init__()
        self.network = net

    def forward(self, x):
        return self.network(x)


def test_modules_state_dicts_and_checkpoints_are_one(tmp_path):
    (start, end), batch = ends(6, 8, 3, batchnorm=True), regression(inputs=6)
    options = {"data": batch, "metric": squared_error, "alphas": 5}
    expected = interpolate(start, end, **options).values
    torch.save({"state_dict": Wrapped(end).state_dict(), "epoch": 3}, tmp_path / "last.ckpt")
    loaded = torch.load(tmp_path / "last.ckpt", weights_only=True)
    fresh = network(6, 8, 3, seed=5, batchnorm=True)
    for first, last, model in [
        (start.state_dict(), end.state_dict(), fresh),
        (snapshot(start), loaded, fresh),
        (snapshot(start), end, None),
        (start, loaded["state_dict"], None),
        (Wrapped(start), Wrapped(end), fresh),
        (Wrapped(start), Wrapped(end), None),
        (start, Wrapped(end), fresh),
    ]:
        assert torch.equal(interpolate(first, last, model=model, **options).values, expected)


@pytest.mark.parametrize("chunk_size", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_checkpoint_of_another_precision_is_read_as_the_models(chunk_size, dtype):
    (start, end), batch = ends(6, 8, 3, dtype=torch.float32), regression(inputs=6, dtype=torch.float32)
    other = {name: value.to(dtype) for name, value in end.state_dict().items()}
    rounded = copy.deepcopy(end)
    rounded.load_state_dict(other)
    options = {"data": batch, "metric": squared_error, "alphas": 5, "chunk_size": chunk_size}
    expected = interpolate(start, rounded, **options).values
    for first, last, curve in [(start, other, expected), (other, start, expected.flip(0))]:
        found = interpolate(first, last, model=start, **options).values
        assert torch.allclose(found, curve, rtol=1e-6)  # a line walked backwards rounds differently


class Product(nn.Module):
    """Takes two inputs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, x, z):
        return self.first(x) * self.second(z)


def test_two_inputs_reach_a_model_that_takes_two():
    start, end = Product().double(), Product().double()
    x, z, y = (regression(outputs=k)[1] for k in (4, 5, 3))
    with torch.no_grad():
        expected = [(at(start, end, a)(x, z) - y).square().sum(1).mean() for a in (0, 0.5, 1)]
    for chunk_size in (1, 2):
        result = interpolate(
            start, end, data=(x, z, y), metric=lambda out, batch: (out - batch[2]).square().sum(1), alphas=3,
            inputs=lambda batch: (batch[0], batch[1]), chunk_size=chunk_size,
        )  # fmt: skip
        assert result.values.tolist() == pytest.approx([float(e) for e in expected], rel=1e-12)


def test_a_dict_batch_needs_to_be_told_what_the_model_takes():
    (start, end), (x, y) = ends(6, 8, 3), regression(inputs=6)
    options = {"metric": lambda z, batch: (z - batch["y"]).square().sum(1), "alphas": 3}
    with pytest.raises(ValueError, match=r"what of a dict batch does the model take\? Pass inputs="):
        interpolate(start, end, data={"x": x, "y": y}, **options)
    result = interpolate(start, end, data={"x": x, "y": y}, inputs=lambda batch: batch["x"], **options)
    assert torch.equal(result.values, interpolate(start, end, data=(x, y), metric=squared_error, alphas=3).values)


def test_an_autoencoder_is_measured_against_its_inputs():
    start, end = network(12, 4, 12), network(12, 4, 12, seed=1)
    start, end = nn.Sequential(nn.Flatten(), start), nn.Sequential(nn.Flatten(), end)
    pictures = torch.rand(10, 1, 3, 4, dtype=torch.float64)
    for data in ((pictures, torch.zeros(10)), [(pictures,)]):
        result = interpolate(start, end, data=data, metric=reconstruction_error, alphas=3)
        with torch.no_grad():
            expected = [(at(start, end, a)(pictures) - pictures.flatten(1)).square().sum(1).mean() for a in (0, 0.5, 1)]
        assert result.values.tolist() == pytest.approx([float(e) for e in expected], rel=1e-12)


@pytest.mark.parametrize("build", [LSTMLanguageModel, TransformerLanguageModel])
def test_language_models_with_a_tied_embedding_move_as_one_parameter(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start, end = (build(11, width=6, layers=1, dropout=0.3, tied=True).double() for _ in "ab")
    words = torch.randint(11, (4, 8), generator=torch.Generator().manual_seed(0))
    batch = (words[:, :-1], words[:, 1:])
    expected = by_hand(start, end, batch, next_token_nll, [0, 0.25, 0.5, 0.75, 1])
    for first, last, model in [(start, end, None), (start.state_dict(), end.state_dict(), end)]:
        result = interpolate(first, last, model=model, data=batch, metric=next_token_nll, alphas=5)
        assert torch.allclose(result.values, expected, rtol=1e-12)


def test_an_objective_calls_the_model_as_it_likes():
    (start, end), (x, y) = ends(6, 8, 3), regression(inputs=6)

    def consistency(model, batch):
        return (model(batch[0]) - model(-batch[0])).square().sum(1)

    for options in ({}, {"chunk_size": 2}):
        result = interpolate_objective(start, end, consistency, data=(x, y), alphas=3, **options)
        with torch.no_grad():
            expected = [consistency(at(start, end, a), (x, y)).mean() for a in (0, 0.5, 1)]
        assert result.values.tolist() == pytest.approx([float(e) for e in expected], rel=1e-12)


def test_an_objective_may_use_the_parts_and_methods_of_its_module():
    """As a training step does."""
    (start, end), batch = ends(6, 8, 3), regression(inputs=6)

    def by_parts(model, batch):
        return squared_error(model.network[2](model.network[1](model.network[0](batch[0]))), batch)

    result = interpolate_objective(Wrapped(start), Wrapped(end), by_parts, data=batch, alphas=5)
    expected = interpolate(start, end, data=batch, metric=squared_error, alphas=5).values
    assert torch.allclose(result.values, expected, rtol=1e-12)


# ---- what theory says of the path


def test_linear_regression_at_its_optimum_falls_from_anywhere():
    """A convex loss at its minimum; the rise that remains is rounding at the flat end."""
    x, y = regression(50, 6)
    optimum = torch.linalg.lstsq(torch.cat([x, torch.ones(50, 1).double()], 1), y).solution.T
    end = network(6, 3)
    with torch.no_grad():
        end[0].weight.copy_(optimum[:, :-1]), end[0].bias.copy_(optimum[:, -1])
    for seed in range(5):
        result = interpolate(network(6, 3, seed=seed), end, data=(x, y), metric=squared_error)
        assert float(result.min_delta) < 1e-14 and not result.diverged
        assert float(min_delta(-result.values)) > 0.1  # it falls
        assert result.is_monotonic(1e-14) and not result.is_monotonic(-1)


def test_permuting_hidden_units_of_the_end_keeps_its_loss_and_changes_the_path():
    (start, end), batch = ends(6, 8, 3), regression(inputs=6)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    turned = {name: value.clone() for name, value in end.state_dict().items()}
    turned["0.weight"], turned["0.bias"] = turned["0.weight"][order], turned["0.bias"][order]
    turned["2.weight"] = turned["2.weight"][:, order]
    plain, permuted = (interpolate(start, e, data=batch, metric=squared_error, model=end).values for e in (end, turned))
    assert torch.allclose(plain[[0, -1]], permuted[[0, -1]], rtol=1e-12)
    assert (plain - permuted)[1:-1].abs().max() > 0.05


def test_a_result_knows_its_bumps_its_barrier_and_that_it_diverged():
    start, end = network(1, 1), network(1, 1)
    with torch.no_grad():
        for model, value in ((start, 1.0), (end, -2.0)):
            model[0].weight.zero_(), model[0].bias.fill_(value)
    data = (torch.zeros(4, 1).double(), torch.zeros(4, 1).double())
    result = interpolate(start, end, data=data, metric=squared_error, alphas=[0, 0.25, 0.5, 1])  # 1, 1/16, 1/4, 4
    (bump,) = result.bumps
    assert bump == (0.25, 1.0, 1.0, 3.9375)
    assert float(result.min_delta) == 3.9375 and float(result.barrier) == 0
    diverged = interpolate(start, end, data=data, metric=lambda z, b: z.log().sum(1), alphas=3)  # log of -1/2
    assert bool(diverged.diverged) and diverged.min_delta.isnan()
    with pytest.raises(ValueError, match="neither monotonic nor not"):
        diverged.is_monotonic()


def test_pairs_are_all_pairs_each_from_the_lower_to_the_higher():
    models, batch = [network(6, 8, 3, seed=seed) for seed in range(3)], regression(inputs=6)
    results = interpolate_pairs(models, data=batch, metric=squared_error, alphas=5)
    assert list(results) == [(0, 1), (0, 2), (1, 2)]
    for (i, j), result in results.items():
        assert torch.equal(
            result.values, interpolate(models[i], models[j], data=batch, metric=squared_error, alphas=5).values
        )
    with pytest.raises(ValueError, match="at least two networks, got 1"):
        interpolate_pairs(models[:1], data=batch, metric=squared_error)


def test_layers_move_one_at_a_time_and_all_end_at_the_trained_loss():
    (start, end), batch = ends(6, 8, 7, 3), regression(inputs=6)
    end[2].load_state_dict(start[2].state_dict())  # training did not move it
    results = interpolate_layers(start, end, data=batch, metric=squared_error, alphas=5)
    assert list(results) == ["0", "4"]
    trained = interpolate(start, end, data=batch, metric=squared_error, alphas=5).values[-1]
    for name, result in results.items():
        mixed = copy.deepcopy(end)
        mixed.get_submodule(name).load_state_dict(start.get_submodule(name).state_dict())
        with torch.no_grad():
            first = squared_error(mixed(batch[0]), batch).mean()
        assert float(result.values[0]) == pytest.approx(float(first), rel=1e-12)
        assert float(result.values[-1]) == pytest.approx(float(trained), rel=1e-14)


# ---- what is refused


def with_nan(model):
    with torch.no_grad():
        model[2].weight[1, 1] = torch.nan
    return model


class Embedded(nn.Module):
    """Integers only."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(3))


SMALL = network(6, 8, 3)
OTHER = network(6, 8, 3, seed=1)
DEEPER = network(6, 8, 3, 3)
NARROWER = network(6, 7, 3)


@pytest.mark.parametrize(
    ("start", "end", "options", "said"),
    [
        (SMALL, DEEPER, {}, r"an end point lacks 4.weight, 4.bias of the model; it holds 0.weight, 0.bias, 2.weight"),
        (DEEPER, SMALL, {}, r"different architectures: the model has no 4.weight, 4.bias"),
        (NARROWER, SMALL, {}, r"different architectures: 0.weight is \(7, 6\), in the model \(8, 6\)"),
        (SMALL.state_dict(), OTHER.state_dict(), {"model": NARROWER}, r"0.weight is \(8, 6\), in the model \(7, 6\)"),
        (SMALL.state_dict(), OTHER.state_dict(), {"model": DEEPER}, "lacks 4.weight, 4.bias"),
        (SMALL.state_dict(), DEEPER.state_dict(), {"model": SMALL}, "the model has no 4.weight, 4.bias"),
        ({}, SMALL, {}, "lacks 0.weight, 0.bias, 2.weight, 2.bias of the model; it holds nothing"),
        (
            nn.ModuleDict({"a": SMALL, "b": SMALL}).state_dict(),
            OTHER,
            {},
            "several networks .* under a., b.: hand over",
        ),
        (SMALL.state_dict(), OTHER.state_dict(), {}, "both ends are state dicts: pass model="),
        ({"state_dict": [1.0]}, SMALL, {}, "expected a module or a state dict of tensors"),
        ("last.ckpt", SMALL, {}, "expected a module or a state dict of tensors; hand over"),
        ({"0.weight": 1.0}, SMALL, {}, "expected a module or a state dict of tensors"),
        (with_nan(network(6, 8, 3)), SMALL, {}, "2.weight holds NaN or infinite values: that network diverged"),
        (SMALL, SMALL, {}, "start and end are the same weights"),
        (SMALL, SMALL.state_dict(), {}, "start and end are the same weights"),
        (Embedded(), Embedded(), {}, "the model has no floating-point parameters"),
        (SMALL, OTHER, {"alphas": 1}, "at least two points, its ends; got alphas=1"),
        (SMALL, OTHER, {"alphas": [0.5]}, r"at least two rising finite numbers, got \[0.5\]"),
        (SMALL, OTHER, {"alphas": [0, 0.5, 0.5, 1]}, "at least two rising finite numbers"),
        (SMALL, OTHER, {"alphas": [1.0, 0.0]}, r"at least two rising finite numbers, got \[1.0, 0.0\]"),
        (SMALL, OTHER, {"alphas": [0, float("nan"), 1]}, "at least two rising finite numbers"),
        (SMALL, OTHER, {"alphas": [0, float("inf")]}, "at least two rising finite numbers"),
        (SMALL, OTHER, {"data": []}, "data set 0 has no batches"),
        (SMALL, OTHER, {"held_out": iter(())}, "data set 1 has no batches"),
        (SMALL, OTHER, {"data": 3}, "data must be a batch or an iterable of batches, got int"),
        (SMALL, OTHER, {"data": "digits"}, "data must be a batch or an iterable of batches, got str"),
        (SMALL, OTHER, {"data": [[]]}, "what of a list batch does the model take"),
        (SMALL, OTHER, {"chunk_size": 0}, "chunk_size must be 'auto' or at least 1, got 0"),
        (SMALL, OTHER, {"chunk_size": "all"}, "chunk_size must be 'auto' or at least 1, got 'all'"),
        (SMALL, OTHER, {"chunk_size": 2.0}, "chunk_size must be 'auto' or at least 1, got 2.0"),
    ],
)
def test_what_is_no_path_is_refused(start, end, options, said):
    with pytest.raises(ValueError, match=said):
        interpolate(start, end, **{"data": regression(inputs=6), "metric": squared_error, **options})


def test_a_metric_that_is_no_tensor_is_refused():
    with pytest.raises(
        ValueError, match=r"the metric must return a tensor of losses \(..., B\) or their mean, got 0.5"
    ):
        interpolate(SMALL, OTHER, data=regression(inputs=6), metric=lambda z, batch: 0.5, chunk_size=1)


def test_a_scalar_metric_needs_a_batch_with_rows_to_weigh_it():
    options = {"metric": lambda z, batch: z.mean(), "inputs": lambda batch: torch.ones(2, 6).double(), "alphas": 3}
    for batch in ("nothing here", {"scale": torch.tensor(2.0)}, {"x": torch.zeros(0, 6)}):
        with pytest.raises(ValueError, match=f"a batch needs a tensor with rows, got {type(batch).__name__}"):
            interpolate(SMALL, OTHER, data=[batch], chunk_size=1, **options)


def test_identical_ends_are_refused_layer_by_layer_too():
    with pytest.raises(ValueError, match="start and end are the same weights"):
        interpolate_layers(SMALL, copy.deepcopy(SMALL), data=regression(inputs=6), metric=cross_entropy)


def test_state_dicts_alone_are_compared_with_each_other():
    with pytest.raises(ValueError, match=r"only one of them has 4\.bias, 4\.weight"):
        matching_states(SMALL, DEEPER)
    with pytest.raises(ValueError, match=r"0.weight is \(8, 6\) in one and \(7, 6\) in the other"):
        matching_states(SMALL, NARROWER)
    with pytest.raises(ValueError, match="the module has no floating-point parameters"):
        parameters_of(Embedded())
    with pytest.raises(ValueError, match="the state dict has no floating-point parameters"):
        parameters_of({})
