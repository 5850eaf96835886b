"""Self-supervised embeddings of INRs: a SIREN and its disturbed copy lie close, other SIRENs far."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from .baselines import FlatMLP
from .batch import NetBatch
from .finite import finite
from .metanet import InvariantMetanet
from .parameter_graph import ParameterGraph
from .siren_data import SirenBatch

EMBEDDING = 16
ENCODERS: dict[str, Callable[[int, int, int], nn.Module]] = {  # (parameters, width, depth)
    "gmn": lambda parameters, width, depth: InvariantMetanet(EMBEDDING, width, depth, relative=True),
    "flat": lambda parameters, width, depth: FlatMLP(parameters, EMBEDDING, 8 * width),
}


def tensor_spread(graph: ParameterGraph, flat: Tensor) -> Tensor:
    """The standard deviation of each net's tensors, at every parameter: (B, P) -> (B, P)."""
    parts = []
    for shape, offset in zip(graph.layout.shapes, graph.layout.offsets, strict=True):
        part = flat[:, offset : offset + torch.Size(shape).numel()]
        parts.append(part.std(1, correction=0, keepdim=True).expand_as(part))
    return torch.cat(parts, 1)


def gaussian_noise(spread: Tensor, generator: torch.Generator) -> Tensor:
    """N(0, (0.2 σ)²) with σ the spread of the parameter's tensor."""
    return 0.2 * spread * torch.randn(spread.shape, generator=generator).to(spread)


def constant_noise(spread: Tensor, generator: torch.Generator) -> Tensor:
    """The constant 0.2 σ, as the code of DWSNets adds it."""
    return 0.2 * spread


NOISES = {"gaussian": gaussian_noise, "constant": constant_noise}


def disturbed(graph: ParameterGraph, flat: Tensor, noise, dropout: float, generator: torch.Generator) -> Tensor:
    """θ plus noise, then each parameter zero with probability `dropout`."""
    kept = (torch.rand(flat.shape, generator=generator) >= dropout).to(flat)
    return (flat + noise(tensor_spread(graph, flat), generator)) * kept


def info_nce(a: Tensor, b: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of finding each row's partner among all other 2B - 1 rows, both ways (SimCLR's NT-Xent)."""
    rows = F.normalize(torch.cat([a, b]), dim=1)
    similarity = rows @ rows.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    partner = torch.arange(len(rows), device=rows.device).roll(len(a))
    return F.cross_entropy(similarity, partner)


def linear_probe(train: Tensor, train_target: Tensor, test: Tensor, test_target: Tensor) -> float:
    """Mean squared error on test of the linear regression from train embeddings to targets."""

    def with_one(x: Tensor) -> Tensor:
        return torch.cat([x, torch.ones(len(x), 1)], 1).double()

    solution = torch.linalg.lstsq(with_one(train), train_target.double(), driver="gelsd").solution
    return float((with_one(test) @ solution - test_target).square().mean())


class INRContrastive(LightningModule):
    """InfoNCE between SIRENs and their disturbed copies; judged by a linear probe from embeddings to (a, b).

    Args:
        encoder: one of ENCODERS. width, depth: its size. parameters: of a SIREN. noise: one of NOISES. dropout: of
            weights in the disturbed copy. seed: of the initial weights; the disturbance depends on it and on the step.
    """

    def __init__(
        self, encoder: str = "gmn", width: int = 24, depth: int = 3, parameters: int = 321, noise: str = "gaussian",
        dropout: float = 0.5, rate: float = 5e-3, decay: float = 5e-4, seed: int = 0,
    ):  # fmt: skip
        super().__init__()
        for name, value, known in (("encoder", encoder, ENCODERS), ("noise", noise, NOISES)):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}, choose from {', '.join(known)}")
        self.save_hyperparameters()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encoder = ENCODERS[encoder](parameters, width, depth)
            self.projection = nn.Sequential(nn.Linear(EMBEDDING, EMBEDDING), nn.ReLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.collected: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def forward(self, nets: NetBatch) -> Tensor:
        """Embeddings, (B, 16)."""
        return self.encoder(nets)

    def training_step(self, batch: SirenBatch, _) -> Tensor:
        ((graph, flat),) = batch.nets.groups
        generator = torch.Generator().manual_seed(1_000_003 * (self.hparams.seed + 1) + self.global_step)
        copy = disturbed(graph, flat, NOISES[self.hparams.noise], self.hparams.dropout, generator)
        embedded = self.encoder(NetBatch([(graph, torch.cat([flat, copy]))]))
        loss = info_nce(*self.projection(embedded).chunk(2))
        if self.trainer.logger:
            self.log("train/info_nce", loss, batch_size=len(flat))
        return finite(loss, self.global_step, "model.init_args.rate")

    def validation_step(self, batch: SirenBatch, index: int) -> None:
        ((graph, flat),) = batch.nets.groups
        generator = torch.Generator().manual_seed(index)
        copy = disturbed(graph, flat, NOISES[self.hparams.noise], self.hparams.dropout, generator)
        embedded = self.encoder(NetBatch([(graph, torch.cat([flat, copy]))]))
        self.log("val/info_nce", info_nce(*self.projection(embedded).chunk(2)), batch_size=len(flat), sync_dist=True)

    def on_test_start(self) -> None:
        self.collected = {}

    def test_step(self, batch: SirenBatch, _, dataloader_idx: int = 0) -> None:
        self.collected.setdefault(dataloader_idx, []).append((self(batch.nets).detach().cpu(), batch.target.cpu()))

    def on_test_epoch_end(self) -> None:
        if len(self.collected) == 2:
            self.log("test/probe_mse", self.probe())

    def embedded(self, part: int) -> tuple[Tensor, Tensor]:
        """Embeddings and targets of the last test; part 0 is test, 1 train."""
        embeddings, targets = zip(*self.collected[part], strict=True)
        return torch.cat(embeddings), torch.cat(targets)

    def probe(self) -> float:
        """Test error of the linear probe that was fitted on train."""
        return linear_probe(*self.embedded(1), *self.embedded(0))

    def predict_step(self, batch: SirenBatch, _) -> Tensor:
        return self(batch.nets)

    def configure_optimizers(self):
        options = {"lr": self.hparams.rate, "weight_decay": self.hparams.decay, "amsgrad": True}
        return torch.optim.AdamW(self.parameters(), **options)
