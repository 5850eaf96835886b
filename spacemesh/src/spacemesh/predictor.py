"""Connectivity of an unseen set of vertices: a set transformer from positions to embeddings.

Which vertex is which, the order in the file, is not seen: the network is equivariant to permutations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .embedding import EmbeddingSizes


class LocalPointNet(nn.Module):
    """Features of a vertex from the offsets to its nearest others, raw and divided by their local scale (PointNet).

    Args:
        width: of the features. neighbours: how many.
    """

    def __init__(self, width: int, neighbours: int = 16):
        super().__init__()
        self.neighbours = neighbours
        self.point = nn.Sequential(nn.Linear(8, width), nn.SiLU(), nn.Linear(width, width))
        self.out = nn.Linear(2 * width, width)

    def forward(self, positions: Tensor, mask: Tensor) -> Tensor:
        """(B, V, 3) and bool (B, V) to (B, V, width)."""
        offset, distance, near, scale = nearest(positions, mask, self.neighbours)
        relative = offset / scale[..., None, None]
        features = torch.cat([offset, distance[..., None], relative, distance[..., None] / scale[..., None, None]], -1)
        point = self.point(features)  # (B, V, n, width)
        most = point.masked_fill(~near[..., None], -torch.inf).amax(2)
        mean = (point * near[..., None]).sum(2) / near.sum(2, keepdim=True).clamp_min(1)
        return self.out(torch.cat([most.masked_fill(most.isinf(), 0.0), mean], -1))


def nearest(positions: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Offsets to the nearest other vertices, by distance.

    Returns:
        offsets (B, V, n, 3), distances (B, V, n), which are real, bool (B, V, n), and the mean distance to the first
        four (B, V); n = min(count, V - 1).
    """
    distance = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist")
    usable = mask[:, None, :] & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    distance = distance.masked_fill(~usable, torch.inf)
    value, index = distance.topk(min(count, positions.shape[1] - 1), largest=False)
    real = value.isfinite()
    other = positions.gather(1, index.flatten(1)[..., None].expand(-1, -1, 3)).view(*index.shape, 3)
    offset = (other - positions[:, :, None]).masked_fill(~real[..., None], 0.0)
    value = value.masked_fill(~real, 0.0)
    scale = value[..., :4].sum(-1) / real[..., :4].sum(-1).clamp_min(1)
    return offset, value, real, scale.clamp_min(1e-6)


class ConnectivityPredictor(nn.Module):
    """Positions to vertex embeddings: LocalPointNet and a pre-norm transformer without positional encoding.

    Args:
        sizes: of the embedding. width, layers, heads: of the transformer. neighbours: of LocalPointNet.
        latent: size of conditioning tokens (of a point cloud, say), 0 for none.
    Raises:
        ValueError: fewer than 3 space dimensions: the first three carry the positions, scaled.
    """

    def __init__(
        self,
        sizes: EmbeddingSizes | None = None,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        neighbours: int = 16,
        latent: int = 0,
    ):
        super().__init__()
        self.sizes = sizes or EmbeddingSizes()
        if self.sizes.space < 3:
            raise ValueError(f"the predictor needs at least 3 space dimensions, got {self.sizes.space}")
        self.local = LocalPointNet(width, neighbours)
        self.place = nn.Linear(3, width)
        self.blocks = nn.ModuleList([Block(width, heads, latent) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, self.sizes.total)

    def forward(self, positions: Tensor, mask: Tensor, latents: Tensor | None = None) -> Tensor:
        """Vectors (B, V, K) of the vertices; what stands where `mask` is false has no meaning.

        Args:
            positions: (B, V, 3). mask: bool, (B, V). latents: conditioning tokens, (B, L, latent).
        """
        x = self.local(positions, mask) + self.place(positions)
        for block in self.blocks:
            x = block(x, mask, latents)
        vectors = self.out(self.norm(x))
        scale = nearest(positions, mask, 1)[1][..., 0]  # to the nearest
        mean = (scale * mask).sum(1) / mask.sum(1)
        start = 0.8 * positions / mean.clamp_min(1e-6)[:, None, None]
        return torch.cat([vectors[..., :3] + start, vectors[..., 3:]], -1)


class Block(nn.Module):
    """Pre-norm self-attention, cross-attention to latents if there are any, and a feed-forward layer."""

    def __init__(self, width: int, heads: int, latent: int = 0, modulated: bool = False):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width, elementwise_affine=not modulated) for _ in range(2)])
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.forward_ = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.cross_norm = nn.LayerNorm(width) if latent else None
        self.cross = nn.MultiheadAttention(width, heads, kdim=latent, vdim=latent, batch_first=True) if latent else None

    def forward(
        self, x: Tensor, mask: Tensor, latents: Tensor | None = None, modulation: Tensor | None = None
    ) -> Tensor:
        """(B, V, width); modulation (B, 6, width): shift, scale and gate of both halves (adaptive layer norm)."""
        shift, scale, gate, shift2, scale2, gate2 = (
            (0.0, 0.0, 1.0) * 2 if modulation is None else modulation[:, :, None].unbind(1)
        )
        y = self.norms[0](x) * (1 + scale) + shift
        x = x + gate * self.attention(y, y, y, key_padding_mask=~mask, need_weights=False)[0]
        if self.cross is not None and latents is not None:
            x = x + self.cross(self.cross_norm(x), latents, latents, need_weights=False)[0]
        y = self.norms[1](x) * (1 + scale2) + shift2
        return x + gate2 * self.forward_(y)


class PointCloudEncoder(nn.Module):
    """Points with normals to a few latent tokens: the first points ask, all answer (cross-attention).

    The points of a cloud are in no order, so the first ones are a sample of it, as in 3DShape2VecSet.

    Args:
        latents: number of tokens, at most that of points. width: of each.
        heads: of the attention. layers: self-attention blocks after it.
    """

    def __init__(self, latents: int = 256, width: int = 512, heads: int = 8, layers: int = 2):
        super().__init__()
        self.latents = latents
        self.points = nn.Sequential(nn.Linear(6, width), nn.SiLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])

    def forward(self, cloud: Tensor) -> Tensor:
        """(B, P, 6), positions and unit normals, to (B, latents, width).

        Raises:
            ValueError: another shape, or fewer points than latents.
        """
        if cloud.ndim != 3 or cloud.shape[-1] != 6 or cloud.shape[1] < self.latents:
            raise ValueError(
                f"a cloud is (B, P, 6), positions and normals, P at least {self.latents}, got {tuple(cloud.shape)}"
            )
        points = self.norm(self.points(cloud))
        queries = points[:, : self.latents]
        x = queries + self.attention(queries, points, points, need_weights=False)[0]
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        for block in self.blocks:
            x = block(x, mask)
        return x
