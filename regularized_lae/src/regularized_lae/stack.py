"""LightningModules that train many runs at once: methods x learning rates x seeds, a leading dimension of the weights.

A plain fit is a stack of one. All stacks share optimizers, metrics and the order of runs; each adds its objective.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from .autoencoder import LinearAutoencoder, check_latents
from .covariance import Covariance, SampleCovariance
from .data import PrincipalAxes
from .eigengame import eigengame_direction, to_sphere
from .gha import gha_direction
from .losses import expectation_of_product, geometric_survival, l2_penalty, nested_dropout, sample_kept
from .methods import method, stack_methods
from .metrics import axis_alignment, ordered_alignment, subspace_distance
from .optim import PerRunRate, keep_runs
from .penalties import check_penalties, from_repo_list, relative_penalties
from .rag import RAG, LatentMoment, imbalance
from .vae import negative_elbo


@dataclass(frozen=True)
class Run:
    """One member of a stack."""

    method: str
    optimizer: str
    rate: float
    seed: int


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "gd": lambda parameters: SGD(parameters, lr=1.0),
    "nesterov": lambda parameters: SGD(parameters, lr=1.0, momentum=0.9, nesterov=True),
    "adam": lambda parameters: Adam(parameters, lr=1.0),
}

PENALTY_RULES: dict[str, Callable[[Tensor, int, float, float], Tensor]] = {
    "relative": relative_penalties,
    "repo": lambda _, latents, low, high: from_repo_list(torch.linspace(low, high, latents, dtype=torch.float64)),
}


class Stack(LightningModule):
    """What all stacks share; abstract.

    Args:
        eigenvalues: s_1 >= ... >= s_d of the training covariance (linked from the data): they fix d, the penalties'
            scale and which k make sense.
        latents: k.
        methods: names of methods, known to the subclass.
        rates: learning rates.
        seeds: of the initial weights; runs that differ in method or rate alone start alike.
        optimizer: `gd`, `nesterov` (momentum 0.9) or `adam`.
    Raises:
        ValueError: an unknown name, an empty list, a rate that is not positive, or k above the rank of the data.
    """

    def __init__(
        self,
        eigenvalues: list[float],
        latents: int,
        methods: Sequence[str],
        rates: Sequence[float],
        seeds: Sequence[int],
        optimizer: str,
    ):
        super().__init__()
        check_latents(latents, len(eigenvalues))
        rank = PrincipalAxes(torch.tensor(eigenvalues, dtype=torch.float64), torch.empty(0)).rank
        if latents > rank:
            raise ValueError(f"latents is {latents}, but the data have only {rank} directions with any variance")
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {optimizer!r}, choose from {', '.join(OPTIMIZERS)}")
        if not methods or not rates or not seeds or min(rates) <= 0:
            raise ValueError(
                f"methods, rates and seeds must not be empty and rates be positive, got {methods}, {rates}, {seeds}"
            )
        self.runs = [Run(m, optimizer, r, s) for m, r, s in product(methods, rates, seeds)]
        self.register_buffer("rates", torch.tensor([run.rate for run in self.runs]))

    @abstractmethod
    def losses(self, covariance: Covariance) -> Tensor:
        """The objective of every run on one batch, shape (B,)."""

    @property
    def encoders(self) -> Tensor:
        """W1 of every run, shape (B, k, d)."""
        return self.encoder

    @property
    def decoders(self) -> Tensor:
        """W2 of every run, shape (B, d, k)."""
        return self.decoder

    def encode(self, samples: Tensor) -> Tensor:
        """Codes of centred samples by every run, (n, d) -> (B, n, k)."""
        return samples @ self.encoders.mT

    def imbalances(self) -> Tensor:
        """‖Q‖_F of every run, shape (B,)."""
        return torch.linalg.matrix_norm(imbalance(self.encoders, self.decoders))

    def training_step(self, covariance: Covariance, _) -> Tensor:
        losses = self.losses(covariance.to(self.device, self.decoders.dtype))
        self.log("train/loss", losses.mean(), batch_size=1)
        return losses.sum()

    def validation_step(self, truth: PrincipalAxes, _) -> None:
        self.log_dict(self.measure(truth, "val"), batch_size=1)

    def test_step(self, truth: PrincipalAxes, _) -> None:
        self.log_dict(self.measure(truth, "test"), batch_size=1)

    def predict_step(self, samples: Tensor, _) -> Tensor:
        return self.encode(samples.to(self.device, self.decoders.dtype))

    def on_train_end(self) -> None:
        """Warns of runs whose weights are no longer finite: their rate was too large."""
        finite = torch.isfinite(self.decoders).flatten(1).all(1).tolist()
        if lost := [
            f"{run.method} at rate {run.rate:g}" for run, kept in zip(self.runs, finite, strict=True) if not kept
        ]:
            warnings.warn(f"these runs diverged, lower their rates: {', '.join(lost)}", stacklevel=2)

    def measure(self, truth: PrincipalAxes, prefix: str) -> dict[str, Tensor]:
        """Axis alignment, ordered alignment, subspace distance and ‖Q‖ of the best aligned run."""
        decoders = self.decoders.detach().double()
        axes = truth.axes.to(decoders)
        alignment = axis_alignment(decoders, axes)
        best = alignment.nan_to_num(torch.inf).argmin()
        return {
            f"{prefix}/axis_alignment": alignment[best],
            f"{prefix}/ordered_alignment": ordered_alignment(decoders[best], axes),
            f"{prefix}/subspace_distance": subspace_distance(decoders[best], axes),
            f"{prefix}/imbalance": self.imbalances()[best].detach(),
        }

    def configure_optimizers(self) -> Optimizer:
        return PerRunRate(OPTIMIZERS[self.runs[0].optimizer](self.parameters()), self.rates)

    def keep(self, runs: Sequence[int]) -> None:
        """Go on with these runs only: a sweep drops who diverged or has arrived. Not for distributed training."""
        index = torch.as_tensor(runs, device=self.device)
        for parameter in self.parameters():
            parameter.grad = None
            parameter.data = parameter.data[index]
        for name, buffer in list(self.named_buffers()):
            setattr(self, name, buffer[index])
        self.runs = [self.runs[i] for i in runs]
        optimizer = self.optimizers(use_pl_optimizer=False)
        keep_runs(optimizer, index)
        self.share_buffers(optimizer)

    def share_buffers(self, optimizer: Optimizer) -> None:
        """Give the optimizer this module's per-run numbers."""
        optimizer.rates = self.rates


