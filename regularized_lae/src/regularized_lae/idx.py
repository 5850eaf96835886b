"""IDX files of unsigned bytes, the format of MNIST and Fashion-MNIST, gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

IMAGES, LABELS = 2051, 2049  # magic numbers: 0x08 (unsigned byte), then the number of dimensions
FOLDERS = (".", "raw", "MNIST/raw", "FashionMNIST/raw")  # where torchvision's downloads put them


def read_idx(path: str | Path, magic: int = IMAGES) -> np.ndarray:
    """The array in one file.

    Args:
        path: gzip is recognised by content, not by name.
        magic: what is expected, `IMAGES` (n, rows, columns) or `LABELS` (n,).
    Returns:
        uint8 array, read-only.
    Raises:
        ValueError: damaged gzip, another magic number, a length that the header does not explain; names the file.
    """
    content = _uncompressed(Path(path))
    header = 4 + 4 * (magic & 0xFF)
    if len(content) < header:
        raise ValueError(f"{path}: an IDX header of {header} bytes expected, the file has {len(content)}")
    found, *shape = np.frombuffer(content[:header], ">u4").tolist()
    if found != magic:
        raise ValueError(f"{path}: IDX magic number {magic} expected, got {found}")
    if len(content) != header + math.prod(shape):
        raise ValueError(
            f"{path}: {header + math.prod(shape)} bytes expected from its header, {tuple(shape)}; got {len(content)}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_idx_pair(data_dir: str | Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, rows, columns) and labels (n,), uint8, of `train` or `t10k`.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: one is malformed, or they differ in n.
    """
    images_path = find_idx(data_dir, f"{prefix}-images-idx3-ubyte")
    labels_path = find_idx(data_dir, f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, IMAGES), read_idx(labels_path, LABELS)
    if len(images) != len(labels):
        raise ValueError(f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels")
    return images, labels


def find_idx(data_dir: str | Path, name: str) -> Path:
    """The file `name` or `name`.gz in `data_dir` or where torchvision would have put it below.

    Raises:
        FileNotFoundError: says where it was sought and where to get it.
    """
    for folder in FOLDERS:
        for file in (name, f"{name}.gz"):
            if (path := Path(data_dir) / folder / file).is_file():
                return path
    raise FileNotFoundError(
        f"{name} or {name}.gz not found in {data_dir} (nor in its {', '.join(FOLDERS[1:])}); get it from "
        "yann.lecun.com/exdb/mnist (MNIST) or github.com/zalandoresearch/fashion-mnist; nothing is downloaded for you"
    )


def _uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: damaged or truncated gzip file ({error})") from error
