"""Fully connected classifiers and autoencoders, the networks of the paper's MNIST and Fashion-MNIST experiments."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class MLP(nn.Module):
    """Linear, [BatchNorm1d], activation; as often as `hidden` says; then a last Linear. PyTorch's initialisation.

    Args:
        inputs: numbers in one flattened example.
        hidden: widths of the hidden layers; empty makes a linear model.
        outputs: k.
        activation: `relu`, `sigmoid` or `tanh`.
        batchnorm: normalise every hidden pre-activation.
        init_scale: factor on the initial weight matrices (biases and BatchNorm are left as they are).
    Raises:
        ValueError: a width below 1, an unknown activation, or an init_scale that is not positive.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        activation: str = "relu",
        batchnorm: bool = False,
        init_scale: float = 1.0,
    ):
        super().__init__()
        widths = [inputs, *hidden, outputs]
        if min(widths) < 1:
            raise ValueError(f"widths must be >= 1, got {inputs} inputs, hidden {list(hidden)}, {outputs} outputs")
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}, choose from {', '.join(ACTIVATIONS)}")
        if not init_scale > 0:
            raise ValueError(f"init_scale must be positive, got {init_scale}")
        layers: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            normalisation = [nn.BatchNorm1d(after)] if batchnorm else []
            layers += [nn.Linear(before, after), *normalisation, ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-2], outputs))
        scale_weights(self, init_scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, ...) -> (B, k); examples are flattened."""
        return self.layers(inputs.flatten(1))


class MLPAutoencoder(MLP):
    """inputs-512-h-512-inputs with a linear output; every hidden layer, the bottleneck too, has the activation.

    Args:
        inputs: pixels in one image.
        hidden: width of the first and third hidden layer.
        bottleneck: h, the width of the code; the paper takes 100, 50, 25, 10, 5, 2, 1.
        activation, batchnorm, init_scale: see `MLP`.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int = 512,
        bottleneck: int = 50,
        activation: str = "relu",
        batchnorm: bool = False,
        init_scale: float = 1.0,
    ):
        super().__init__(inputs, (hidden, bottleneck, hidden), inputs, activation, batchnorm, init_scale)


def scale_weights(model: nn.Module, factor: float) -> None:
    """Multiply the weight matrices of all Linear layers by `factor`, in place."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(factor)
