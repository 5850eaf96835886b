"""Projection heads: what the losses see during training, and what is thrown away before the readout."""

from __future__ import annotations

from torch import nn


def mlp(inputs: int, hidden: int, outputs: int, hidden_layers: int = 2, batchnorm: bool = False) -> nn.Sequential:
    """`hidden_layers` times linear (batch norm) ReLU, then linear; the paper's MLP1 and MLP2 are 512-512-128.

    No hidden layer and equal sizes give the identity: there is no head then.
    """
    if hidden_layers == 0 and outputs == inputs:
        return nn.Sequential()
    layers: list[nn.Module] = []
    for _ in range(hidden_layers):
        layers += [nn.Linear(inputs, hidden, bias=not batchnorm)]
        layers += [nn.BatchNorm1d(hidden)] if batchnorm else []
        layers += [nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