class AutoencoderStack(Stack):
    """Linear autoencoders under the methods of `methods.METHODS`: uniform, nonuniform, nested, rag, rag_balanced.

    Args:
        eigenvalues, latents, rates, seeds, optimizer: see `Stack`.
        methods: names of methods.
        penalty_rule: `relative`: λ evenly spaced between `penalty_low` and `penalty_high` times s_k; `repo`: ℓ evenly
            spaced between them and λ = ℓ², as the paper's code does whatever the data.
        penalty_low, penalty_high: see `penalty_rule`.
        init_scale: standard deviation of the initial weights (the paper: 1e-4).
    Raises:
        ValueError: unknown penalty_rule or method, and as `Stack`.
    """

    def __init__(
        self,
        eigenvalues: list[float],
        latents: int,
        methods: Sequence[str] = ("rag_balanced",),
        rates: Sequence[float] = (0.1,),
        seeds: Sequence[int] = (0,),
        optimizer: str = "nesterov",
        penalty_rule: str = "relative",
        penalty_low: float = 0.1,
        penalty_high: float = 0.9,
        init_scale: float = 1e-4,
    ):
        super().__init__(eigenvalues, latents, methods, rates, seeds, optimizer)
        self.save_hyperparameters()
        if penalty_rule not in PENALTY_RULES:
            raise ValueError(f"unknown penalty_rule {penalty_rule!r}, choose from {', '.join(PENALTY_RULES)}")
        lam = PENALTY_RULES[penalty_rule](torch.tensor(eigenvalues), latents, penalty_low, penalty_high)
        if "nonuniform" in methods:
            check_penalties(lam, torch.tensor(eigenvalues))
        settings = stack_methods([method(run.method, lam) for run in self.runs])
        for name in ("survival", "lam", "rotate", "balance"):
            self.register_buffer(name, getattr(settings, name).to(torch.get_default_dtype()))
        self.encoder, self.decoder = initial_weights(len(eigenvalues), latents, self.runs, init_scale)
        self.moment = LatentMoment()

    def losses(self, covariance: Covariance) -> Tensor:
        projected = covariance.rows_times(self.encoder)
        if torch.is_grad_enabled():
            self.moment.observe(self.rotate * (projected.detach() @ self.encoder.detach().mT))
        expected = expectation_of_product(projected, covariance.trace(), self.encoder, self.decoder, self.survival)
        return expected + l2_penalty(self.encoder, self.decoder, self.lam)

    def configure_optimizers(self) -> Optimizer:
        return RAG(super().configure_optimizers(), self.encoder, self.decoder, self.moment, balance=self.balance)

    def share_buffers(self, optimizer: RAG) -> None:
        optimizer.balance = self.balance
        super().share_buffers(optimizer.optimizer)


