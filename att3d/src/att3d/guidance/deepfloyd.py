"""DeepFloyd IF's first stage as a prior: 64 pixels, T5 text, a UNet that also predicts variances."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from ..text import T5TextEncoder
from .pixel import DiffusersGuidance


class DeepFloydGuidance(DiffusersGuidance):
    """Args:
    path: folder in the diffusers layout or hub id (its licence must have been accepted there).
    num_tokens: of the text encoder. resolution: of the UNet. dtype: of the UNet.
    """

    def __init__(self, path: str, num_tokens: int = 77, resolution: int = 64, dtype: str = "float32"):
        super().__init__(path, T5TextEncoder(path, num_tokens), 3, dtype)
        self.num_tokens, self.resolution = num_tokens, resolution

    def encode(self, rgb: Tensor) -> Tensor:
        return 2 * interpolate(rgb, (self.resolution, self.resolution), mode="bilinear", align_corners=False) - 1
