"""Files of pictures: turntable GIFs, contact sheets as PNG and as one HTML page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .results import whole


def to_image(pixels: Tensor, enlarge: int = 1) -> Image.Image:
    """(3, H, W) in [0, 1] -> an 8-bit picture, enlarged by whole pixels."""
    array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(array)
    return (
        picture.resize((picture.width * enlarge, picture.height * enlarge), Image.NEAREST) if enlarge > 1 else picture
    )


def tiles(images: Tensor, columns: int, gap: int = 2) -> Tensor:
    """(N, 3, H, W) -> one picture (3, h, w) of rows of `columns`, on white."""
    count, _, height, width = images.shape
    lines = -(-count // columns)
    sheet = torch.ones(3, lines * (height + gap) - gap, columns * (width + gap) - gap)
    for number, image in enumerate(images):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def save(path: Path, picture: Image.Image, **options) -> Path:
    """By way of a temporary file, in the format of the path's ending."""
    with whole(path) as temporary:
        picture.save(temporary, format=path.suffix[1:].upper(), **options)
    return path


def save_gif(path: Path, frames: Tensor, milliseconds: int = 80) -> Path:
    """An endless animation of frames (N, 3, H, W)."""
    pictures = [to_image(frame) for frame in frames]
    return save(path, pictures[0], save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)


def save_contact_sheet(path: Path, prompts: Sequence[str], images: Tensor) -> Path:
    """One HTML page, self-contained: a row of views (P, V, 3, H, W) for each prompt."""
    lines = ["<!doctype html><meta charset='utf-8'><title>att3d</title>",
             "<style>body{font:14px sans-serif;margin:2em}figure{display:inline-block;margin:.5em}"
             "img{image-rendering:pixelated}figcaption{text-align:center}</style>"]  # fmt: skip
    for prompt, views in zip(prompts, images, strict=True):
        buffer = io.BytesIO()
        to_image(tiles(views, len(views)), max(1, 96 // views.shape[-1])).save(buffer, format="PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        lines.append(
            f"<figure><img alt='{html.escape(prompt, quote=True)}' src='data:image/png;base64,{data}'>"
            f"<figcaption>{html.escape(prompt)}</figcaption></figure>"
        )
    with whole(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
