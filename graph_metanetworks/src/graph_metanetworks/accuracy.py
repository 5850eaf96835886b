"""Accuracy prediction: from a network's weights to its accuracy, by binary cross-entropy on a sigmoid."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from scipy.stats import kendalltau
from torch import Tensor, nn

from .baselines import DMC, DeepSetsMetanet, StatNN
from .finite import finite
from .metanet import InvariantMetanet
from .schedule import one_cycle
from .zoo_data import LabelledNets

TENSORS = 40  # StatNN pads every architecture to so many tensors

READERS: dict[str, Callable[[int, int], nn.Module]] = {  # name -> (width, depth) -> NetBatch -> (B, 1)
    "gmn": lambda width, depth: InvariantMetanet(1, width, depth),
    "deepsets": lambda width, depth: DeepSetsMetanet(1, width, depth),
    "dmc": lambda width, depth: DMC(1, width, depth=depth),
    "statnn": lambda width, depth: StatNN(1, TENSORS, 2 * width),
}


def r_squared(predicted: Tensor, true: Tensor) -> float:
    """1 - sum of squared errors over that of the mean."""
    return float(1 - (predicted - true).square().sum() / (true - true.mean()).square().sum())


def kendall(predicted: Tensor, true: Tensor) -> float:
    """Kendall's τ-b; 0 where all predictions are tied."""
    tau = kendalltau(predicted.numpy(), true.numpy()).statistic
    return float(tau) if tau == tau else 0.0


def recalibrated(predicted: Tensor, true: Tensor) -> float:
    """R² after the best affine map of the predictions: their squared correlation."""
    pair = torch.stack([predicted, true]).double()
    correlation = torch.corrcoef(pair)[0, 1]
    return float(correlation.square()) if torch.isfinite(correlation) else 0.0


class AccuracyPrediction(LightningModule):
    """Fits one reader; keeps predictions of the last test by part for whoever judges them.

    Args:
        reader: one of READERS. width, depth: its size. rate: the peak of AdamW's one-cycle schedule.
        seed: of the initial weights.
    """

    def __init__(
        self,
        reader: str = "gmn",
        width: int = 24,
        depth: int = 3,
        rate: float = 3e-3,
        decay: float = 1e-2,
        seed: int = 0,
    ):
        super().__init__()
        if reader not in READERS:
            raise ValueError(f"unknown reader {reader!r}, choose from {', '.join(READERS)}")
        self.save_hyperparameters()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.reader = READERS[reader](width, depth)
        self.predictions: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def forward(self, nets) -> Tensor:
        """Accuracies in (0, 1), (B,)."""
        return self.reader(nets)[:, 0].sigmoid()

    def loss(self, batch: LabelledNets) -> Tensor:
        logits = self.reader(batch.nets)[:, 0]
        return F.binary_cross_entropy_with_logits(logits, batch.accuracy.to(logits))

    def training_step(self, batch: LabelledNets, _) -> Tensor:
        loss = self.loss(batch)
        if self.trainer.logger:
            self.log("train/loss", loss, batch_size=len(batch.accuracy))
        return finite(loss, self.global_step, "model.init_args.rate")

    def error(self, batch: LabelledNets) -> Tensor:
        """Squared error of each net's prediction, (B,)."""
        return (self(batch.nets) - batch.accuracy.to(self.device)).square()

    def validation_step(self, batch: LabelledNets, _) -> None:
        error = self.error(batch).mean()
        self.log("val/squared_error", error, batch_size=len(batch.accuracy), sync_dist=True)

    def on_test_start(self) -> None:
        self.predictions = {}

    def test_step(self, batch: LabelledNets, _, dataloader_idx: int = 0) -> None:
        pair = self(batch.nets).detach().float().cpu(), batch.accuracy.float().cpu()
        self.predictions.setdefault(dataloader_idx, []).append(pair)

    def on_test_epoch_end(self) -> None:
        for part in self.predictions:
            predicted, true = self.tested(part)
            name = ("test", "ood")[part]
            self.log(f"{name}/r2", r_squared(predicted, true))
            self.log(f"{name}/tau", kendall(predicted, true))

    def tested(self, part: int) -> tuple[Tensor, Tensor]:
        """Predicted and true accuracies of a part of the last test, in the order of its nets."""
        predicted, true = zip(*self.predictions[part], strict=True)
        return torch.cat(predicted), torch.cat(true)

    def predict_step(self, batch: LabelledNets, _) -> Tensor:
        return self(batch.nets)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.rate, weight_decay=self.hparams.decay)
        return one_cycle(optimizer, self.hparams.rate, self.trainer)
