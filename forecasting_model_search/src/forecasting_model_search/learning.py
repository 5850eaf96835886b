"""Training the surrogate with Lightning: steps on subsets of rows, and τ on configurations that it never saw."""

from __future__ import annotations

from pathlib import Path

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from .ensemble import Ensemble
from .finite import finite
from .fitting import settle_batchnorm
from .forecast import rank_others
from .methods import SurrogateSettings, make_surrogate
from .surrogate import DeepKernelGP


class SurrogateTraining(LightningModule):
    """The deep-kernel Gaussian process of FMS; the data say which architectures it reads.

    Args:
        encoder: none (DyHPO), flat, stat, nfn or gmn. curve: look at learning curves. width, blocks, out, frequency:
            of the graph metanetwork. rate: of Adam. seed: of the first weights. channels: of the convolution of curves.
    """

    def __init__(
        self,
        encoder: str = "gmn",
        curve: bool = True,
        width: int = 8,
        blocks: int = 2,
        out: int = 32,
        frequency: float = 1.5,
        rate: float = 5e-3,
        seed: int = 0,
        channels: int = 32,
    ):
        super().__init__()
        self.save_hyperparameters()
        if rate <= 0:
            raise ValueError(f"the rate must be positive, got {rate}")
        self.surrogate = SurrogateSettings(encoder, curve, width, blocks, out, frequency, channels=channels)
        self.gp: DeepKernelGP | None = None

    def setup(self, stage: str | None = None) -> None:
        if self.gp is not None:
            return
        data = self.trainer.datamodule
        if self.surrogate.encoder != "none" and not data.weights:
            raise ValueError(f"the encoder {self.surrogate.encoder!r} reads checkpoints, and the data offer none")
        settings = SurrogateSettings(**{**vars(self.surrogate), "multi_horizon": data.multi_horizon})
        width = len(next(iter(data.points.values())))
        self.gp = make_surrogate(settings, width, data.graphs, self.hparams.seed)
        self.gp.standardise(data.scores)
        self.gp.train()

    def training_step(self, rows: Tensor, _: int) -> Tensor:
        data = self.trainer.datamodule
        chosen = rows.cpu()
        loss = self.gp.loss(data.inputs.take(chosen).to(self.device), data.scores[chosen].to(self.device))
        self.log("train/loss", loss.float(), batch_size=len(rows))
        return finite(loss.float(), self.global_step, "model.init_args.rate")

    def on_validation_start(self) -> None:
        """Condition on all rows that are known."""
        if not self.trainer.sanity_checking:
            self.conclude()

    def conclude(self) -> None:
        data = self.trainer.datamodule
        inputs = data.inputs.to(self.device)
        settle_batchnorm(self.gp, inputs)
        self.gp.condition(inputs, data.scores.to(self.device))

    def validation_step(self, state: Tensor, _: int) -> None:
        if self.trainer.sanity_checking:
            return
        data = self.trainer.datamodule
        builder = data.builder(data.history)
        taus = rank_others(data.hub, Ensemble([self.gp]), builder, data.others, [int(state)], data.store)
        for name, tau in taus.items():
            self.log(f"val/tau_{name.replace('/', '_')}", tau, batch_size=1)

    def configure_optimizers(self):
        return torch.optim.Adam(self.gp.parameters(), lr=self.hparams.rate)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["surrogate"] = vars(self.surrogate)


def load_parameters(path: str | Path) -> dict[str, Tensor]:
    """The surrogate's parameters in a checkpoint of `fit`, to search on with.

    Raises:
        ValueError: the file is no such checkpoint.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        state = content["state_dict"].items()
        parameters = {name.removeprefix("gp."): t for name, t in state if name.startswith("gp.")}
    except Exception as error:  # torch.load raises what its unpickler meets
        raise ValueError(f"{path}: not a checkpoint of a surrogate ({type(error).__name__})") from error
    if not parameters or not all(isinstance(t, Tensor) for t in parameters.values()):
        raise ValueError(f"{path}: not a checkpoint of a surrogate")
    return parameters
