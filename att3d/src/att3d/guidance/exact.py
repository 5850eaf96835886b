"""The exact denoiser of a finite set of images: no network, no training, and the oracle for those that have one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..view_prompts import VIEWS
from .protocol import Guidance, cosine_alphas


class ExactPrior(Guidance):
    """x̂₀ = Σ_i softmax_i(−‖z_t − √ᾱ x_i‖² / (2(1 − ᾱ) + 2 ρ² ᾱ)) x_i and ε̂ = (z_t − √ᾱ x̂₀) / √(1 − ᾱ).

    The sum runs over the images of one prompt and view bucket; unconditionally over all. The width ρ keeps the choice
    soft at low noise. With one image, ε̂ − ε = √(ᾱ / (1 − ᾱ)) (z − x) whatever the noise.

    Args:
        images: (N, 3, H, W) in [0, 1]. captions: their N prompts. views: their buckets (N,).
        width: ρ, in units of z.
    Raises:
        ValueError: lengths differ, or no image.
    """

    def __init__(self, images: Tensor, captions: Sequence[str], views: Tensor, width: float = 0.1, steps: int = 1000):
        super().__init__()
        if not len(images) or len({len(images), len(captions), len(views)}) > 1:
            raise ValueError(
                f"expected as many images as captions and views, got {len(images)}, {len(captions)} and {len(views)}"
            )
        self.names = {name: number for number, name in enumerate(dict.fromkeys(captions))}
        self.width = width
        bucket = torch.tensor([self.names[caption] for caption in captions]) * len(VIEWS) + views.cpu()
        self.register_buffer("data", (2 * images - 1).flatten(1), persistent=False)  # (N, C H W)
        self.register_buffer("bucket", bucket, persistent=False)
        self.register_buffer("alphas_cumprod", cosine_alphas(steps), persistent=False)

    def condition(self, prompts: Sequence[str], views: Sequence[int]) -> Tensor:
        """Numbers of buckets (B,); a bucket without an image falls back on all images of its prompt.

        Raises:
            ValueError: a prompt of which there are no images.
        """
        unknown = [prompt for prompt in prompts if prompt not in self.names]
        if unknown:
            raise ValueError(f"the exact prior has no images of {unknown[0]!r}; it knows {len(self.names)} prompts")
        numbers = [self.names[p] * len(VIEWS) + int(v) for p, v in zip(prompts, views, strict=True)]
        return torch.tensor(numbers, device=self.data.device)

    def mix(self, one: Tensor, other: Tensor, share: Tensor) -> Tensor:
        """Raises ValueError: images have no embedding between them."""
        raise ValueError("the exact prior has no text embedding to interpolate: choose the strategy loss, "
                         "stochastic_loss or guidance")  # fmt: skip

    @torch.no_grad()
    def noise_pair(self, z_t: Tensor, t: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.logits(z_t, t)
        own = self.bucket == cond[:, None]  # (B, N)
        prompt = self.bucket // len(VIEWS) == (cond // len(VIEWS))[:, None]
        own = torch.where(own.any(1, keepdim=True), own, prompt)
        clean = logits.softmax(1), logits.masked_fill(~own, -torch.inf).softmax(1)
        return self.noise(z_t, t, clean[0]), self.noise(z_t, t, clean[1])

    def logits(self, z_t: Tensor, t: Tensor) -> Tensor:
        """Log-likelihood of each image (B, N) given z_t (B, 3, H, W) at t (B,), up to a constant of the row.

        Raises:
            ValueError: z_t of another size than the images.
        """
        a = self.signal(t).flatten()[:, None]  # (B, 1)
        flat = z_t.flatten(1)
        if flat.shape[1] != self.data.shape[1]:
            raise ValueError(
                f"the exact prior holds images of {self.data.shape[1]} numbers, got {tuple(z_t.shape[1:])}: "
                "render at the resolution of its images"
            )
        product = flat @ self.data.T  # (B, N)
        square = a * self.data.square().sum(1) - 2 * a.sqrt() * product
        return -square / (2 * (1 - a) + 2 * self.width**2 * a)

    def noise(self, z_t: Tensor, t: Tensor, share: Tensor) -> Tensor:
        """ε̂ from the images' posterior shares (B, N)."""
        a = self.signal(t)
        clean = (share @ self.data).reshape(z_t.shape)
        return (z_t - a.sqrt() * clean) / (1 - a).sqrt()
