"""What a prompt becomes: a field, its modulations, and the rendering of both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .cameras import Cameras, ring
from .renderer import RenderOutput, VolumeRenderer


@dataclass(frozen=True)
class Scenes:
    """P scenes: (w, x) -> density and colour, modulations (P, G), and what is behind."""

    field: nn.Module
    w: Tensor
    background: nn.Module | None = None

    def __len__(self) -> int:
        return len(self.w)

    def density(self, x: Tensor) -> Tensor:
        """(P, N, 3) -> (P, N)."""
        return self.field(self.own_w(), x)[0]

    def own_w(self) -> Tensor:
        """Modulations of the field alone; those of the background come after them."""
        return self.w[:, : getattr(self.field, "size", self.w.shape[1])]

    def to(self, device: str | torch.device) -> Scenes:
        return replace(self, w=self.w.to(device))

    @torch.no_grad()
    def images(self, cameras: Cameras, resolution: int = 64, samples: int = 64) -> RenderOutput:
        """Rendered without noise."""
        return VolumeRenderer(samples, resolution).render(self.field, self.w, cameras, None, self.background)

    def turntable(self, views: int = 24, resolution: int = 64, elevation: float = 20.0) -> Tensor:
        """(P, views, 3, H, W), once around; view by view, which bounds memory."""
        cameras = ring(len(self), views, elevation)
        parts = []
        for v in range(views):
            own = Cameras(*(getattr(cameras, n)[:, v : v + 1].to(self.w) for n in Cameras.__dataclass_fields__))
            parts.append(self.images(own, resolution).rgb)
        return torch.cat(parts, 1)
