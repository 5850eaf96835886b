"""CIFAR-10 as pictures and as binary batches, with random pixels."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def random_images(count: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, 32, 32, 3), smooth enough for a small network."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


def write_pictures(folder: Path, part: str, count: int, classes: int = 2) -> np.ndarray:
    """PNG files part/CLASS/0000.png, one of each class after the other."""
    images = random_images(count)
    for i, image in enumerate(images):
        path = folder / part / f"class{i % classes}" / f"{i:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return images


def write_zip(path: Path, part: str, count: int) -> np.ndarray:
    images = random_images(count)
    with zipfile.ZipFile(path, "w") as archive:
        for i, image in enumerate(images):
            content = io.BytesIO()
            Image.fromarray(image).save(content, "PNG")
            archive.writestr(f"{part}/class{i % 2}/{i:04d}.png", content.getvalue())
    return images


def write_batch(path: Path, images: np.ndarray) -> None:
    """A label, then the planes of red, green and blue, for each image."""
    labels = np.arange(len(images), dtype=np.uint8)[:, None] % 10
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.concatenate([labels, images.transpose(0, 3, 1, 2).reshape(len(images), -1)], 1).tobytes())
