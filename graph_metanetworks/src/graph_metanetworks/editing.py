"""INR editing: change a SIREN's weights so that the image it holds becomes another one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from .baselines import EditingFlatMLP
from .finite import finite
from .metanet import EditingMetanet
from .networks.siren import image_grid, run_sirens
from .npnfn import NPNFN
from .schedule import one_cycle
from .siren_data import SirenBatch

EDITORS: dict[str, Callable[[Sequence[int], int, int, int], nn.Module]] = {  # (sizes, parameters, width, depth)
    "gmn": lambda sizes, parameters, width, depth: EditingMetanet(width, depth, relative=True),
    "flat": lambda sizes, parameters, width, depth: EditingFlatMLP(parameters, 8 * width),
    "npnfn": lambda sizes, parameters, width, depth: NPNFN(sizes, width, depth),
}


class INREditing(LightningModule):
    """θ̃ = θ + γ · editor(θ), trained by the squared error of the image that θ̃ draws.

    Args:
        editor: one of EDITORS. width, depth: its size. sizes, omega: of the SIRENs. side: pixels of the image's side.
        rate: the peak of Adam's one-cycle schedule.
    """

    def __init__(
        self, editor: str = "gmn", width: int = 32, depth: int = 3, sizes: Sequence[int] = (2, 16, 16, 1),
        omega: float = 10.0, side: int = 8, rate: float = 3e-3, seed: int = 0,
    ):  # fmt: skip
        super().__init__()
        if editor not in EDITORS:
            raise ValueError(f"unknown editor {editor!r}, choose from {', '.join(EDITORS)}")
        self.save_hyperparameters()
        parameters = sum(a * b + b for a, b in itertools.pairwise(sizes))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.editor = EDITORS[editor](list(sizes), parameters, width, depth)
        self.register_buffer("places", image_grid(side, side), persistent=False)
        self.edited: list[Tensor] = []

    def forward(self, nets) -> Tensor:
        """The images that edited SIRENs draw, (B, pixels · channels)."""
        (flat,) = self.editor(nets)
        return run_sirens(flat, self.places, self.hparams.sizes, self.hparams.omega).flatten(1)

    def error(self, batch: SirenBatch) -> Tensor:
        """Mean squared error of each image, (B,)."""
        return (self(batch.nets) - batch.target.to(self.places)).square().mean(1)

    def training_step(self, batch: SirenBatch, _) -> Tensor:
        loss = self.error(batch).mean()
        if self.trainer.logger:
            self.log("train/mse", loss, batch_size=len(batch.target))
        return finite(loss, self.global_step, "model.init_args.rate")

    def validation_step(self, batch: SirenBatch, _) -> None:
        self.log("val/mse", self.error(batch).mean(), batch_size=len(batch.target), sync_dist=True)

    def test_step(self, batch: SirenBatch, _, dataloader_idx: int = 0) -> None:
        name = ("test", "train")[dataloader_idx]
        error = self.error(batch).mean()
        self.log(f"{name}/mse", error, batch_size=len(batch.target), add_dataloader_idx=False, sync_dist=True)

    def predict_step(self, batch: SirenBatch, _) -> Tensor:
        return self(batch.nets)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.rate)
        return one_cycle(optimizer, self.hparams.rate, self.trainer)
