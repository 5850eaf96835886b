"""A baseline without connectivity: a classifier of triples of near vertices gives a soup of triangles."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from .batch import MeshBatch
from .finite import finite
from .predictor import LocalPointNet
from .schedule import one_cycle
from .triangulation import triangulate


def near_triples(positions: Tensor, neighbours: int) -> Tensor:
    """All triples of a vertex and two of its nearest ones, each once, sorted, (T, 3)."""
    count = len(positions)
    k = min(neighbours, count - 1)
    distance = torch.cdist(positions, positions).fill_diagonal_(torch.inf)
    near = distance.topk(k, largest=False)[1]
    a, b = torch.triu_indices(k, k, 1)
    triples = torch.stack([torch.arange(count)[:, None].expand(-1, len(a)), near[:, a], near[:, b]], -1).reshape(-1, 3)
    return torch.unique(torch.sort(triples, dim=1)[0], dim=0)


class SoupTraining(LightningModule):
    """An MLP on features of three vertices that do not tell them apart, with the predictor's view of a vertex's
    surroundings.

    Args:
        width: of the features. neighbours: near vertices of a vertex that triples are made of.
        rate, warmup: of AdamW and its schedule, as the predictor's.
    """

    def __init__(self, width: int = 64, neighbours: int = 8, rate: float = 2e-3, warmup: float = 0.05):
        super().__init__()
        self.save_hyperparameters()
        self.local = LocalPointNet(width)
        self._labelled: dict[int, tuple[Tensor, Tensor]] = {}
        self.out = nn.Sequential(
            nn.Linear(2 * width + 4, 2 * width), nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 1)
        )

    def forward(self, positions: Tensor, features: Tensor, triples: Tensor) -> Tensor:
        """Logits (T,) of triples among vertices (V, 3) with features (V, width)."""
        corners, seen = positions[triples], features[triples]  # (T, 3, 3), (T, 3, width)
        sides = (corners - corners.roll(1, 1)).norm(dim=-1).sort(dim=1)[0]
        area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(
            dim=-1, keepdim=True
        )
        return self.out(torch.cat([seen.mean(1), seen.amax(1), sides, area], 1)).squeeze(1)

    def training_step(self, batch: MeshBatch, _) -> Tensor:
        features = self.local(batch.positions, batch.mask)
        logits, labels = [], []
        for number, index in enumerate(batch.index.tolist()):
            if index not in self._labelled:
                self._labelled[index] = self.labelled(batch.mesh(number))
            triples, true = self._labelled[index]
            logits.append(self(batch.positions[number], features[number], triples.to(self.device)))
            labels.append(true)
        loss = binary_cross_entropy_with_logits(torch.cat(logits), torch.cat(labels).to(self.device).float())
        return finite(loss, self.global_step, "model.init_args.rate")

    def labelled(self, mesh) -> tuple[Tensor, Tensor]:
        """Triples of a mesh, and which are triangles of it."""
        size = len(mesh.vertices)
        _, triangles = triangulate(mesh)
        triangles = torch.sort(triangles[(triangles < size).all(1)], dim=1)[0]
        triples = near_triples(mesh.vertices, self.hparams.neighbours)
        keys = [(t[:, 0] * size + t[:, 1]) * size + t[:, 2] for t in (triples, triangles)]
        return triples, torch.isin(*keys)

    @torch.no_grad()
    def triangles(self, positions: Tensor) -> list[list[int]]:
        """The triples of vertices (V, 3) that are taken for triangles."""
        mask = torch.ones(1, len(positions), dtype=torch.bool)
        features = self.local(positions[None], mask)[0]
        triples = near_triples(positions, self.hparams.neighbours)
        return triples[self(positions, features, triples) > 0].tolist()

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = AdamW(self.parameters(), lr=self.hparams.rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, one_cycle(steps, self.hparams.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
