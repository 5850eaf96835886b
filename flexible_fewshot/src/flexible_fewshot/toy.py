"""The toy problem: in a linear world, a ProtoNet unlearns exactly the attributes that training episodes do not use.

x = A z + ζ with z in {0, 1}^10, A (30, 10) uniform in [0, 1], ζ normal with standard deviation 0.1. Training contexts
are pairs of the first five attributes, test contexts pairs of the last five. W (10, 30) is trained by episodes of a
ProtoNet with squared distance. Since W (x - c) = W A (z - z̄_S) + noise, what helps training is to make the test
columns of W A small.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

ATTRIBUTES, TRAIN, INPUTS, OUTPUTS = 10, 5, 30, 10
NOISE = 0.1


@dataclass(frozen=True)
class ToySettings:
    """steps: training episodes. test_episodes: of each kind. shots: k of each class in support and in query.

    density: chance of an attribute. flexible: False is the usual few-shot control, z one-hot and its classes the
        contexts.
    seed: of A, W and all episodes.
    """

    steps: int = 5000
    test_episodes: int = 1000
    shots: int = 20
    density: float = 0.5
    flexible: bool = True
    seed: int = 0


@dataclass(frozen=True)
class ToyWorld:
    """The mixing matrix A (30, 10) and what is drawn from it."""

    A: Tensor
    density: float = 0.5
    flexible: bool = True

    def episodes(self, count: int, shots: int, first: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """x (count, 2, 2 shots, 30): positives and negatives, `shots` for support and for query; and z (..., 10).

        A context is a pair of attributes from `first` to `first` + 4: positives have both, negatives lack at least
        one. The control draws two classes of those five instead.
        """
        pair = first + torch.rand(count, TRAIN, generator=generator).argsort(1)[:, :2]  # (count, 2)
        if self.flexible:
            z = self._conjunctions(pair, 2 * shots, generator)
        else:
            z = F.one_hot(pair, ATTRIBUTES)[:, :, None].expand(-1, -1, 2 * shots, -1).float()
        noise = NOISE * torch.randn(*z.shape[:-1], INPUTS, generator=generator)
        return z @ self.A.T + noise, z

    def _conjunctions(self, pair: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """z of positives and negatives; the two attributes of a negative are uniform over all that lack one."""
        z = (torch.rand(len(pair), 2, n, ATTRIBUTES, generator=generator) < self.density).float()
        p = self.density
        weights = torch.tensor([(1 - p) ** 2, (1 - p) * p, p * (1 - p)])  # (0, 0), (0, 1), (1, 0)
        kind = torch.multinomial(weights, len(pair) * n, replacement=True, generator=generator).reshape(len(pair), n)
        lacking = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])[kind]  # (count, n, 2)
        own = torch.stack([torch.ones_like(lacking), lacking], 1)  # (count, 2, n, 2)
        return z.scatter_(-1, pair[:, None, None].expand(-1, 2, n, -1), own)


def toy_logits(W: Tensor, x: Tensor) -> Tensor:
    """|q - c⁻|² - |q - c⁺|² of both classes' queries, (count, 2, shots), in the space of W x."""
    features = x @ W.T
    shots = x.shape[2] // 2
    centres, query = features[:, :, :shots].mean(2), features[:, :, shots:]
    distances = (query[:, :, None] - centres[:, None, :, None]).square().sum(-1)  # (count, class, centre, shots)
    return distances[:, :, 1] - distances[:, :, 0]


def toy_accuracy(W: Tensor, world: ToyWorld, settings: ToySettings, first: int, seed: int) -> float:
    """Per cent of right answers on test episodes of the attributes from `first`."""
    generator = torch.Generator().manual_seed(seed)
    x, _ = world.episodes(settings.test_episodes, settings.shots, first, generator)
    logits = toy_logits(W, x)
    return 100 * float(((logits > 0) == torch.tensor([True, False])[:, None]).double().mean())


class ToyProtoNet(LightningModule):
    """W, trained by one episode a step with Adam's default rate.

    Args:
        seed: of W.
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        self.save_hyperparameters()
        bound = INPUTS**-0.5
        start = torch.rand(OUTPUTS, INPUTS, generator=torch.Generator().manual_seed(seed))
        self.W = nn.Parameter(bound * (2 * start - 1))

    def training_step(self, x: Tensor, _) -> Tensor:
        logits = toy_logits(self.W, x)
        return F.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 0.0])[:, None].expand_as(logits))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class _TrainingEpisodes(Dataset):
    """Episodes one by one, drawn a block at a time."""

    def __init__(self, world: ToyWorld, settings: ToySettings, block: int = 500):
        self.world, self.settings, self.block = world, settings, block
        self._at, self._x = -1, torch.empty(0)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, i: int) -> Tensor:
        if i // self.block != self._at:
            self._at = i // self.block
            generator = torch.Generator().manual_seed(1_000_003 * (self.settings.seed + 1) + self._at)
            self._x, _ = self.world.episodes(self.block, self.settings.shots, 0, generator)
        return self._x[i % self.block : i % self.block + 1]


@dataclass(frozen=True)
class ToyResult:
    """Accuracies in per cent on training and test attributes; W A (10, 10), and the norms of its columns (10,)."""

    train: float
    test: float
    norms: Tensor
    WA: Tensor

    @property
    def ratio(self) -> float:
        """Mean norm of the columns of training attributes over that of test ones."""
        return float(self.norms[:TRAIN].mean() / self.norms[TRAIN:].mean())


def toy_world(settings: ToySettings) -> ToyWorld:
    A = torch.rand(INPUTS, ATTRIBUTES, generator=torch.Generator().manual_seed(settings.seed))
    return ToyWorld(A, settings.density, settings.flexible)


def toy_result(W: Tensor, world: ToyWorld, settings: ToySettings) -> ToyResult:
    """What a projection W does on both groups of attributes."""
    accuracies = [toy_accuracy(W, world, settings, first, 977 + settings.seed) for first in (0, TRAIN)]
    WA = W @ world.A
    return ToyResult(*accuracies, WA.norm(dim=0), WA)


def closed_forms(world: ToyWorld) -> dict[str, Tensor]:
    """Projections to compare with: all attributes recovered, the training ones alone, and none preferred."""
    recover = torch.linalg.pinv(world.A)  # (10, 30)
    mask = (torch.arange(ATTRIBUTES) < TRAIN).float()[:, None]
    return {"all attributes": recover, "training attributes": mask * recover, "x itself": torch.eye(INPUTS)}


def train_toy(settings: ToySettings, trainer_of) -> ToyResult:
    """Train W and judge it; `trainer_of(steps)` makes the Lightning trainer."""
    world = toy_world(settings)
    model = ToyProtoNet(settings.seed)
    episodes = DataLoader(_TrainingEpisodes(world, settings), batch_size=None)
    trainer_of(settings.steps).fit(model, train_dataloaders=episodes)
    return toy_result(model.W.detach(), world, settings)
