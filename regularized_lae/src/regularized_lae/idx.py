"""The IDX files of MNIST and its relatives (yann.lecun.com's format), gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

IMAGES, LABELS = 2051, 2049  # magic numbers: uint8 (0x08) in 3 dimensions, in 1


def read_idx(path: str | Path, magic: int = IMAGES) -> np.ndarray:
    """The array in an IDX file of unsigned bytes.

    Args:
        path: raw or gzipped (recognised by content, not by name).
        magic: what the file must hold, `IMAGES` (n, rows, columns) or `LABELS` (n,).
    Returns:
        uint8 array.
    Raises:
        ValueError: damaged gzip, another magic number, or a byte count that does not fit the header; names the file.
    """
    path = Path(path)
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: damaged or truncated gzip file ({error})") from error
    dimensions = magic & 0xFF
    header = 4 * (1 + dimensions)
    if len(content) < header:
        raise ValueError(f"{path}: {len(content)} bytes are too few for an IDX header of {header}")
    found, *shape = np.frombuffer(content, ">u4", 1 + dimensions).tolist()
    if found != magic:
        raise ValueError(f"{path}: IDX magic number {magic} expected, found {found}")
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise ValueError(
            f"{path}: the header promises {tuple(shape)}, {expected} bytes in all; the file has {len(content)}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def find_idx(data_dir: str | Path, name: str) -> Path:
    """The file `name` or `name`.gz in `data_dir`, `data_dir`/raw or `data_dir`/MNIST/raw (torchvision's folder).

    Raises:
        FileNotFoundError: none of them exists; says where it looked and where the file comes from.
    """
    folders = [Path(data_dir), Path(data_dir) / "raw", Path(data_dir) / "MNIST" / "raw"]
    for folder in folders:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    looked = ", ".join(str(folder) for folder in folders)
    raise FileNotFoundError(
        f"{name} or {name}.gz not found in {looked}; it is one of the four MNIST files, "
        "from yann.lecun.com/exdb/mnist or any of its mirrors, and is never downloaded for you"
    )
