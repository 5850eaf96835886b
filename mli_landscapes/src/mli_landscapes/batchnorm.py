"""Batch norm along a path: running statistics belong to one set of weights, so they are estimated anew at each point.

Interpolated or stale statistics distort the curve. The usual warm-up, a pass with momentum 0.1, leaves an average that
depends on the last batches; here the average runs over all of them, each weighted by its rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .batches import first_item, rows_of

Inputs = Callable[[Any], Any]


def batchnorm_modules(model: nn.Module) -> list[_BatchNorm]:
    """The layers that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]


def batchnorm_statistics(model: nn.Module, batches: Iterable, inputs: Inputs = first_item) -> dict[str, Tensor]:
    """Running means and variances of `model` on `batches`, by buffer name; the model stays as it is, to the bit.

    Args:
        model: any module. Dropout and the like stay off while statistics are taken.
        batches: training data without augmentation. One batch of all rows gives the exact population statistics;
            several give the mean of their statistics weighted by rows (a batch does not know the others' means).
        inputs: from a batch to the model's argument, or to a tuple of its arguments.
    Raises:
        ValueError: no batch, or one with a single value per channel.
    """
    work = copy.deepcopy(model).eval()
    recalibrate_batchnorm(work, batches, inputs)
    tracked = {id(b) for m in batchnorm_modules(work) for b in (m.running_mean, m.running_var, m.num_batches_tracked)}
    return {name: buffer for name, buffer in work.named_buffers() if id(buffer) in tracked}


@torch.no_grad()
def recalibrate_batchnorm(model: nn.Module, batches: Iterable, inputs: Inputs = first_item) -> None:
    """Replace the running statistics of `model` by those of its present weights; mode and momentum stay.

    Args and Raises: see `batchnorm_statistics`.
    """
    layers = batchnorm_modules(model)
    if not layers:
        return
    seen = 0
    with collecting(model, layers):
        for batch in batches:
            rows = rows_of(batch)
            seen += rows
            for layer in layers:
                layer.momentum = rows / seen
            call(model, inputs(batch))
    if not seen:
        raise ValueError("batch-norm statistics need at least one batch")


@contextmanager
def collecting(model: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    """Statistics reset and batch-norm layers alone in training mode; all modes and momenta as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    momenta = {layer: layer.momentum for layer in layers}
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    try:
        yield
    finally:
        for layer, momentum in momenta.items():
            layer.momentum = momentum
        for module, training in modes.items():
            module.training = training


def call(model: Callable, arguments: Any) -> Any:
    """The model's output; a tuple of arguments is spread."""
    return model(*arguments) if isinstance(arguments, tuple) else model(arguments)
