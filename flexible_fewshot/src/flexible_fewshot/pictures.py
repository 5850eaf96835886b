"""Picture files to tensors: crop, scale, uint8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

Box = tuple[int, int, int, int]  # left, upper, right, lower


def centre_square(width: int, height: int) -> Box:
    """The largest square in the middle."""
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side


def read_pictures(
    files: Sequence[Path], size: int, crop: Callable[[int, int, int], Box] | None = None, title: str = "pictures"
) -> Tensor:
    """(n, 3, size, size), uint8, in the order of `files`.

    Args:
        crop: (position in `files`, width, height) -> box; by default the centre square.
    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is no readable image.
    """
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for i, file in enumerate(tqdm(files, desc=title, unit="image", disable=len(files) < 2000)):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such image, but the attributes name it")
        try:
            with Image.open(file) as image:
                box = crop(i, *image.size) if crop else centre_square(*image.size)
                rgb = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=box)
        except Exception as error:  # Pillow's decoders raise many kinds
            raise ValueError(f"{file}: not a readable image ({error})") from error
        images[i] = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)
    return images
