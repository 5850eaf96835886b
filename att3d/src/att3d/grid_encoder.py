"""γ_w: a multiresolution feature grid whose values w come from outside, one set for each prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

PAPER_RESOLUTIONS = (9, 14, 22, 36, 58)


class ModulatedGridEncoder(nn.Module):
    """Trilinear lookup of all prompts at once, one `grid_sample` a level; it has no parameters of its own.

    Args:
        resolutions: vertices along an edge of each dense level, over [-1, 1]³ with the corners on the border.
        n_features: F of each level.
    Raises:
        ValueError: no level, a level below 2, or no feature.
    """

    def __init__(self, resolutions: Sequence[int] = PAPER_RESOLUTIONS, n_features: int = 4):
        super().__init__()
        if not resolutions or min(resolutions) < 2 or n_features < 1:
            raise ValueError(
                "resolutions must name levels of at least 2 vertices and n_features be at least 1, "
                f"got {list(resolutions)} and {n_features}"
            )
        self.resolutions, self.n_features = list(resolutions), n_features
        self.sizes = [n_features * r**3 for r in resolutions]

    @property
    def size(self) -> int:
        """G, numbers that a prompt needs."""
        return sum(self.sizes)

    @property
    def out_features(self) -> int:
        return self.n_features * len(self.resolutions)

    def forward(self, w: Tensor, x: Tensor) -> Tensor:
        """Features (P, N, levels · F) of points x (P, N, 3) in [-1, 1]³ on the grids w (P, G).

        Outside the box the value on its border goes on.

        Raises:
            ValueError: shapes that do not fit.
        """
        if w.ndim != 2 or x.ndim != 3 or w.shape != (len(x), self.size) or x.shape[-1] != 3:
            raise ValueError(f"w must be (P, {self.size}) and x (P, N, 3), got {tuple(w.shape)} and {tuple(x.shape)}")
        at = x[:, :, None, None]  # (P, N, 1, 1, 3)
        levels = []
        for values, r in zip(w.split(self.sizes, dim=1), self.resolutions, strict=True):
            grid = values.reshape(len(w), self.n_features, r, r, r)  # indexed z, y, x
            found = grid_sample(grid, at, padding_mode="border", align_corners=True)  # (P, F, N, 1, 1)
            levels.append(found[..., 0, 0])
        return torch.cat(levels, 1).transpose(1, 2)
