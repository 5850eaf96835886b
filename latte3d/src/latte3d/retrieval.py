"""Prompt-shape pairing: shapes for prompts that came without one, by their captions and renders."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class ShapeRetriever:
    """Scores shapes by (cos(text, caption) + mean over renders of cos(text, render)) / 2.

    With captions alone the first cosine is the score. At inference nobody needs it: the dummy cloud does.

    Args:
        captions: embeddings of the shapes' captions, (N, D). renders: of K renders each, (N, K, D), in the same space,
            such as CLIP's. top: best shapes among which one is drawn.
    Raises:
        ValueError: embeddings of other shapes.
    """

    def __init__(self, captions: Tensor, renders: Tensor | None = None, top: int = 10):
        if captions.ndim != 2 or (renders is not None and (renders.ndim != 3 or len(renders) != len(captions))):
            given = None if renders is None else tuple(renders.shape)
            raise ValueError(f"expected captions (N, D) and renders (N, K, D), got {tuple(captions.shape)} and {given}")
        self.captions = F.normalize(captions, dim=-1)
        self.renders = None if renders is None else F.normalize(renders, dim=-1)
        self.top = min(top, len(captions))

    def candidates(self, prompts: Tensor) -> Tensor:
        """The best shapes of each prompt, (B, top)."""
        return self.scores(prompts).topk(self.top, dim=-1).indices

    def scores(self, prompts: Tensor) -> Tensor:
        """Of prompts (B, D) with all shapes, (B, N)."""
        text = F.normalize(prompts, dim=-1)
        by_caption = text @ self.captions.T
        if self.renders is None:
            return by_caption
        return (by_caption + torch.einsum("bd,nkd->bnk", text, self.renders).mean(-1)) / 2

    def draw(self, prompts: Tensor, generator: torch.Generator) -> Tensor:
        """One of the best shapes for each prompt, (B,)."""
        best = self.candidates(prompts)
        pick = torch.randint(self.top, (len(best), 1), generator=generator)
        return best.gather(1, pick.to(best.device)).squeeze(1)

    def nearest(self, prompts: Tensor) -> Tensor:
        """The best shape of each prompt, (B,): the nearest-caption baseline."""
        return self.scores(prompts).argmax(-1)
