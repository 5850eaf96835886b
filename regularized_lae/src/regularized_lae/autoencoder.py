"""The linear autoencoder x -> W2 W1 x of the paper, and stacks of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearAutoencoder(nn.Module):
    """x̂ = W2 W1 x, without biases: centre the data first.

    Args:
        dim: d, features of a sample.
        latents: k, size of the code, 1 <= k <= d.
        stack: leading shape of the weights; (B,) trains B independent autoencoders in the same matrix products.
        init_scale: standard deviation of both initial weights. The paper's 1e-4 keeps W1W1ᵀ - W2ᵀW2 small, on which the
            rotation augmented gradient relies (see `rag.imbalance`).
        generator: source of the initial weights.
    Raises:
        ValueError: k is not in 1..d.
    """

    def __init__(
        self,
        dim: int,
        latents: int,
        stack: tuple[int, ...] = (),
        init_scale: float = 1e-4,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_latents(latents, dim)
        self.encoder = nn.Parameter(init_scale * torch.randn(*stack, latents, dim, generator=generator))  # W1
        self.decoder = nn.Parameter(init_scale * torch.randn(*stack, dim, latents, generator=generator))  # W2

    def encode(self, x: Tensor) -> Tensor:
        """Codes y = W1 x of centred samples x, (..., n, d) -> (..., n, k)."""
        return x @ self.encoder.mT

    def decode(self, y: Tensor) -> Tensor:
        """Reconstructions W2 y of codes y, (..., n, k) -> (..., n, d)."""
        return y @ self.decoder.mT

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions of centred samples x, (..., n, d) -> (..., n, d)."""
        return self.decode(self.encode(x))


class TiedLinearAutoencoder(nn.Module):
    """x̂ = Wᵀ W x: one matrix is encoder and, transposed, decoder, as it is at every stationary point of the L2 losses.

    Tying hides the imbalance W1W1ᵀ - W2ᵀW2, which is then zero: it says nothing about how untied weights train. The
    losses take its `encoder` and `decoder` as any others; `RAG` wants two matrices.

    Args:
        dim, latents, init_scale, generator: see `LinearAutoencoder`.
    """

    def __init__(self, dim: int, latents: int, init_scale: float = 1e-4, generator: torch.Generator | None = None):
        super().__init__()
        check_latents(latents, dim)
        self.encoder = nn.Parameter(init_scale * torch.randn(latents, dim, generator=generator))  # W

    @property
    def decoder(self) -> Tensor:
        """Wᵀ, shape (d, k)."""
        return self.encoder.mT

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions of centred samples x, (n, d) -> (n, d)."""
        return x @ self.encoder.mT @ self.encoder


def check_latents(latents: int, dim: int) -> None:
    """Raises ValueError unless 1 <= latents <= dim: a linear code cannot have more components than the data have."""
    if not 1 <= latents <= dim:
        raise ValueError(f"latents must be between 1 and the data dimension {dim}, got {latents}")
