"""The auto-decoded collection: one latent code per mesh, trained together with a plain transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .batch import MeshBatch
from .predictor import Block
from .training import MeshTraining


class CollectionTraining(MeshTraining):
    """Codes and a transformer that turns a code and numbered slots into positions and embeddings.

    Vertices are told apart by their slots, their numbers in the file, so a mesh must always come in the same order; the
    batch says which meshes it holds (`MeshBatch.index`).

    Args:
        meshes: size of the collection. slots: most vertices of a mesh. code: size of a code.
        width, layers, heads: of the transformer. position_weight: of the squared error of positions.
        training: see `MeshTraining`.
    """

    def __init__(
        self,
        meshes: int,
        slots: int = 48,
        code: int = 32,
        width: int = 96,
        layers: int = 3,
        heads: int = 4,
        position_weight: float = 10.0,
        **training: Any,
    ):
        super().__init__(**training)
        self.save_hyperparameters()
        self.codes = nn.Embedding(meshes, code)
        nn.init.normal_(self.codes.weight, std=0.1)
        self.slots = nn.Parameter(0.5 * torch.randn(slots, width))
        self.enter = nn.Linear(code, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 3 + self.sizes.total)

    def forward(self, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, c) to positions (B, V, 3) and vectors (B, V, K)."""
        x = self.slots[: mask.shape[1]] + self.enter(codes)[:, None]
        for block in self.blocks:
            x = block(x, mask)
        both = self.out(self.norm(x))
        return both[..., :3], both[..., 3:]

    def vectors_of(self, batch: MeshBatch) -> tuple[Tensor, Tensor]:
        positions, vectors = self(self.codes(batch.index), batch.mask)
        error = (positions - batch.positions).square().sum(-1)[batch.mask].mean()
        return vectors, self.hparams.position_weight * error

    def placed(self, batch: MeshBatch) -> MeshBatch:
        """The batch with the positions that the network gives."""
        return batch._replace(positions=self(self.codes(batch.index), batch.mask)[0])
