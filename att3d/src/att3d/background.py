"""What a ray sees behind the object: one colour, or a field of the direction that the text modulates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .field import SharedDecoder
from .grid_encoder import ModulatedGridEncoder


class ConstantBackground(nn.Module):
    """The same colour everywhere; it takes no modulations.

    Raises:
        ValueError: a colour that is not three numbers in [0, 1].
    """

    size = 0

    def __init__(self, colour: Sequence[float] = (1.0, 1.0, 1.0)):
        super().__init__()
        if len(colour) != 3 or min(colour) < 0 or max(colour) > 1:
            raise ValueError(f"colour must be three numbers in [0, 1], got {list(colour)}")
        self.colour = list(colour)

    def forward(self, w: Tensor, directions: Tensor) -> Tensor:
        """(P, 0), (P, R, 3) -> (P, R, 3)."""
        return torch.tensor(self.colour, device=directions.device).expand_as(directions)


class ModulatedBackground(nn.Module):
    """A network on the ray's unit direction whose features are modulated by the text as the object's are."""

    def __init__(self, resolution: int = 4, n_features: int = 4, hidden: int = 16):
        super().__init__()
        self.resolution, self.n_features, self.hidden = resolution, n_features, hidden
        self.encoder = ModulatedGridEncoder([resolution], n_features)
        self.decoder = SharedDecoder(self.encoder.out_features, hidden, 3)

    @property
    def size(self) -> int:
        return self.encoder.size

    def forward(self, w: Tensor, directions: Tensor) -> Tensor:
        """(P, size), (P, R, 3) -> colours (P, R, 3) in [0, 1]."""
        return self.decoder(self.encoder(w, directions)).sigmoid()