class NestedDropoutStack(Stack):
    """Nested dropout as first proposed: a mask for every sample at every step, so it needs minibatches of samples.

    Args:
        eigenvalues, latents, rates, seeds, optimizer, init_scale: see `AutoencoderStack`.
        rho: P(latent i is kept) = ρ^i.
    """

    def __init__(
        self,
        eigenvalues: list[float],
        latents: int,
        rates: Sequence[float] = (0.1,),
        seeds: Sequence[int] = (0,),
        optimizer: str = "nesterov",
        rho: float = 0.9,
        init_scale: float = 1e-4,
    ):
        super().__init__(eigenvalues, latents, ["nested_sampled"], rates, seeds, optimizer)
        self.save_hyperparameters()
        self.survival = geometric_survival(latents, rho).float()
        self.encoder, self.decoder = initial_weights(len(eigenvalues), latents, self.runs, init_scale)

    def losses(self, covariance: Covariance) -> Tensor:
        if not isinstance(covariance, SampleCovariance):
            raise ValueError("sampled nested dropout masks samples, not a covariance: set the data's batch_size")
        # a mask depends on the step alone (and the process), so that a resumed run draws the same
        seed = self.global_step * self.trainer.world_size + self.global_rank
        kept = sample_kept(self.survival, len(covariance.samples), torch.Generator().manual_seed(seed)).to(self.device)
        return nested_dropout(self.encoder, self.decoder, covariance.samples, kept)


class VAEStack(Stack):
    """Linear VAEs with a shared diagonal posterior and a learned noise, trained on the exact ELBO.

    Args:
        eigenvalues, latents, rates, seeds, optimizer, init_scale: see `AutoencoderStack`.
    """

    def __init__(
        self,
        eigenvalues: list[float],
        latents: int,
        rates: Sequence[float] = (0.01,),
        seeds: Sequence[int] = (0,),
        optimizer: str = "adam",
        init_scale: float = 1e-4,
    ):
        super().__init__(eigenvalues, latents, ["vae"], rates, seeds, optimizer)
        self.save_hyperparameters()
        self.encoder, self.decoder = initial_weights(len(eigenvalues), latents, self.runs, init_scale)
        self.log_variance = nn.Parameter(torch.zeros(len(self.runs), latents))
        self.log_noise = nn.Parameter(torch.zeros(len(self.runs)))

    def losses(self, covariance: Covariance) -> Tensor:
        return negative_elbo(self.encoder, self.decoder, self.log_variance, self.log_noise, covariance)


class ReferenceStack(Stack):
    """GHA and EigenGame, which step along a direction that is no loss's gradient: gha, eigengame.

    One matrix serves as encoder and decoder and starts orthonormal, as both algorithms ask for.

    Args:
        eigenvalues, latents, methods, rates, seeds, optimizer: see `Stack`.
    Raises:
        ValueError: unknown reference, and as `Stack`.
    """

    DIRECTIONS: ClassVar = {"gha": gha_direction, "eigengame": eigengame_direction}

    def __init__(
        self,
        eigenvalues: list[float],
        latents: int,
        methods: Sequence[str] = ("gha",),
        rates: Sequence[float] = (0.1,),
        seeds: Sequence[int] = (0,),
        optimizer: str = "nesterov",
    ):
        for name in methods:
            if name not in self.DIRECTIONS:
                raise ValueError(f"unknown reference {name!r}, choose from {', '.join(self.DIRECTIONS)}")
        super().__init__(eigenvalues, latents, methods, rates, seeds, optimizer)
        self.save_hyperparameters()
        weights, _ = initial_weights(len(eigenvalues), latents, self.runs, 1.0)
        self.weights = nn.Parameter(torch.linalg.qr(weights.detach().mT).Q.mT.contiguous())
        on_sphere = torch.tensor([run.method == "eigengame" for run in self.runs])
        self.register_buffer("on_sphere", on_sphere[:, None, None])

    @property
    def encoders(self) -> Tensor:
        return self.weights

    @property
    def decoders(self) -> Tensor:
        return self.weights.mT

    def losses(self, covariance: Covariance) -> Tensor:
        """A stand-in whose gradient is minus the direction: its value means nothing."""
        with torch.no_grad():
            both = [self.DIRECTIONS[name](self.weights, covariance) for name in ("gha", "eigengame")]
            direction = torch.where(self.on_sphere, both[1], both[0])
        return -(self.weights * direction).sum((-1, -2))

    def on_train_batch_end(self, *_) -> None:
        with torch.no_grad():
            self.weights.copy_(torch.where(self.on_sphere, to_sphere(self.weights), self.weights))


def initial_weights(dim: int, latents: int, runs: list[Run], scale: float) -> tuple[nn.Parameter, nn.Parameter]:
    """Encoders (B, k, d) and decoders (B, d, k) of a stack; runs with the same seed start alike."""
    models = {
        seed: LinearAutoencoder(dim, latents, init_scale=scale, generator=torch.Generator().manual_seed(seed))
        for seed in {run.seed for run in runs}
    }
    encoder = torch.stack([models[run.seed].encoder.detach() for run in runs])
    decoder = torch.stack([models[run.seed].decoder.detach() for run in runs])
    return nn.Parameter(encoder), nn.Parameter(decoder)
