"""SimCLR's augmentations for whole batches of tensors: crop and flip in one resampling, colour jitter, grey."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)


class Augmentation:
    """One random view of each image of a batch; every image has its own crop and colours.

    Args:
        min_area: a crop covers this share of the image or more, with aspect ratios from 3/4 to 4/3 (sides that stick
            out are cut); 1: the whole image.
        jitter: strength s of brightness, contrast and saturation, factors in [1 - s, 1 + s].
        hue: largest rotation of hue, in turns.
        grey: chance of dropping colour.
        flip: whether to mirror half of the images.
    Raises:
        ValueError: a strength is out of range.
    """

    def __init__(
        self, min_area: float = 0.6, jitter: float = 0.6, hue: float = 0.1, grey: float = 0.3, flip: bool = True
    ):
        if not 0 < min_area <= 1 or not 0 <= jitter <= 1 or not 0 <= hue <= 0.5 or not 0 <= grey <= 1:
            raise ValueError(
                "augmentation needs min_area in (0, 1], jitter in [0, 1], hue in [0, 0.5] and grey in [0, 1], "
                f"got {min_area}, {jitter}, {hue} and {grey}"
            )
        self.min_area, self.jitter, self.hue, self.grey, self.flip = min_area, jitter, hue, grey, flip

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1] -> a view of the same shape; random numbers are drawn on the CPU."""
        draws = torch.rand(13, len(images), generator=generator).to(images)
        return self._colour(self._crop(images, draws[:5]), draws[5:])

    def _crop(self, images: Tensor, u: Tensor) -> Tensor:
        area = self.min_area + (1 - self.min_area) * u[0]
        ratio = torch.exp((2 * u[1] - 1) * math.log(4 / 3)) if self.min_area < 1 else torch.ones_like(area)
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        mirror = torch.where(u[4] < 0.5, -1.0, 1.0) if self.flip else torch.ones_like(u[4])
        theta = torch.zeros(len(images), 2, 3, device=images.device, dtype=images.dtype)
        theta[:, 0, 0], theta[:, 1, 1] = width * mirror, height
        theta[:, 0, 2], theta[:, 1, 2] = (1 - width) * (2 * u[2] - 1), (1 - height) * (2 * u[3] - 1)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    def _colour(self, images: Tensor, u: Tensor) -> Tensor:
        """Brightness, contrast, saturation, hue and grey are linear in the colours: one 3 x 3 matrix and an offset."""
        brightness, contrast, saturation = 1 + self.jitter * (2 * u[:3] - 1)  # (B,) each
        saturation = torch.where(u[4] < self.grey, torch.zeros_like(saturation), saturation)
        luma = images.new_tensor(LUMA)
        grey, eye = luma.expand(3, 3), torch.eye(3).to(images)
        saturate = saturation[:, None, None] * (eye - grey) + grey
        mean = images.mean((-2, -1)) @ luma  # (B,)
        matrix = (
            brightness[:, None, None] * contrast[:, None, None] * (saturate @ _turn_hue(2 * self.hue * (u[3] - 0.5)))
        )
        offset = brightness * (1 - contrast) * mean
        coloured = torch.einsum("bij,bjhw->bihw", matrix, images) + offset[:, None, None, None]
        return coloured.clamp(0, 1)


def _turn_hue(turns: Tensor) -> Tensor:
    """Rotations about the grey axis, (B, 3, 3), by Rodrigues' formula."""
    angle = 2 * math.pi * turns[:, None, None]
    axis = turns.new_full((3, 3), 1 / 3)
    cross = turns.new_tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return angle.cos() * (torch.eye(3).to(turns) - axis) + axis + angle.sin() * cross
