"""Losses of one model at many linear combinations of states: lines, planes and rays are all this.

θ_p = Σ_i w_{p,i} θ_i for every point p. The work is P forward passes over the data, and three things make them cheaper
without changing what is computed:

- one working copy of the model, whose parameters are overwritten in place: memory for one extra set of parameters;
- every batch is fetched and moved once for all points, unless batch-norm statistics must be estimated point by point;
- a linear or convolution layer whose input does not depend on the parameters (the first, and those behind a frozen
  trunk) has outputs linear in its parameters: computed once a state, combined at each point.

Small models may also be evaluated at many points in one `vmap`; see `wants_vmap`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from .batches import first_item, rows_of, tensors_in, to_device
from .batchnorm import Inputs, batchnorm_modules, call, recalibrate_batchnorm
from .stack import NetworkStack

State = dict[str, Tensor]
Objective = Callable[[Callable, Any], Tensor]  # (model, batch) -> losses (..., B), or their mean

AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
VECTORISED = (nn.Linear, nn.Flatten, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.LayerNorm, nn.Identity)
SHARED_FAN_IN = 64  # below it, combining outputs costs about what the layer itself does
VMAP_WORK = 2**21  # multiplications in a pass, below which the overhead of a pass dominates it
VMAP_CHUNK_BYTES = 2**27


def objective_of(metric: Callable[[Any, Any], Tensor], inputs: Inputs = first_item) -> Objective:
    """Call the model on a batch's inputs and the metric on its output and the batch."""
    return lambda model, batch: metric(call(model, inputs(batch)), batch)


class Mean:
    """The mean of losses over all rows of all batches, in float64."""

    def __init__(self):
        self.total, self.rows = 0.0, 0

    def add(self, losses: Tensor, batch: Any) -> None:
        """Losses (..., B) of a batch, or a scalar that is its mean.

        Raises:
            ValueError: it is no tensor.
        """
        if not isinstance(losses, Tensor):
            raise ValueError(f"the metric must return a tensor of losses (..., B) or their mean, got {losses!r}")
        rows = losses.shape[-1] if losses.ndim else rows_of(batch)
        self.total = self.total + (losses.double().sum(-1) if losses.ndim else losses.double() * rows)
        self.rows += rows

    def value(self) -> Tensor:
        return torch.as_tensor(self.total / self.rows).cpu()


@torch.no_grad()
def evaluate(
    model: nn.Module,
    states: Sequence[State],
    weights: Tensor,
    sets: Sequence[Iterable],
    objective: Objective,
    calibration: Iterable | None = None,
    inputs: Inputs = first_item,
    chunk_size: int | str = "auto",
) -> list[Tensor]:
    """Mean losses at every point, for each data set.

    Args:
        model: left as it is, to the bit; a copy in eval mode is used.
        states: n parameter sets by name, alike in names and shapes.
        weights: w, (P, n).
        sets: data sets, each an iterable of batches that can be repeated.
        objective: `(model, batch) -> losses` (..., B), or a scalar mean.
        calibration: batches on which the statistics of batch norm are estimated at each point; None keeps the model's.
        inputs: from a batch to the model's arguments, for calibration.
        chunk_size: points in one vmap; 1 is a plain loop; `auto` asks `wants_vmap`.
    Returns:
        For each set, (P, ...) in float64 on the CPU.
    Raises:
        ValueError: an empty data set, or a chunk size below 1.
    """
    if chunk_size != "auto" and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise ValueError(f"chunk_size must be 'auto' or at least 1, got {chunk_size!r}")
    work = copy.deepcopy(model).eval()
    own = dict(work.named_parameters())
    states = [{name: value.to(own[name]) for name, value in state.items()} for state in states]
    if calibration is not None and batchnorm_modules(work):
        means = point_by_point(work, states, weights, sets, objective, calibration, inputs)
    else:
        means = batch_by_batch(work, states, weights, sets, objective, chunk_size)
    for number, set_means in enumerate(means):
        if any(not mean.rows for mean in set_means):
            raise ValueError(f"data set {number} has no batches")
    return [torch.stack([mean.value() for mean in set_means]) for set_means in means]


def batch_by_batch(
    work: nn.Module,
    states: Sequence[State],
    weights: Tensor,
    sets: Sequence[Iterable],
    objective: Objective,
    chunk_size: int | str,
) -> list[list[Mean]]:
    """Each batch once, all points on it."""
    means = [[Mean() for _ in weights] for _ in sets]
    device = next(work.parameters()).device
    for set_means, batches in zip(means, sets, strict=True):
        for batch in batches:
            batch = to_device(batch, device)
            size = chunk(work, batch) if chunk_size == "auto" else chunk_size
            if size > 1:
                losses = losses_by_vmap(work, states, weights, batch, objective, size)
                for mean, value in zip(set_means, losses, strict=True):
                    mean.add(value, batch)
                continue
            with shared_layers(work, states, batch, objective) as share:
                for mean, point in zip(set_means, weights, strict=True):
                    move(work, states, point)
                    share(point)
                    mean.add(objective(work, batch), batch)
    return means


def point_by_point(
    work: nn.Module,
    states: Sequence[State],
    weights: Tensor,
    sets: Sequence[Iterable],
    objective: Objective,
    calibration: Iterable,
    inputs: Inputs,
) -> list[list[Mean]]:
    """Each point once: statistics of batch norm first, then all data with them."""
    means = [[Mean() for _ in weights] for _ in sets]
    device = next(work.parameters()).device
    for number, point in enumerate(weights):
        move(work, states, point)
        recalibrate_batchnorm(work, (to_device(batch, device) for batch in calibration), inputs)
        for set_means, batches in zip(means, sets, strict=True):
            for batch in batches:
                batch = to_device(batch, device)
                set_means[number].add(objective(work, batch), batch)
    return means


