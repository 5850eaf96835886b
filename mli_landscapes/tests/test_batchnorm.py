"""Batch-norm statistics belong to one set of weights: at every point of a path they are those of that point."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from conftest import network
from mli_landscapes import (
    NetworkStack,
    batchnorm_statistics,
    interpolate,
    recalibrate_batchnorm,
    snapshot,
    squared_error,
)


def batch_of(rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(rows, k, generator=generator, dtype=torch.float64) for k in (4, 2))
    return 3 * x + 1, y


def normalised(seed, *, trained_statistics=True):
    """Two batch-norm layers, with affine parameters that are not 1 and 0, and running statistics from training."""
    model = network(4, 6, 5, 2, seed=seed, batchnorm=True)
    generator = torch.Generator().manual_seed(seed)
    for layer in layers_of(model):
        for parameter in layer.parameters():
            parameter.data = torch.randn(len(parameter), generator=generator, dtype=torch.float64)
    if trained_statistics:
        model.train()
        for k in range(3):
            model(batch_of(seed=10 * seed + k)[0])
    return model


def layers_of(model):
    return [m for m in model.modules() if isinstance(m, _BatchNorm)]


@torch.no_grad()
def loss_with_own_statistics(model, batch):
    """By hand. Training normalises by the biased variance, and keeps the unbiased one to normalise by afterwards."""
    values = training = batch[0]
    for layer in model:
        if isinstance(layer, nn.BatchNorm1d):
            mean, biased, unbiased = training.mean(0), training.var(0, correction=0), training.var(0, correction=1)
            training = (training - mean) / (biased + layer.eps).sqrt() * layer.weight + layer.bias
            values = (values - mean) / (unbiased + layer.eps).sqrt() * layer.weight + layer.bias
        else:
            values, training = layer(values), layer(training)
    return float(squared_error(values, batch).mean())


def moved(start, end, alpha):
    model = copy.deepcopy(end)
    with torch.no_grad():
        for p, a, b in zip(model.parameters(), start.parameters(), end.parameters(), strict=True):
            p.copy_((1 - alpha) * a + alpha * b)
    return model


@torch.no_grad()
def plain_loss(model, batch):
    return float(squared_error(copy.deepcopy(model).eval()(batch[0]), batch).mean())


def test_at_every_point_the_loss_is_that_of_the_network_with_statistics_of_its_own():
    """As a forward pass by hand, and as a network recalibrated in place; at α = 0 and 1 those are the plain ones."""
    start, end, batch = normalised(0), normalised(1), batch_of()
    result = interpolate(start, end, data=batch, metric=squared_error, alphas=5)
    for alpha, value in zip(result.alphas.tolist(), result.values.tolist(), strict=True):
        model = moved(start, end, alpha)
        assert value == pytest.approx(loss_with_own_statistics(model, batch), rel=1e-12)
        recalibrate_batchnorm(model, [batch])
        assert value == pytest.approx(plain_loss(model, batch), rel=1e-12)
    for value, model in zip(result.values[[0, -1]].tolist(), (start, end), strict=True):
        plain = copy.deepcopy(model)
        recalibrate_batchnorm(plain, [batch])
        assert value == pytest.approx(plain_loss(plain, batch), rel=1e-14)


def test_interpolated_or_stale_statistics_would_give_another_curve():
    """Weights before batch norm grow from 1 to 3, which changes nothing: half-way they are 2 and the deviation is 2.

    The mean variance of the ends is 5, the last one 9: outputs would shrink to 2/√5 and 2/3 of what they are.
    """

    def scaled(weight, rows):
        model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, eps=1e-15)).double()
        model[0].weight.data.fill_(weight)
        recalibrate_batchnorm(model, [rows])
        return model

    x = torch.tensor([[-1.0], [1.0]] * 4, dtype=torch.float64)
    start, end, batch = scaled(1.0, x), scaled(3.0, x), (x, x * (7 / 8) ** 0.5)  # unbiased variance: 8/7 w²
    options = {"data": batch, "metric": squared_error, "alphas": 3}
    assert interpolate(start, end, **options).values.tolist() == pytest.approx([0, 0, 0], abs=1e-30)
    stale = interpolate(start, end, calibration=[], **options).values
    assert stale.tolist() == pytest.approx([7 / 8 * (2 / 3) ** 2, 7 / 8 * (1 / 3) ** 2, 0])
    middle = moved(start, end, 0.5)
    middle[1].running_var = (start[1].running_var + end[1].running_var) / 2
    assert plain_loss(middle, batch) == pytest.approx(7 / 8 * (1 - 2 / 5**0.5) ** 2)


def test_one_batch_gives_the_exact_statistics_of_its_rows():
    """Mean, and the unbiased variance that torch keeps, of what enters every layer."""
    model, (x, _) = normalised(0), batch_of()
    statistics = batchnorm_statistics(model, [x])
    hidden = model[0](x)
    assert torch.allclose(statistics["1.running_mean"], hidden.mean(0), rtol=1e-13)
    assert torch.allclose(statistics["1.running_var"], hidden.var(0, correction=1), rtol=1e-13)
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt() * model[1].weight + model[1].bias
    hidden = model[3](model[2](hidden))
    assert torch.allclose(statistics["4.running_mean"], hidden.mean(0), rtol=1e-12)
    assert torch.allclose(statistics["4.running_var"], hidden.var(0, correction=1), rtol=1e-12)
    assert sorted(statistics) == [f"{i}.{name}" for i in (1, 4) for name in
                                  ("num_batches_tracked", "running_mean", "running_var")]  # fmt: skip


def test_unequal_batches_give_the_mean_of_their_statistics_weighted_by_rows():
    model, (x, _) = normalised(0), batch_of(50)
    parts = x.split([20, 20, 10])
    statistics = batchnorm_statistics(model, parts)
    alone = [batchnorm_statistics(model, [part]) for part in parts]
    for name in ("1.running_mean", "1.running_var", "4.running_mean", "4.running_var"):
        weighted = sum(share * one[name] for share, one in zip((0.4, 0.4, 0.2), alone, strict=True))
        assert torch.allclose(statistics[name], weighted, rtol=1e-12)
    assert torch.allclose(statistics["1.running_mean"], model[0](x).mean(0), rtol=1e-12)  # before any normalisation


def test_equal_batches_give_what_torch_averages_without_momentum():
    model, (x, _) = normalised(0), batch_of(60)
    reference = copy.deepcopy(model).train()
    for layer in layers_of(reference):
        layer.momentum = None
        layer.reset_running_stats()
    for part in x.split(20):
        reference(part)
    for name, value in batchnorm_statistics(model, x.split(20)).items():
        assert torch.allclose(value, reference.state_dict()[name], rtol=1e-12)


def bits_of(model):
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        [(m.training, getattr(m, "momentum", None)) for m in model.modules()],
    )


def same_bits(first, second):
    return first[1] == second[1] and all(torch.equal(value, second[0][name]) for name, value in first[0].items())


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_callers_statistics_mode_and_momentum_as_they_are(training):
    start, end, batch = normalised(0).train(training), normalised(1).train(training), batch_of()
    layers_of(end)[0].momentum, layers_of(end)[1].training = 0.37, not training
    before = [bits_of(model) for model in (start, end)]
    batchnorm_statistics(start, [batch])
    batchnorm_statistics(end, [batch])
    interpolate(start, end, data=batch, metric=squared_error, alphas=3)
    interpolate(start, end, data=batch, metric=squared_error, alphas=3, calibration=[])
    assert same_bits(before[0], bits_of(start)) and same_bits(before[1], bits_of(end))
    assert int(layers_of(start)[0].num_batches_tracked) == 3


@pytest.mark.parametrize("training", [True, False])
def test_recalibration_changes_statistics_alone_even_if_the_data_raise(training):
    model = normalised(0).train(training)
    layers_of(model)[0].momentum, layers_of(model)[1].training = 0.37, not training
    parameters, rest = snapshot(model), bits_of(model)[1]
    recalibrate_batchnorm(model, [batch_of(), batch_of(seed=1)])
    assert bits_of(model)[1] == rest
    assert all(torch.equal(p, parameters[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())
    assert [int(layer.num_batches_tracked) for layer in layers_of(model)] == [2, 2]

    def broken():
        yield batch_of()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        recalibrate_batchnorm(model, broken())
    assert bits_of(model)[1] == rest


def test_dropout_stays_off_while_statistics_are_taken():
    model, (x, _) = normalised(0), batch_of()
    dropping = nn.Sequential(nn.Dropout(0.5), *model).train()
    statistics = batchnorm_statistics(dropping, [x])
    recalibrate_batchnorm(dropping, [x])
    assert dropping[0].training
    for name, value in batchnorm_statistics(model, [x]).items():
        layer, statistic = name.split(".")
        moved_on = f"{int(layer) + 1}.{statistic}"
        assert torch.equal(statistics[moved_on], value) and torch.equal(dropping.state_dict()[moved_on], value)


def test_other_batches_may_be_calibrated_on_and_none_keeps_the_models_own():
    start, end, batch, other = normalised(0), normalised(1), batch_of(), batch_of(seed=7)
    options = {"data": batch, "metric": squared_error, "alphas": 3}
    elsewhere = interpolate(start, end, calibration=other, **options).values
    own = interpolate(start, end, calibration=[], **options).values
    for k, alpha in enumerate((0, 0.5, 1)):
        model = moved(start, end, alpha)
        assert float(own[k]) == pytest.approx(plain_loss(model, batch), rel=1e-12)  # those of `end`, the architecture
        recalibrate_batchnorm(model, [other])
        assert float(elsewhere[k]) == pytest.approx(plain_loss(model, batch), rel=1e-12)
    assert (elsewhere - interpolate(start, end, **options).values).abs().min() > 1e-3


def test_held_out_data_are_measured_with_the_statistics_of_the_training_data():
    start, end, batch, other = normalised(0), normalised(1), batch_of(), batch_of(seed=7)
    result = interpolate(start, end, data=batch, held_out=other, metric=squared_error, alphas=3)
    expected = interpolate(start, end, data=other, calibration=batch, metric=squared_error, alphas=3).values
    assert torch.equal(result.held_out, expected)


def test_images_and_two_inputs_are_calibrated_alike():
    class Joined(nn.Module):
        def __init__(self, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.convolution, self.norm, self.last = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 2)

        def forward(self, image, gain):
            return self.last((self.norm(self.convolution(image)).relu().mean((2, 3))) * gain)

    with torch.random.fork_rng():
        start, end = Joined(0).double(), Joined(1).double()
    generator = torch.Generator().manual_seed(0)
    image, gain, y = (torch.randn(*s, generator=generator).double() for s in ((8, 2, 6, 6), (8, 3), (8, 2)))
    result = interpolate(
        start, end, data=(image, gain, y), inputs=lambda b: (b[0], b[1]), alphas=3,
        metric=lambda out, b: (out - b[2]).square().sum(1),
    )  # fmt: skip
    for value, alpha in zip(result.values, (0, 0.5, 1), strict=True):
        model = moved(start, end, alpha)
        with torch.no_grad():
            hidden = model.convolution(image)
            model.norm.running_mean = hidden.mean((0, 2, 3))
            model.norm.running_var = hidden.var((0, 2, 3), correction=1)
            expected = (model.eval()(image, gain) - y).square().sum(1).mean()
        assert float(value) == pytest.approx(float(expected), rel=1e-12)


def test_a_stack_is_each_of_its_networks_alone():
    starts, ends, batches = [normalised(k) for k in (0, 1)], [normalised(k) for k in (2, 3)], [batch_of(), batch_of(9)]
    start, end = NetworkStack(starts), NetworkStack(ends)
    before = bits_of(end)
    together = interpolate(start, end, data=batches, metric=squared_error, alphas=4).values
    assert together.shape == (4, 2) and same_bits(before, bits_of(end))
    statistics = batchnorm_statistics(end, batches)
    for k in (0, 1):
        alone = interpolate(starts[k], ends[k], data=batches, metric=squared_error, alphas=4).values
        assert torch.allclose(together[:, k], alone, rtol=1e-11)
        for name, value in batchnorm_statistics(ends[k], batches).items():
            assert torch.allclose(statistics[f"networks.{name}"][k], value, rtol=1e-11)


def test_layers_without_running_statistics_need_no_calibration():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)).double()
    assert batchnorm_statistics(model, []) == {}
    recalibrate_batchnorm(model, [])


def test_statistics_of_nothing_are_refused():
    with pytest.raises(ValueError, match="batch-norm statistics need at least one batch"):
        batchnorm_statistics(normalised(0), [])
    with pytest.raises(ValueError, match="data set 0 has no batches"):
        interpolate(normalised(0), normalised(1), data=[], metric=squared_error, calibration=batch_of())
    with pytest.raises(ValueError, match="batch-norm statistics need at least one batch"):
        interpolate(normalised(0), normalised(1), data=batch_of(), metric=squared_error, calibration=iter(()))
    with pytest.raises(ValueError, match=r"[Ee]xpected more than 1 value per channel"):  # torch's own words
        batchnorm_statistics(normalised(0), [batch_of(1)])
