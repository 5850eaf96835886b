"""DMD2's LMDB of images: images_{i}_data (uint8, C·H·W bytes), labels_{i}_data (int64), images_shape, labels_shape.

The shapes are text, as "1281167 3 64 64". Needs the extra `lmdb`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .image_files import check_labels, to_unit

OPEN: dict[str, Any] = {}  # LMDB opens a path once in a process


def environment(path: Path):
    """The open LMDB of a folder."""
    if str(path) not in OPEN:
        try:
            import lmdb
        except ImportError as error:
            raise ValueError("LMDB files need the extra: pip install multi-student-distill[lmdb]") from error
        try:
            opened = lmdb.open(str(path), readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise ValueError(f"{path}: not an LMDB ({error}): data.mdb is damaged") from error
        refuse_short(opened, path / "data.mdb")
        OPEN[str(path)] = opened
    return OPEN[str(path)]


def refuse_short(opened, file: Path) -> None:
    """Raise ValueError for a file that ends before its last page: the system would end a process that reads there."""
    expected = (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]
    if file.stat().st_size < expected:
        opened.close()
        raise ValueError(f"{file}: expected {expected} bytes by its header, got {file.stat().st_size}; copy it again")


class LMDBImages:
    """Images (n, C, H, W) in [-1, 1] and labels (N,) int64.

    Args:
        path: the LMDB's folder. shape: (C, H, W) that is expected. classes: of the labels.
    Raises:
        FileNotFoundError: no such folder. ValueError: not such an LMDB, or entries of other sizes.
    """

    def __init__(self, path: str | Path, shape: tuple[int, int, int], classes: int):
        self.path, self.shape = Path(path), tuple(shape)
        if not (self.path / "data.mdb").is_file():
            raise FileNotFoundError(f"{path}: no data.mdb in it; DMD2's scripts make such a folder")
        try:
            labels = self._labels()
            check_labels(labels, classes, str(path))
        finally:
            if str(self.path) in OPEN:
                OPEN.pop(str(self.path)).close()  # a worker that is forked opens its own when it reads
        self.labels = torch.tensor(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def fetch(self, indices: Tensor) -> Tensor:
        """Images (n, C, H, W), float32."""
        images = []
        for i in indices.tolist():
            pixels = np.frombuffer(self._get(f"images_{i}_data"), dtype=np.uint8)
            if pixels.size != np.prod(self.shape):
                raise ValueError(
                    f"{self.path}: images_{i}_data: expected {np.prod(self.shape)} bytes, got {pixels.size}"
                )
            images.append(torch.from_numpy(pixels.copy()).reshape(self.shape))
        return to_unit(torch.stack(images))

    def _labels(self) -> list[int]:
        count, *found = self._text_shape("images_shape")
        if tuple(found) != self.shape:
            expected = " ".join(map(str, self.shape))
            raise ValueError(f"{self.path}: images_shape: expected N {expected}, got {count} {found}")
        if self._text_shape("labels_shape")[0] != count:
            raise ValueError(f"{self.path}: labels_shape and images_shape differ in their first number")
        if not count:
            raise ValueError(f"{self.path}: images_shape says that there are no images")
        return [self._label(i) for i in range(count)]

    def _get(self, key: str) -> bytes:
        try:
            with environment(self.path).begin() as transaction:
                value = transaction.get(key.encode())
        except ValueError:
            raise
        except Exception as error:  # lmdb.Error, of a damaged file
            raise ValueError(f"{self.path}: {key} cannot be read ({error})") from error
        if value is None:
            raise ValueError(f"{self.path}: no key {key}")
        return bytes(value)

    def _text_shape(self, key: str) -> list[int]:
        text = self._get(key)
        try:
            numbers = [int(part) for part in text.decode("ascii").split()]
        except ValueError as error:
            raise ValueError(f"{self.path}: {key}: expected numbers as text, got {text[:40]!r}") from error
        if not numbers or min(numbers) < 0:
            raise ValueError(f"{self.path}: {key}: expected numbers as text, got {text[:40]!r}")
        return numbers

    def _label(self, i: int) -> int:
        value = self._get(f"labels_{i}_data")
        if len(value) != 8:
            raise ValueError(f"{self.path}: labels_{i}_data: expected the 8 bytes of an int64, got {len(value)}")
        return int(np.frombuffer(value, dtype=np.int64)[0])
