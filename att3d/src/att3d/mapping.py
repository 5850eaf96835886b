"""The mapping network m: token embeddings of a prompt -> the modulations of its feature grid.

v = SiLU(W₁ flatten(c) + b),  w = g · W₂ v,  with spectral norm on W₁ and on W₂ (no bias in the second).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

SILU_SLOPE = 1.09984  # max |SiLU'|, at x = 2.3994


class MappingNetwork(nn.Module):
    """Text -> grid, Lipschitz by construction: ‖m(c₁) − m(c₂)‖ ≤ g · 1.09984 · σ₁ σ₂ · ‖c₁ − c₂‖ with σ₁, σ₂ ≈ 1.

    Args:
        num_tokens, embed_dim: T and D of the embeddings.
        grid: G, how many modulations a prompt gets.
        hidden: width of v.
        spectral_norm: False leaves both layers free; the bound then uses their real norms.
        modulation_scale: g. rms(w) ≤ g ‖v‖ / √G, so that small embeddings need more than 1.
    Raises:
        ValueError: a size below 1, or a scale that is not positive.
    """

    def __init__(
        self,
        num_tokens: int,
        embed_dim: int,
        grid: int,
        hidden: int = 32,
        spectral_norm: bool = True,
        modulation_scale: float = 1.0,
    ):
        super().__init__()
        if min(num_tokens, embed_dim, grid, hidden) < 1 or modulation_scale <= 0:
            raise ValueError(
                "num_tokens, embed_dim, grid and hidden must be at least 1 and modulation_scale positive, "
                f"got {num_tokens}, {embed_dim}, {grid}, {hidden} and {modulation_scale}"
            )
        self.num_tokens, self.embed_dim, self.modulation_scale = num_tokens, embed_dim, modulation_scale
        wrap = with_spectral_norm if spectral_norm else nn.Identity()
        self.first = wrap(nn.Linear(num_tokens * embed_dim, hidden))
        self.second = wrap(nn.Linear(hidden, grid, bias=False))

    def forward(self, c: Tensor) -> Tensor:
        """Modulations (P, G) of embeddings (P, T, D).

        Raises:
            ValueError: embeddings of another shape.
        """
        if c.ndim != 3 or c.shape[1:] != (self.num_tokens, self.embed_dim):
            raise ValueError(
                f"embeddings must be (P, {self.num_tokens}, {self.embed_dim}), got {tuple(c.shape)}: "
                "is this another text encoder than in training?"
            )
        v = silu(self.first(c.flatten(1)))  # (P, hidden)
        return self.modulation_scale * self.second(v)

    @torch.no_grad()
    def lipschitz_bound(self) -> float:
        """L with ‖m(c₁) − m(c₂)‖₂ ≤ L ‖c₁ − c₂‖₂, from the actual largest singular values."""
        norms = [largest_singular_value(layer.weight) for layer in (self.first, self.second)]
        return self.modulation_scale * SILU_SLOPE * norms[0] * norms[1]


def largest_singular_value(weight: Tensor) -> float:
    """σ₁ of a matrix by the eigenvalues of its smaller Gram matrix: a last layer of a million rows is no obstacle."""
    weight = weight.double()
    gram = weight.T @ weight if weight.shape[0] > weight.shape[1] else weight @ weight.T
    return float(torch.linalg.eigvalsh(gram)[-1].clamp(min=0).sqrt())
