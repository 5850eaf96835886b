"""LightningModules for the paper's networks: learning rates x seeds of one architecture, trained at once.

With one rate and one seed it is a plain network, which any Trainer takes to any number of devices.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor, nn, vmap
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from .language import LSTMLanguageModel, TransformerLanguageModel
from .losses import cross_entropy, error_rate, next_token_nll, reconstruction_error
from .mlp import MLP, MLPAutoencoder
from .optim import Graft, PerNetworkRate
from .outward import outward_penalty
from .resnet import ResNet
from .stack import NetworkStack
from .stacked_trainer import Run, runs_of, seeded
from .states import snapshot

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": partial(SGD, momentum=0.9),
    "gd": SGD,
    "adam": partial(Adam, betas=(0.9, 0.999)),
}


class Training(LightningModule):
    """What all architectures share; abstract.

    Args:
        sizes: shape of one input and number of classes, or size of the vocabulary alone (linked from the data).
        rates: learning rates. seeds: of the initial weights. All pairs are trained, see `runs`.
        optimizer: `sgd` (momentum 0.9), `gd` (without) or `adam`.
        step_length_of: graft: take steps as long as those of this optimizer, in the direction of `optimizer`.
        weight_decay: L2 coefficient.
        milestones: epochs at which the learning rate is multiplied by `gamma`.
        outward_radius: R of the outward regulariser, `outward_strength` its s; None: no such pull.
    Raises:
        ValueError: an unknown optimizer, empty lists, or a rate that is not positive.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        rates: Sequence[float] = (0.1,),
        seeds: Sequence[int] = (0,),
        optimizer: str = "sgd",
        step_length_of: str | None = None,
        weight_decay: float = 0.0,
        milestones: Sequence[int] = (),
        gamma: float = 0.1,
        outward_radius: float | None = None,
        outward_strength: float = 0.1,
    ):
        super().__init__()
        for name in (optimizer, step_length_of):
            if name is not None and name not in OPTIMIZERS:
                raise ValueError(f"unknown optimizer {name!r}, choose from {', '.join(OPTIMIZERS)}")
        if (outward_radius or 0) < 0 or outward_strength < 0:
            raise ValueError(f"outward radius and strength must be >= 0, got {outward_radius} and {outward_strength}")
        self.save_hyperparameters()
        self.runs: list[Run] = runs_of(rates, seeds)
        networks = {seed: seeded(self.build, seed) for seed in sorted(set(seeds))}
        stacked = [networks[run.seed] for run in self.runs]
        self.network = stacked[0] if len(stacked) == 1 else NetworkStack(stacked)
        self.initial = snapshot(self.network)

    @abstractmethod
    def build(self) -> nn.Module:
        """One network of the architecture, initialised from torch's global random state."""

    @staticmethod
    @abstractmethod
    def metric(output: Tensor, batch: Any) -> Tensor:
        """Losses of the rows of a batch, (B,), or (J, B) of a stack."""

    def scores(self, output: Tensor, batch: Any) -> dict[str, Tensor]:
        """More than the loss to report on held-out data, by name; (..., B) each."""
        return {}

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of the network, or of all: (B, ...) or (J, B, ...)."""
        return self.network(inputs)

    def training_step(self, batch: Any, _) -> Tensor:
        losses = self.metric(self(batch[0]), batch).mean(-1)  # () or (J,)
        self.log("train/loss", losses.mean(), batch_size=len(batch[0]))
        if self.hparams.outward_radius is not None:
            losses = losses + self.pull()
        return losses.sum()

    def pull(self) -> Tensor:
        """The outward regulariser of each network, () or (J,)."""
        radius, strength = self.hparams.outward_radius, self.hparams.outward_strength
        parameters = dict(self.network.named_parameters())
        if not isinstance(self.network, NetworkStack):
            return outward_penalty(parameters.values(), radius, strength)
        return vmap(lambda p: outward_penalty(p.values(), radius, strength))(parameters)

    def validation_step(self, batch: Any, _) -> None:
        self.report(batch, "val")

    def test_step(self, batch: Any, _) -> None:
        self.report(batch, "test")

    def report(self, batch: Any, prefix: str) -> None:
        """Log loss and scores, of a stack the means over networks."""
        output = self(batch[0])
        measured = {"loss": self.metric(output, batch), **self.scores(output, batch)}
        self.log_dict({f"{prefix}/{name}": value.mean() for name, value in measured.items()}, batch_size=len(batch[0]))

    def predict_step(self, batch: Any, _) -> Tensor:
        return self(batch[0])

    def configure_optimizers(self) -> dict:
        optimizer = self.optimizer_of(self.hparams.optimizer)
        if self.hparams.step_length_of is not None:
            length = self.optimizer_of(self.hparams.step_length_of)
            optimizer = Graft(length, optimizer, stacked=len(self.runs) > 1)
        if len(self.runs) > 1:
            rates = next(self.network.parameters()).new_tensor([run.rate for run in self.runs])
            optimizer = PerNetworkRate(optimizer, rates)
        if not self.hparams.milestones:
            return {"optimizer": optimizer}
        schedule = MultiStepLR(optimizer, list(self.hparams.milestones), self.hparams.gamma)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def optimizer_of(self, name: str) -> Optimizer:
        """An optimizer of all parameters, at its rate; at rate 1 for a stack, whose rates come on top."""
        rate = self.runs[0].rate if len(self.runs) == 1 else 1.0
        return OPTIMIZERS[name](self.network.parameters(), lr=rate, weight_decay=self.hparams.weight_decay)

    def on_fit_start(self) -> None:
        """Refuses what would mix the networks of a stack.

        Raises:
            ValueError: gradient clipping with several runs.
        """
        if len(self.runs) > 1 and self.trainer.gradient_clip_val:
            raise ValueError("gradient clipping would scale the networks of a stack by a common norm: train one run")

    def on_train_end(self) -> None:
        """Warns of networks whose weights are no longer finite."""
        if lost := [
            f"rate {run.rate:g}, seed {run.seed}"
            for run, kept in zip(self.runs, self.finite(), strict=True)
            if not kept
        ]:
            warnings.warn(f"these runs diverged: {'; '.join(lost)}", stacklevel=2)

    def finite(self) -> list[bool]:
        """Which networks have finite weights."""
        if not isinstance(self.network, NetworkStack):
            return [all(bool(p.isfinite().all()) for p in self.network.parameters())]
        return self.network.finite().tolist()

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["initial_parameters"] = self.initial

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.initial = checkpoint["initial_parameters"]


class MLPTraining(Training):
    """Fully connected classifiers: the paper's MNIST and Fashion-MNIST experiments.

    Args:
        sizes: see `Training`, as all further arguments.
        hidden: widths of the hidden layers.
        activation: `relu`, `sigmoid` or `tanh`.
        batchnorm: normalise every hidden pre-activation.
        init_scale: factor on PyTorch's initial weights.
    """

    metric = staticmethod(cross_entropy)

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        batchnorm: bool = False,
        init_scale: float = 1.0,
        **training: Any,
    ):
        super().__init__(sizes, **training)

    def build(self) -> nn.Module:
        *shape, classes = self.hparams.sizes
        chosen = self.hparams
        return MLP(math.prod(shape), chosen.hidden, classes, chosen.activation, chosen.batchnorm, chosen.init_scale)

    def scores(self, output: Tensor, batch: Any) -> dict[str, Tensor]:
        return {"error": error_rate(output, batch)}


class AutoencoderTraining(Training):
    """Fully connected autoencoders, inputs-hidden-h-hidden-inputs, on the squared error: the paper's on MNIST.

    Args:
        sizes: see `Training`, as all further arguments.
        hidden: width of the outer hidden layers. bottleneck: h.
        activation, batchnorm, init_scale: see `MLPTraining`.
    """

    metric = staticmethod(reconstruction_error)

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: int = 512,
        bottleneck: int = 50,
        activation: str = "relu",
        batchnorm: bool = False,
        init_scale: float = 1.0,
        **training: Any,
    ):
        super().__init__(sizes, **training)

    def build(self) -> nn.Module:
        chosen = self.hparams
        pixels = math.prod(chosen.sizes[:-1])
        return MLPAutoencoder(
            pixels, chosen.hidden, chosen.bottleneck, chosen.activation, chosen.batchnorm, chosen.init_scale
        )


class ResNetTraining(Training):
    """Residual networks on images: the paper's CIFAR-10 and CIFAR-100 experiments.

    Args:
        sizes: see `Training`, as all further arguments.
        depth: 6n + 2; the paper: 20, 32, 44, 56.
        variant: `bn`, `bn-i`, `nbn-i` or `fixup`; see `resnet.ResNet`.
    """

    metric = staticmethod(cross_entropy)

    def __init__(self, sizes: Sequence[int], depth: int = 20, variant: str = "bn", **training: Any):
        super().__init__(sizes, **training)

    def build(self) -> nn.Module:
        channels, _, _, classes = self.hparams.sizes
        return ResNet(self.hparams.depth, self.hparams.variant, classes, channels)

    def scores(self, output: Tensor, batch: Any) -> dict[str, Tensor]:
        return {"error": error_rate(output, batch)}


class LSTMTraining(Training):
    """LSTM language models: the paper's WikiText-2 experiment. One network at a time: vmap does not know nn.LSTM.

    Args:
        sizes: see `Training`, as all further arguments.
        width, layers, dropout, tied: see `language.LSTMLanguageModel`.
    Raises:
        ValueError: several rates or seeds.
    """

    metric = staticmethod(next_token_nll)

    def __init__(
        self,
        sizes: Sequence[int],
        width: int = 200,
        layers: int = 2,
        dropout: float = 0.0,
        tied: bool = False,
        **training: Any,
    ):
        super().__init__(sizes, **training)
        if len(self.runs) > 1:
            raise ValueError("LSTMs cannot be stacked: give one rate and one seed")

    def build(self) -> nn.Module:
        chosen = self.hparams
        return LSTMLanguageModel(chosen.sizes[-1], chosen.width, chosen.layers, chosen.dropout, chosen.tied)


class TransformerTraining(Training):
    """Transformer language models: the paper's WikiText-2 experiment.

    Args:
        sizes: see `Training`, as all further arguments.
        width, layers, heads, dropout: see `language.TransformerLanguageModel`.
    """

    metric = staticmethod(next_token_nll)

    def __init__(
        self,
        sizes: Sequence[int],
        width: int = 200,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.0,
        **training: Any,
    ):
        super().__init__(sizes, **training)

    def build(self) -> nn.Module:
        chosen = self.hparams
        return TransformerLanguageModel(chosen.sizes[-1], chosen.width, chosen.layers, chosen.heads, chosen.dropout)
