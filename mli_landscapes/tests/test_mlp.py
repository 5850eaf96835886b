"""Fully connected networks have the layers, sizes and initial scales that they are said to have."""

import pytest
import torch
from torch import nn

from mli_landscapes.losses import reconstruction_error
from mli_landscapes.mlp import MLP, MLPAutoencoder


def kinds(model: MLP) -> list[type]:
    return [type(layer) for layer in model.layers]


@pytest.mark.parametrize("name, activation", [("relu", nn.ReLU), ("sigmoid", nn.Sigmoid), ("tanh", nn.Tanh)])
def test_layers_are_linear_then_activation_and_a_last_linear(name, activation):
    model = MLP(6, [5, 4], 3, activation=name)
    assert kinds(model) == [nn.Linear, activation, nn.Linear, activation, nn.Linear]
    assert [tuple(p.shape) for p in model.parameters() if p.ndim == 2] == [(5, 6), (4, 5), (3, 4)]


def test_batchnorm_comes_before_every_activation_but_not_after_the_output():
    normalised = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert kinds(MLP(6, [5, 4], 3, batchnorm=True)) == [*normalised, *normalised, nn.Linear]


def test_images_are_flattened_and_no_hidden_layer_is_a_linear_model():
    model, images = MLP(12, [], 2), torch.randn(7, 3, 2, 2)
    weight, bias = model.parameters()
    assert torch.allclose(model(images), images.reshape(7, 12) @ weight.mT + bias, atol=1e-6)


def test_initial_scale_multiplies_weight_matrices_alone():
    torch.manual_seed(0)
    plain = MLP(6, [5], 3, batchnorm=True)
    torch.manual_seed(0)
    scaled = MLP(6, [5], 3, batchnorm=True, init_scale=3.0)
    for before, after in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert torch.equal(after, before * 3.0 if before.ndim == 2 else before)


def test_the_autoencoder_is_512_h_512_and_returns_as_many_pixels_as_it_got():
    model = MLPAutoencoder(784, bottleneck=10)
    widths = [tuple(layer.weight.shape) for layer in model.layers if isinstance(layer, nn.Linear)]
    assert widths == [(512, 784), (10, 512), (512, 10), (784, 512)]
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 784)


def test_the_reconstruction_error_is_the_squared_error_summed_over_pixels():
    images = torch.zeros(2, 1, 3, 5)
    output = torch.stack([torch.ones(15), torch.full((15,), 2.0)])
    assert reconstruction_error(output, (images,)).tolist() == [15.0, 60.0]


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: MLP(4, [3, 0], 2), r"widths must be >= 1, got 4 inputs, hidden \[3, 0\], 2 outputs"),
        (lambda: MLP(4, [3], 2, activation="gelu"), "unknown activation 'gelu', choose from relu, sigmoid, tanh"),
        (lambda: MLP(4, [3], 2, init_scale=0.0), "init_scale must be positive, got 0.0"),
        (lambda: MLP(4, [3], 2, init_scale=float("nan")), "init_scale must be positive, got nan"),
    ],
)
def test_networks_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
