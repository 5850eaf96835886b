"""Perp-Neg: the other views as negative prompts, of which only what is perpendicular to the own view counts.

With d = ε_c − ε_u of the own view and d_i of the others, the conditional estimate becomes ε_u + d − ω Σ_i perp(d_i, d):
a side view that also asks for "a red cube" does not take the red cube away, only what makes it a side view.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..view_prompts import VIEWS
from .protocol import Guidance

OTHERS = {0: (1, 2), 1: (0, 2), 2: (0, 1), 3: (3, 3)}  # front, side, back; from overhead no view is wrong


def perpendicular(d: Tensor, to: Tensor) -> Tensor:
    """d − ⟨d, to⟩ / ‖to‖² · to, image by image, both (B, C, H, W); d itself where `to` is zero."""
    along = (d * to).flatten(1).sum(1) / to.flatten(1).square().sum(1).clamp(min=1e-12)
    return d - along.reshape(-1, 1, 1, 1) * to


class PerpNeg(Guidance):
    """Any prior with the other views as negatives; three estimates for each image instead of one.

    Args:
        guidance: the prior. weight: ω of each of the two other views; 0 is the prior itself.
    Raises:
        ValueError: a negative weight, which would ask for the other views.
    """

    def __init__(self, guidance: Guidance, weight: float = 1.0):
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight must be at least 0 (it is subtracted), got {weight}")
        self.guidance, self.weight = guidance, weight

    @property
    def alphas_cumprod(self) -> Tensor:
        return self.guidance.alphas_cumprod

    def encode(self, rgb: Tensor) -> Tensor:
        return self.guidance.encode(rgb)

    def condition(self, prompts: Sequence[str], views: Sequence[int]) -> Tensor:
        """(B, 3, ...): the own view's condition, then those of the two others.

        Raises:
            ValueError: a view that is none of VIEWS.
        """
        if unknown := [view for view in views if int(view) not in OTHERS]:
            raise ValueError(f"views must be 0 to {len(VIEWS) - 1} ({', '.join(VIEWS)}), got {unknown[0]}")
        columns = [views, [OTHERS[int(v)][0] for v in views], [OTHERS[int(v)][1] for v in views]]
        return torch.stack([self.guidance.condition(prompts, column) for column in columns], 1)

    def mix(self, one: Tensor, other: Tensor, share: Tensor) -> Tensor:
        return self.guidance.mix(one, other, share)

    @torch.no_grad()
    def noise_pair(self, z_t: Tensor, t: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        count = cond.shape[1]
        free, own = self.guidance.noise_pair(z_t, t, cond[:, 0])
        d, negative = own - free, torch.zeros_like(own)
        for column in range(1, count):
            _, other = self.guidance.noise_pair(z_t, t, cond[:, column])
            negative = negative + perpendicular(other - free, d)
        return free, own - self.weight * negative
