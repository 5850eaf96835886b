"""LightningModules that learn connectivity: shared steps and scores, and the set transformer for unseen vertices."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric

from .batch import MeshBatch
from .connectivity import Connectivity, padded_edge_loss
from .decode import Decoded, decode
from .embedding import EmbeddingSizes, VertexEmbedding
from .finite import finite
from .halfedge import HalfedgeMesh
from .metrics import MeshMetrics, mesh_metrics
from .predictor import ConnectivityPredictor
from .schedule import one_cycle
from .spacetime import spacetime_sqdist


class MeshTraining(LightningModule):
    """What all share; abstract: `vectors_of` gives the embeddings of a batch.

    Args:
        space, time, permutation, hole: see `EmbeddingSizes`.
        rate: peak learning rate of AdamW, reached after `warmup` of all steps, then a cosine to zero.
        weight_decay: of AdamW. face_weight: λ.
    Raises:
        ValueError: rates or sizes out of range.
    """

    def __init__(
        self,
        space: int = 16,
        time: int = 4,
        permutation: int = 8,
        hole: int = 0,
        rate: float = 2e-3,
        weight_decay: float = 0.01,
        warmup: float = 0.05,
        face_weight: float = 1.0,
    ):
        super().__init__()
        if rate <= 0 or face_weight < 0 or not 0 <= warmup < 1:
            raise ValueError(
                "rate must be positive, face_weight at least 0 and warmup in [0, 1), "
                f"got {rate}, {face_weight} and {warmup}"
            )
        self.save_hyperparameters()
        self.sizes = EmbeddingSizes(space, time, permutation, hole)
        self.connectivity = Connectivity()
        self.connectivity.hole_bias.requires_grad_(hole > 0)  # DDP waits for the gradient of whatever is trained
        self.scores = nn.ModuleDict({name: MeanMetric() for name in ("edge_f1", "face_f1", "exact", "edge_manifold")})

    def vectors_of(self, batch: MeshBatch) -> tuple[Tensor, Tensor]:
        """Embeddings (B, V, K) and a loss of its own, ()."""
        raise NotImplementedError

    def losses(self, batch: MeshBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole loss and its parts."""
        vectors, own = self.vectors_of(batch)
        embedding = VertexEmbedding.of(vectors, self.sizes)
        logits = self.connectivity.edge_logits(spacetime_sqdist(embedding.space, embedding.time))
        edge = padded_edge_loss(logits, batch.sizes, batch.edges, batch.edge_mesh)
        flat = VertexEmbedding.of(vectors[batch.mask], self.sizes)
        face = self.connectivity.face_loss(flat, batch.targets())
        return edge + self.hparams.face_weight * face + own, {"edge": edge, "face": face}

    def training_step(self, batch: MeshBatch, _) -> Tensor:
        loss, parts = self.losses(batch)
        self.log_dict({f"train/{name}": value for name, value in parts.items()}, batch_size=len(batch.sizes))
        return finite(loss, self.global_step, "model.init_args.rate")

    def decode(self, batch: MeshBatch) -> list[Decoded]:
        """One mesh for each set of vertices."""
        vectors, _ = self.vectors_of(batch)
        tau, bias = float(self.connectivity.tau.detach()), float(self.connectivity.hole_bias.detach())
        found = []
        for positions, own, size in zip(batch.positions, vectors.float(), batch.sizes.tolist(), strict=True):
            found.append(decode(positions[:size], VertexEmbedding.of(own[:size], self.sizes), tau, bias))
        return found

    def evaluated(self, batch: MeshBatch) -> list[tuple[Decoded, HalfedgeMesh, MeshMetrics]]:
        """Decoded and true meshes, compared."""
        return [(d, mesh, mesh_metrics(d, mesh)) for d, mesh in zip(self.decode(batch), batch.meshes(), strict=True)]

    def validation_step(self, batch: MeshBatch, _) -> None:
        self.report(batch, "val")

    def test_step(self, batch: MeshBatch, _) -> None:
        self.report(batch, "test")

    def report(self, batch: MeshBatch, prefix: str) -> None:
        """Log means over meshes."""
        for _, _, metrics in self.evaluated(batch):
            self.scores["edge_f1"](metrics.edges.f1)
            self.scores["face_f1"](metrics.faces.f1)
            self.scores["exact"](float(metrics.exact))
            self.scores["edge_manifold"](float(metrics.edge_manifold))
        for name, metric in self.scores.items():
            self.log(f"{prefix}/{name}", metric, on_epoch=True, on_step=False, batch_size=len(batch.sizes))

    def predict_step(self, batch: MeshBatch, _) -> list[tuple[Tensor, list[list[int]]]]:
        """Vertices (V, 3) and faces of each mesh; the trainer takes no frozen dataclasses."""
        return [(decoded.mesh.vertices, decoded.mesh.to_polygons()) for decoded in self.decode(batch)]

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = AdamW(self.parameters(), lr=self.hparams.rate, weight_decay=self.hparams.weight_decay)
        steps = self.trainer.estimated_stepping_batches
        schedule = LambdaLR(optimizer, one_cycle(int(steps), self.hparams.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class ConnectivityTraining(MeshTraining):
    """Positions to connectivity, for vertex sets that were never seen.

    Args:
        width, layers, heads, neighbours: see `ConnectivityPredictor`.
        jitter: standard deviation of noise on the positions in training, so that vertices of a generative model are
            met.
        training: see `MeshTraining`.
    """

    def __init__(
        self,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        neighbours: int = 16,
        jitter: float = 0.0,
        **training: Any,
    ):
        super().__init__(**training)
        self.save_hyperparameters()
        self.predictor = ConnectivityPredictor(self.sizes, width, layers, heads, neighbours)

    def forward(self, positions: Tensor, mask: Tensor) -> Tensor:
        """Embeddings (B, V, K) of vertices (B, V, 3)."""
        return self.predictor(positions, mask)

    @torch.no_grad()
    def embedding_of(self, positions: Tensor) -> tuple[VertexEmbedding, float]:
        """Of one set of `normalised` vertices (V, 3), and the threshold τ: what `decode` and `repair_mesh` take."""
        vectors = self(positions[None], torch.ones(1, len(positions), dtype=torch.bool))[0]
        return VertexEmbedding.of(vectors, self.sizes), float(self.connectivity.tau)

    def vectors_of(self, batch: MeshBatch) -> tuple[Tensor, Tensor]:
        positions = batch.positions
        if self.training and self.hparams.jitter:
            processes = self._trainer.world_size if self._trainer else 1
            generator = torch.Generator().manual_seed(self.global_step * processes + self.global_rank)
            noise = torch.randn(positions.shape, generator=generator).to(positions)
            positions = positions + self.hparams.jitter * noise
        return self.predictor(positions, batch.mask), positions.new_zeros(())
