"""A model zoo: hundreds of small classifiers of one architecture, trained as one stack with settings of their own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from .networks.families import FAMILIES

TRAIN_IMAGES = 1000  # of 1797; the rest measures accuracy


@dataclass(frozen=True)
class Recipe:
    """Ranges that every net draws its own settings from.

    rate: learning rates, log-uniform. steps: budget of updates. noise: share of wrong labels at most, of half the nets.
    images: how many training images it sees. gain: of the initial weights.
    """

    rate: tuple[float, float] = (2e-3, 8e-2)
    steps: tuple[int, int] = (30, 250)
    noise: float = 0.7
    images: tuple[int, int] = (100, 1000)
    gain: tuple[float, float] = (0.5, 1.5)
    decay: tuple[float, float] = (1e-5, 1e-2)
    batch: int = 32


@dataclass(frozen=True, eq=False)
class TrainedNets:
    """Nets of one family and width. state: stacked parameters, (n, *shape) each. accuracy: on held-out images, (n,)."""

    family: str
    width: int
    state: dict[str, Tensor]
    accuracy: Tensor


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: images (1797, 8, 8) in [0, 1] in a fixed random order, and labels (1797,)."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.images, dtype=torch.float32)[order] / 16
    return images, torch.tensor(data.target)[order]


def train_nets(family: str, width: int, count: int, recipe: Recipe, seed: int) -> TrainedNets:
    """`count` nets of one architecture, each with its own learning rate, labels, images, gain and number of steps.

    Raises:
        ValueError: an unknown family, or no nets.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}, choose from {', '.join(FAMILIES)}")
    if count < 1:
        raise ValueError(f"at least one network expected, got {count}")
    kind = FAMILIES[family]
    generator = torch.Generator().manual_seed(seed)
    images, labels = digits()
    inputs = kind.read(images)
    noisy, seen = _corrupted_labels(labels[:TRAIN_IMAGES], count, recipe, generator)
    state = _initial_state(kind.build, width, count, recipe, seed, generator)
    rate = kind.rate * _log_uniform(recipe.rate, count, generator)
    decay = _log_uniform(recipe.decay, count, generator)
    low, high = recipe.steps
    budget = torch.randint(low, high + 1, (count,), generator=generator)
    template = kind.build(width)
    gradient = vmap(grad(_loss(template)))
    first, second = ({k: torch.zeros_like(v) for k, v in state.items()} for _ in range(2))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*performance drop.*")
        for step in range(int(budget.max())):
            rows = (torch.rand(count, recipe.batch, generator=generator) * seen[:, None]).long()  # (n, batch)
            gradients = gradient(state, inputs[rows], noisy.gather(1, rows))
            left = (1 - step / budget).clamp(min=0)  # rates fall to zero over each net's own budget
            _adam(state, gradients, first, second, step, rate * left, decay)
        accuracy = _accuracies(template, state, inputs[TRAIN_IMAGES:], labels[TRAIN_IMAGES:])
    return TrainedNets(family, width, {k: v.detach() for k, v in state.items()}, accuracy)


def _loss(template: nn.Module):
    def loss(state, x, y):
        return F.cross_entropy(functional_call(template, state, (x,)), y)

    return loss


def _corrupted_labels(labels: Tensor, count: int, recipe: Recipe, generator) -> tuple[Tensor, Tensor]:
    """(n, images) labels, some of them wrong for half the nets, and how many images each net sees, (n,)."""
    share = recipe.noise * torch.rand(count, generator=generator) * (torch.rand(count, generator=generator) < 0.5)
    wrong = torch.rand(count, len(labels), generator=generator) < share[:, None]
    random = torch.randint(0, 10, (count, len(labels)), generator=generator)
    low, high = (min(n, len(labels)) for n in recipe.images)
    seen = _log_uniform((low, high), count, generator).long()
    return torch.where(wrong, random, labels), seen


def _initial_state(build, width: int, count: int, recipe: Recipe, seed: int, generator) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parameters, _ = stack_module_state([build(width) for _ in range(count)])
    low, high = recipe.gain
    gain = low + (high - low) * torch.rand(count, generator=generator)
    shaped = {k: gain.view(-1, *[1] * (v.ndim - 1)) for k, v in parameters.items()}
    is_weight = {k: v.ndim > 2 for k, v in parameters.items()}  # norms and biases start as they always do
    return {k: (v.detach() * shaped[k] if is_weight[k] else v.detach().clone()) for k, v in parameters.items()}


def _log_uniform(bounds: tuple[float, float], count: int, generator) -> Tensor:
    low, high = torch.tensor(bounds, dtype=torch.float32).log()
    return (low + (high - low) * torch.rand(count, generator=generator)).exp()


def _adam(state, gradients, first, second, step: int, rate: Tensor, decay: Tensor) -> None:
    """One step of AdamW with a learning rate per net; rate 0 leaves a net as it is."""
    for name, value in state.items():
        shape = (-1, *[1] * (value.ndim - 1))
        first[name].lerp_(gradients[name], 0.1)
        second[name].lerp_(gradients[name].square(), 0.001)
        mean, square = first[name] / (1 - 0.9 ** (step + 1)), second[name] / (1 - 0.999 ** (step + 1))
        value.sub_(rate.view(shape) * (mean / (square.sqrt() + 1e-8) + decay.view(shape) * value))


def _accuracies(template: nn.Module, state: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        outputs = vmap(lambda s: functional_call(template, s, (inputs,)))(state)
    return (outputs.argmax(-1) == labels).float().mean(1)
