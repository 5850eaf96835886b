"""The deep-kernel Gaussian process of FMS: features of configuration, budget, learning curve and checkpoint.

h = LeakyReLU(BN(A₁[x; j/T])), c = max over time of Conv1d(curve), e = E(checkpoint), φ = LeakyReLU(A₂[h; c; e]).
The whole is fitted by the marginal likelihood. Without e it is DyHPO's surrogate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .encoders import NoEncoder, WeightEncoder
from .kernel import Posterior, RBFProcess
from .weights import Checkpoint

SHORTEST_CURVE = 3


@dataclass(frozen=True)
class Inputs:
    """What n rows look like before embedding.

    configs: (n, d) in [0, 1]. budget: (n, 1), the predicted epoch over T, and, for multi-horizon rows, the state over T
    beside it, (n, 2). curves: (n, L), zeros behind the known part. checkpoints: n, None where there is none.
    """

    configs: Tensor
    budget: Tensor
    curves: Tensor
    checkpoints: Sequence[Checkpoint | None]

    def __len__(self) -> int:
        return len(self.configs)

    def to(self, device: torch.device | str) -> Inputs:
        """The tensors on a device; checkpoints move when they are stacked."""
        return Inputs(self.configs.to(device), self.budget.to(device), self.curves.to(device), self.checkpoints)

    def take(self, rows: Tensor) -> Inputs:
        chosen = [self.checkpoints[int(i)] for i in rows]
        return Inputs(self.configs[rows], self.budget[rows], self.curves[rows], chosen)


class DeepKernel(nn.Module):
    """φ of n rows given their embedded checkpoints.

    Args:
        config_size: d. budget_size: 1, or 2 with the state as a feature. encoder: E. curve: whether c is there.
            hidden: of h.
        channels: of the convolution. features: of φ.
    """

    def __init__(
        self,
        config_size: int,
        budget_size: int = 1,
        encoder: WeightEncoder | None = None,
        curve: bool = True,
        hidden: int = 64,
        channels: int = 4,
        features: int = 128,
    ):
        super().__init__()
        self.config_size, self.encoder = config_size, encoder or NoEncoder()
        self.first, self.norm = nn.Linear(config_size + budget_size, hidden), nn.BatchNorm1d(hidden)
        self.convolution = nn.Conv1d(1, channels, SHORTEST_CURVE) if curve else None
        self.second = nn.Linear(hidden + (channels if curve else 0) + self.encoder.out, features)

    def forward(self, inputs: Inputs, embedded: Tensor) -> Tensor:
        """(n, features)."""
        h = nn.functional.leaky_relu(self.norm(self.first(torch.cat([inputs.configs, inputs.budget], 1))))
        parts = [h]
        if self.convolution is not None:
            curves = nn.functional.pad(inputs.curves, (0, max(0, SHORTEST_CURVE - inputs.curves.shape[1])))
            parts.append(self.convolution(curves[:, None]).amax(2))
        return nn.functional.leaky_relu(self.second(torch.cat([*parts, embedded], 1)))


class DeepKernelGP(nn.Module):
    """Process and features in one; `posterior(rows)` once it was conditioned on what is known.

    Scores are standardised by the rows that it is conditioned on; predictions come back in their own units.
    """

    def __init__(self, features: DeepKernel):
        super().__init__()
        self.features, self.process = features, RBFProcess()
        self.register_buffer("centre", torch.zeros((), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.known: Posterior | None = None

    @property
    def encoder(self) -> WeightEncoder:
        return self.features.encoder

    def standardise(self, scores: Tensor) -> None:
        """Take centre and scale from scores (n,)."""
        self.centre.copy_(scores.double().mean())
        spread = scores.double().std(correction=0)
        self.scale.copy_(spread if spread > 1e-8 else torch.ones_like(spread))

    def loss(self, inputs: Inputs, scores: Tensor, embedded: Tensor | None = None) -> Tensor:
        """Minus the log marginal likelihood per row of standardised scores."""
        embedded = self.encoder(inputs.checkpoints) if embedded is None else embedded
        scores = (scores.double() - self.centre) / self.scale
        return self.process.negative_log_likelihood(self.features(inputs, embedded), scores)

    def embed(self, checkpoints: Sequence[Checkpoint | None], cache: dict[str, Tensor] | None = None) -> Tensor:
        """(n, out) without gradient; checkpoints that are in `cache` are not embedded again."""
        if not self.encoder.out:
            return torch.zeros(len(checkpoints), 0)
        cache = {} if cache is None else cache
        missing = list({c.key: c for c in checkpoints if c is not None and c.key not in cache}.values())
        with torch.no_grad():
            for start in range(0, len(missing), 64):
                part = missing[start : start + 64]
                cache.update(zip((c.key for c in part), self.encoder(part), strict=True))
        nothing = torch.zeros(self.encoder.out)
        return torch.stack([nothing if c is None else cache[c.key] for c in checkpoints])

    def representation(self, inputs: Inputs, cache: dict[str, Tensor] | None = None) -> Tensor:
        """φ (n, features) in evaluation mode: one row alone is as in a batch."""
        self.eval()
        with torch.no_grad():
            return self.features(inputs, self.embed(inputs.checkpoints, cache))

    def condition(self, inputs: Inputs, scores: Tensor, cache: dict[str, Tensor] | None = None) -> None:
        """The posterior given rows."""
        standard = (scores.double() - self.centre) / self.scale
        self.known = Posterior.of(self.process, self.representation(inputs, cache), standard)

    def extend(self, inputs: Inputs, scores: Tensor, cache: dict[str, Tensor] | None = None) -> None:
        """More rows, with all parameters as they are: the Cholesky factor grows."""
        if len(inputs):
            standard = (scores.double() - self.centre) / self.scale
            self.known = self._known().extend(self.representation(inputs, cache), standard)

    def posterior(
        self, inputs: Inputs, cache: dict[str, Tensor] | None = None, noise: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(mean, std), each (n,), in the units of the scores; with `noise`, of an observation.

        Raises:
            ValueError: it was not conditioned on anything.
        """
        mean, variance = self._known().predict(self.representation(inputs, cache))
        if noise:
            variance = variance + self.process.noise.double().detach()
        return mean * self.scale + self.centre, variance.sqrt() * self.scale

    def _known(self) -> Posterior:
        if self.known is None:
            raise ValueError("the process knows no rows yet: fit or condition it first")
        return self.known
