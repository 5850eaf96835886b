"""Labelled images in folders, `train/CLASS/*.png` and `test/CLASS/*.png`, on disk or inside one zip file."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
# what Pillow and zipfile raise on damaged files
DAMAGES = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, struct.error, zlib.error)
DAMAGES += (zipfile.BadZipFile, Image.DecompressionBombError)

AnyPath = Path | zipfile.Path


class ImageFolder(NamedTuple):
    """Images (n, 3, H, W), uint8, and labels (n,), int64, of both splits; label i is the class `classes[i]`."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]


def read_image_folder(path: str | Path, size: int | None = None) -> ImageFolder:
    """All images, as RGB, in the order of their sorted class and file names; files without an image suffix are skipped.

    Args:
        path: a folder or a zip file.
        size: resize all to size x size; None: they must be equally large as they are.
    Raises:
        FileNotFoundError: no such path, or no train or test folder in it.
        ValueError: an unreadable image or zip file, unequal sizes, a class without images or without training images.
    """
    if size is not None and size < 1:
        raise ValueError(f"size must be >= 1, got {size}")
    root = _open(Path(path))
    classes = tuple(sorted(folder.name for folder in _split(root, "train").iterdir() if folder.is_dir()))
    if not classes:
        raise ValueError(f"{root}: no class folders in its train folder")
    unknown = {folder.name for folder in _split(root, "test").iterdir() if folder.is_dir()} - set(classes)
    if unknown:
        raise ValueError(f"{root}: no training images of the test classes {', '.join(sorted(unknown))}")
    train_files, test_files = (_labelled_files(root / split, classes) for split in ("train", "test"))
    images = _stack([file for file, _ in train_files + test_files], size)
    labels = np.array([label for _, label in train_files + test_files], dtype=np.int64)
    cut = len(train_files)
    return ImageFolder(images[:cut], labels[:cut], images[cut:], labels[cut:], classes)


def _open(path: Path) -> AnyPath:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder or zip file; train/CLASS/*.png and test/CLASS/* were expected")
    if path.is_dir():
        return path
    try:
        return zipfile.Path(path)
    except DAMAGES as error:
        raise ValueError(f"{path}: neither a folder nor a readable zip file ({error})") from error


def _split(root: AnyPath, name: str) -> AnyPath:
    folder = root / name
    if not folder.is_dir():
        raise FileNotFoundError(f"{root}: no folder {name!r} in it; it should hold a folder of images for each class")
    return folder


def _labelled_files(split: AnyPath, classes: tuple[str, ...]) -> list[tuple[AnyPath, int]]:
    """Image files in `split` with their labels; a test set may lack a class, a class folder may not be empty."""
    found = []
    for label, name in enumerate(classes):
        folder = split / name
        if not folder.is_dir():
            continue
        files = [file for file in folder.iterdir() if Path(file.name).suffix.lower() in SUFFIXES]
        if not files:
            raise ValueError(f"{folder}: no images ({', '.join(SUFFIXES)}) in this class folder")
        found += [(file, label) for file in sorted(files, key=lambda file: file.name)]
    if not found:
        raise ValueError(f"{split}: no class folders in it")
    return found


def _stack(files: list[AnyPath], size: int | None) -> np.ndarray:
    """(n, 3, H, W), uint8."""
    first = _decode(files[0], size)
    images = np.empty((len(files), *first.shape), np.uint8)
    for i, file in enumerate(files):
        image = _decode(file, size)
        if image.shape != first.shape:
            (_, height, width), (_, *expected) = image.shape, first.shape
            raise ValueError(
                f"{file}: {height} x {width} pixels, but {files[0]} has {expected[0]} x {expected[1]}; "
                "give a size to resize them all"
            )
        images[i] = image
    return images


def _decode(file: AnyPath, size: int | None) -> np.ndarray:
    """(3, H, W), uint8."""
    try:
        with file.open("rb") as stream, Image.open(stream) as image:
            rgb = image.convert("RGB")
    except DAMAGES as error:
        raise ValueError(f"{file}: not a readable image ({error})") from error
    if size is not None:
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb).transpose(2, 0, 1)
