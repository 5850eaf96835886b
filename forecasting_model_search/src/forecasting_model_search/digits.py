"""A zoo of small networks on scikit-learn's digits, and a hub that fine-tunes them: the embedded default.

Zoo: networks trained upstream with random scale, rate, weight decay, data and length, good and bad. Hub: each
    configuration
takes one of them with a new head and fine-tunes it on 100 other images. Only the weights tell a good start from a bad
one. Hundreds train at once under vmap; order of the data depends on (seed, configuration, epoch) alone, so that one
that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from .checkpoints import CheckpointStore
from .hub import ModelHub
from .space import Categorical, Float, Int, SearchSpace

WIDEST_BATCH = 32
CLASSES = 10
SPACE = SearchSpace(
    {
        "learning_rate": Float(10**-3.0, 10**-0.7, log=True),
        "momentum": Categorical((0.1, 0.5, 0.9)),
        "weight_decay": Float(1e-5, 1e-1, log=True),
        "batch_size": Int(8, 32, log=True),
    }
)


class Images(NamedTuple):
    """Images (n, 64), from -1 to 1, and their digits (n,)."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class DigitsSplit:
    """Disjoint: the zoo's images, those to fine-tune on, those that score, and those to test on."""

    upstream: Images
    target: Images
    val: Images
    test: Images