def move(work: nn.Module, states: Sequence[State], point: Tensor) -> None:
    """Overwrite the parameters of `work` by Σ_i w_i θ_i; exactly θ_i where w is a unit vector."""
    coefficients = point.tolist()
    for name, parameter in work.named_parameters():
        values = [state[name] for state in states if name in state]
        if values:
            combine(values, coefficients, out=parameter)


def combine(values: Sequence[Tensor], coefficients: Sequence[float], out: Tensor | None = None) -> Tensor:
    """Σ_i w_i x_i, into `out` where given."""
    if len(values) == 2 and coefficients[0] + coefficients[1] == 1:
        return torch.lerp(values[0].to(values[1].dtype), values[1], coefficients[1], out=out)
    total = torch.mul(values[0], coefficients[0], out=out)
    for value, coefficient in zip(values[1:], coefficients[1:], strict=True):
        total.add_(value, alpha=coefficient)
    return total


@contextmanager
def shared_layers(
    work: nn.Module, states: Sequence[State], batch: Any, objective: Objective
) -> Iterator[Callable[[Tensor], None]]:
    """Replace layers whose input does not depend on the parameters by combinations of their outputs at the states.

    Yields a function that sets the point to combine for.
    """
    layers = parameter_free_layers(work, states, batch, objective)
    if not layers:
        yield lambda point: None
        return
    outputs: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}
    for i in range(len(states)):
        move(work, states, torch.eye(len(states))[i])
        for layer, held in layers.items():
            outputs[layer].append(layer.forward(held))  # without hooks: they act on what is combined
    current: list[float] = []

    def share(point: Tensor) -> None:
        current[:] = point.tolist()

    def combined(layer: nn.Module, x: Tensor) -> Tensor:
        same = x.is_set_to(layers[layer]) or torch.equal(x, layers[layer])
        return combine(outputs[layer], current) if same else type(layer).forward(layer, x)

    for layer in layers:
        layer.forward = partial(combined, layer)
    try:
        yield share
    finally:
        for layer in layers:
            del layer.forward


def parameter_free_layers(
    work: nn.Module, states: Sequence[State], batch: Any, objective: Objective
) -> dict[nn.Module, Tensor]:
    """Large linear and convolution layers that are called once on the same input wherever the parameters are.

    The input is compared at all states and at a point between them.
    """
    candidates = [m for m in work.modules() if is_affine(m) and fan_in(m) >= SHARED_FAN_IN]
    if not candidates or any(isinstance(m, NetworkStack) for m in work.modules()):
        return {}
    calls: dict[nn.Module, list[Tensor]] = {}

    def record(layer: nn.Module, arguments: tuple) -> None:
        calls.setdefault(layer, []).extend(arguments)

    between = torch.full((1, len(states)), 1 / len(states))
    points = torch.cat([torch.eye(len(states)), between])
    handles = [layer.register_forward_pre_hook(record) for layer in candidates]
    try:
        for point in points:
            move(work, states, point)
            objective(work, batch)
    finally:
        for handle in handles:
            handle.remove()
    return {
        layer: held[0]
        for layer, held in calls.items()
        if len(held) == len(points) and all(torch.equal(held[0], other) for other in held[1:])
    }


def is_affine(layer: nn.Module) -> bool:
    """Whether outputs are linear in the parameters: not where the weight is made of others, as by spectral_norm."""
    return type(layer) in AFFINE and isinstance(layer.weight, nn.Parameter) and "forward" not in vars(layer)


def fan_in(layer: nn.Module) -> int:
    """Multiplications for one output value."""
    return layer.weight[0].numel()


def losses_by_vmap(
    work: nn.Module, states: Sequence[State], weights: Tensor, batch: Any, objective: Objective, size: int
) -> Tensor:
    """Losses at all points, `size` of them in one vmap; (P, ...)."""
    names = [name for name, _ in work.named_parameters() if all(name in state for state in states)]

    def losses(parameters: State) -> Tensor:
        return objective(lambda *inputs: functional_call(work, parameters, inputs), batch)

    found = []
    for points in weights.split(size):
        points = points.tolist()
        chunked = {name: torch.stack([combine([s[name] for s in states], p) for p in points]) for name in names}
        found.append(vmap(losses)(chunked))
    return torch.cat(found)


def chunk(work: nn.Module, batch: Any) -> int:
    """Points to evaluate in one vmap on this batch; 1 is a plain loop."""
    if not wants_vmap(work, batch):
        return 1
    parameters = sum(p.numel() * p.element_size() for p in work.parameters())
    size = max(1, VMAP_CHUNK_BYTES // max(1, parameters))
    return min(64, size)


def wants_vmap(work: nn.Module, batch: Any) -> bool:
    """Whether one vmap over points beats a loop: models of linear layers, and a pass so small that calls dominate it.

    vmap turns convolutions into slow grouped ones and does not know recurrent layers, and on a CPU larger matrix
    products are no faster batched (benchmarks/bench_interpolation.py measures all of it).
    """
    if not all(type(m) in VECTORISED for m in work.modules() if not list(m.children())):
        return False
    rows = max((len(t) for t in tensors_in(batch) if t.ndim), default=0)
    multiplications = rows * sum(p.numel() for p in work.parameters())
    on_cpu = next(work.parameters()).device.type == "cpu"
    return multiplications <= (VMAP_WORK if on_cpu else 64 * VMAP_WORK)