def split_digits(seed: int, target: int = 100) -> DigitsSplit:
    """A seeded split of the 1,797 digits: 800 upstream, `target` to fine-tune, 547 to score, the rest to test."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    x, y = torch.tensor(images, dtype=torch.float32)[order] / 8 - 1, torch.tensor(labels)[order]
    ends = [0, 800, 800 + target, 800 + target + 547, len(x)]
    parts = [Images(x[a:b], y[a:b]) for a, b in itertools.pairwise(ends)]
    return DigitsSplit(*parts)


def mlp() -> nn.Sequential:
    """64-16-16-10, ReLU."""
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def cnn() -> nn.Sequential:
    """Two convolutions of 8 channels on the 8 x 8 image, mean over places, linear."""
    layers = (nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU())
    layers += (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES))
    return nn.Sequential(*layers)


class DeepSet(nn.Module):
    """Each pixel's value and place through two layers, mean over pixels, linear."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.point, self.hidden, self.head = nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, CLASSES)
        grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 8)] * 2, indexing="ij"), -1).reshape(64, 2)
        self.register_buffer("grid", grid, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        points = torch.stack([x, 0 * x + self.grid[:, 0], 0 * x + self.grid[:, 1]], -1)  # (B, 64, 3)
        return self.head(self.hidden(self.point(points).relu()).relu().mean(1))


ARCHITECTURES = {"mlp": mlp, "cnn": cnn, "deepset": DeepSet}


@dataclass(frozen=True)
class ZooSettings:
    """networks: of each architecture. epochs: the longest training; networks stop anywhere from 0 to it."""

    networks: int = 120
    architectures: tuple[str, ...] = ("mlp",)
    epochs: int = 15
    subsets: tuple[int, ...] = (80, 200, 400, 800)


@dataclass(frozen=True)
class HubSettings:
    """configs: how many. epochs: T."""

    configs: int = 240
    epochs: int = 20


Weights = dict[str, Tensor]


class Orders(NamedTuple):
    """Batches of K trainings for one epoch. index: (steps, K, widest batch). share: alike, the weight of each example
    in the loss, 0 where a batch is smaller or a training already done with its epoch."""

    index: Tensor
    share: Tensor


def epoch_orders(
    sizes: list[int], batches: list[int], seeds: list[tuple[int, ...]], epoch: int, passes: list[int] | None = None
) -> Orders:
    """Each training's own shuffled batches. `sizes`: examples of each; `seeds`: what its order depends on; `passes`:
    how often it goes through its examples in this epoch, once if not given."""
    passes = passes or [1] * len(sizes)
    steps = max(-(-size * p // batch) for size, batch, p in zip(sizes, batches, passes, strict=True))
    widest = max(batches)
    index = np.zeros((steps, len(sizes), widest), dtype=np.int64)
    share = np.zeros((steps, len(sizes), widest), dtype=np.float32)
    for k, (size, batch, seed, p) in enumerate(zip(sizes, batches, seeds, passes, strict=True)):
        random = np.random.default_rng([*seed, epoch])
        order = np.concatenate([random.permutation(size) for _ in range(p)])
        for step in range(-(-len(order) // batch)):
            part = order[step * batch : (step + 1) * batch]
            index[step, k, : len(part)] = part
            share[step, k, : len(part)] = 1 / len(part)
    return Orders(torch.from_numpy(index), torch.from_numpy(share))


class StackedSGD:
    """K networks of one architecture that train by SGD with momentum at once, each with its own data and settings.

    Args:
        network: the architecture. weights: name -> (K, ...). rates, momenta, decays: (K,). momentum: buffers to go on
            with.
    """

    def __init__(self, network: nn.Module, weights: Weights, rates, momenta, decays, momentum: Weights | None = None):
        self.network, self.weights = network, {k: v.clone() for k, v in weights.items()}
        self.settings = [torch.tensor(np.array(s), dtype=torch.float32) for s in (rates, momenta, decays)]
        self.momentum = momentum or {k: torch.zeros_like(v) for k, v in weights.items()}
        self._gradient = vmap(grad(self._loss))
        self._outputs = vmap(self._forward, in_dims=(0, None))

    def _forward(self, weights: Weights, x: Tensor) -> Tensor:
        return functional_call(self.network, weights, (x,))

    def _loss(self, weights: Weights, x: Tensor, y: Tensor, share: Tensor) -> Tensor:
        losses = nn.functional.cross_entropy(self._forward(weights, x), y, reduction="none")
        return (losses * share).sum()

    def epoch(self, images: Images, orders: Orders, active: Tensor | None = None) -> None:
        """Train through an epoch's batches; those that are not `active` (K,) stay as they are."""
        rates, momenta, decays = self.settings
        for index, share in zip(orders.index, orders.share, strict=True):
            moving = share.sum(1) > 0
            moving = moving if active is None else moving & active
            if not bool(moving.any()):
                continue
            gradients = self._gradient(self.weights, images.x[index], images.y[index], share)
            for name, w in self.weights.items():
                shape = (-1,) + (1,) * (w.ndim - 1)
                slope = gradients[name] + decays.view(shape) * w
                buffer = momenta.view(shape) * self.momentum[name] + slope
                chosen = moving.view(shape)
                self.momentum[name] = torch.where(chosen, buffer, self.momentum[name])
                self.weights[name] = torch.where(chosen, w - rates.view(shape) * buffer, w)

    def accuracy(self, images: Images) -> Tensor:
        """(K,), NaN for networks whose outputs are not finite."""
        with torch.no_grad():
            outputs = self._outputs(self.weights, images.x)
        right = (outputs.argmax(-1) == images.y).float().mean(1)
        return torch.where(outputs.isfinite().flatten(1).all(1), right, torch.full_like(right, torch.nan))

    def state(self, k: int) -> Weights:
        return {name: w[k].clone() for name, w in self.weights.items()}


@dataclass(frozen=True)
class Zoo:
    """Trained networks: the architecture's name and weights of each, and its accuracy upstream."""

    architecture: list[str]
    states: list[Weights]
    accuracy: list[float]

    def __len__(self) -> int:
        return len(self.states)


def build_zoo(split: DigitsSplit, settings: ZooSettings, seed: int) -> Zoo:
    """Good and bad networks, trained on the upstream images."""
    names, states, accuracies = [], [], []
    for kind, name in enumerate(settings.architectures):
        random = np.random.default_rng([seed, 1, kind])
        count = settings.networks
        scale = 10 ** random.uniform(-0.6, 0.4, count)
        rates, decays = 10 ** random.uniform(-2.5, -0.3, count), 10 ** random.uniform(-5, -2, count)
        subsets = random.choice(settings.subsets, count).tolist()
        stops = torch.from_numpy(random.integers(0, settings.epochs + 1, count))
        network = ARCHITECTURES[name]()
        starts = [initial_weights(network, (seed, 2, kind, k), float(scale[k])) for k in range(count)]
        weights = {n: torch.stack([s[n] for s in starts]) for n in starts[0]}
        trainer = StackedSGD(network, weights, rates, np.full(count, 0.5), decays)
        for epoch in range(settings.epochs):
            seeds = [(seed, 3, kind, k) for k in range(count)]
            passes = [-(-len(split.upstream.y) // size) for size in subsets]  # an epoch is as long for a small subset
            orders = epoch_orders(subsets, [WIDEST_BATCH] * count, seeds, epoch, passes)
            trainer.epoch(split.upstream, orders, stops > epoch)
        names += [name] * count
        states += [trainer.state(k) for k in range(count)]
        accuracies += trainer.accuracy(split.val).tolist()
    return Zoo(names, states, accuracies)


def initial_weights(network: nn.Module, seed: tuple[int, ...], scale: float = 1.0) -> Weights:
    """He's normal weights times `scale`, biases 0."""
    generator = torch.Generator().manual_seed(int(np.random.default_rng(seed).integers(2**62)))
    weights = {}
    for name, p in network.named_parameters():
        fan_in = p[0].numel()
        noise = torch.randn(p.shape, generator=generator) * scale * (2 / fan_in) ** 0.5
        weights[name] = noise if p.ndim > 1 else torch.zeros_like(p)
    return weights


def with_new_head(network: nn.Module, weights: Weights, seed: tuple[int, ...]) -> Weights:
    """The last layer drawn anew: what is fine-tuned starts at chance, and only what is below is kept."""
    names = [name for name, _ in network.named_parameters()]
    new = initial_weights(network, seed)
    return {name: new[name] if name in names[-2:] else weights[name].clone() for name in names}


def sample_configs(zoo: Zoo, settings: HubSettings, seed: int) -> pd.DataFrame:
    """Random configurations: a start of the zoo each, and SGD's hyperparameters."""
    random = np.random.default_rng([seed, 4])
    rows = []
    for _ in range(settings.configs):
        start = int(random.integers(len(zoo)))
        row = {"start": start, "architecture": zoo.architecture[start], **SPACE.sample(random)}
        row["batch_size"] = int(random.choice([8, 16, 32]))
        rows.append(row)
    return pd.DataFrame(rows)


def start_weights(zoo: Zoo, start: int, seed: int) -> Weights:
    """What a configuration starts from: a network of the zoo with a new head."""
    return with_new_head(ARCHITECTURES[zoo.architecture[start]](), zoo.states[start], (seed, 5, start))


def fine_tuning(
    zoo: Zoo, configs: pd.DataFrame, seed: int, momentum: Weights | None = None, weights=None
) -> StackedSGD:
    """All configurations, of one architecture, ready to train."""
    network = ARCHITECTURES[configs["architecture"].iloc[0]]()
    if weights is None:
        states = [start_weights(zoo, int(start), seed) for start in configs["start"]]
        weights = {name: torch.stack([s[name] for s in states]) for name in states[0]}
    columns = (configs[name].to_numpy() for name in ("learning_rate", "momentum", "weight_decay"))
    return StackedSGD(network, weights, *columns, momentum)


def build_hub(split: DigitsSplit, zoo: Zoo, settings: HubSettings, seed: int) -> ModelHub:
    """Fine-tune every configuration for T epochs; keep all curves and checkpoints."""
    configs = sample_configs(zoo, settings, seed)
    names = list(dict.fromkeys(configs["architecture"]))
    store = CheckpointStore({n: ARCHITECTURES[n]() for n in names}, dict(enumerate(configs["architecture"])))
    curves, tests = (np.full((len(configs), settings.epochs), np.nan) for _ in range(2))
    starts = np.full(len(configs), np.nan)
    for name in names:
        rows = np.flatnonzero(configs["architecture"] == name)
        own = configs.iloc[rows]
        trainer = fine_tuning(zoo, own, seed)
        starts[rows] = trainer.accuracy(split.val)
        for epoch in range(settings.epochs + 1):
            for k, row in enumerate(rows):
                store.put(int(row), epoch, trainer.state(k))
            if epoch == settings.epochs:
                break
            seeds = [(seed, 6, int(row)) for row in rows]
            batches = own["batch_size"].tolist()
            trainer.epoch(split.target, epoch_orders([len(split.target.y)] * len(rows), batches, seeds, epoch))
            curves[rows, epoch], tests[rows, epoch] = trainer.accuracy(split.val), trainer.accuracy(split.test)
    curves[~np.isfinite(curves)] = np.nan
    for row in range(len(curves)):  # once diverged, always diverged
        bad = np.flatnonzero(np.isnan(curves[row]))
        if len(bad):
            curves[row, bad[0] :] = np.nan
    shown = configs.drop(columns="architecture") if len(names) == 1 else configs
    domains = dict(SPACE.domains)
    if len(names) > 1:
        domains["architecture"] = Categorical(tuple(names))
    return ModelHub(shown, curves, store, starts, SearchSpace(domains), tests, f"digits-{seed}")


def digits_hub(
    seed: int, zoo: ZooSettings = ZooSettings(), hub: HubSettings = HubSettings(), target: int = 100
) -> ModelHub:
    """Split, zoo and hub of one seed."""
    split = split_digits(seed, target)
    return build_hub(split, build_zoo(split, zoo, seed), hub, seed)
