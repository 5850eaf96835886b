"""Images in EDM's layout: a zip file or a folder of PNGs with dataset.json, {"labels": [["0/img0.png", 0], ...]}.

Every label and file name is checked when the set is opened, every image when it is decoded.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class EDMImages:
    """Images (n, C, S, S) in [-1, 1] and labels (N,) int64 of an EDM data set.

    Args:
        path: the zip file, or the folder. size: S. classes: C of the labels. channels: 3 (grey is repeated), or 1.
    Raises:
        FileNotFoundError: no such path, or no dataset.json in it. ValueError: a label or file that is not as described.
    """

    def __init__(self, path: str | Path, size: int, classes: int, channels: int = 3):
        self.path, self.size, self.channels = Path(path), size, channels
        if not self.path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder; EDM's dataset_tool.py makes one from ImageNet")
        self._zip: zipfile.ZipFile | None = None
        self.names, labels = read_labels(self._read("dataset.json"), f"{path}: dataset.json", classes)
        present = self._present()
        missing = [name for name in self.names if name not in present]
        if missing:
            raise ValueError(f"{path}: dataset.json names {len(missing)} files that are not there, as {missing[0]}")
        self.labels = torch.tensor(labels)

    def __len__(self) -> int:
        return len(self.names)

    def fetch(self, indices: Tensor) -> Tensor:
        """Images (n, C, S, S), float32."""
        return torch.stack([self._decode(self.names[i]) for i in indices.tolist()])

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_zip": None}  # a worker opens its own

    def _open_zip(self) -> zipfile.ZipFile:
        if self._zip is None:
            try:
                self._zip = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
                raise ValueError(f"{self.path}: not a zip file ({error})") from error
        return self._zip

    def _present(self) -> set[str]:
        if self.path.is_dir():
            return {p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()}
        return set(self._open_zip().namelist())

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes() if self.path.is_dir() else self._open_zip().read(name)
        except (KeyError, FileNotFoundError) as error:
            raise FileNotFoundError(f"{self.path}: no {name} in it") from error
        except ValueError as error:
            raise error if str(self.path) in str(error) else ValueError(f"{self.path}: {name}: {error}") from error
        except Exception as error:  # zipfile raises many kinds for damaged members
            raise ValueError(f"{self.path}: {name} cannot be read ({type(error).__name__})") from error

    def _decode(self, name: str) -> Tensor:
        return decode_image(self._read(name), f"{self.path}: {name}", self.size, self.channels)


def read_labels(content: bytes, where: str, classes: int) -> tuple[list[str], list[int]]:
    """File names and labels of dataset.json.

    Raises:
        ValueError: malformed, no labels, or one out of range (such as labels from 1).
    """
    try:
        rows = json.loads(content)["labels"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{where}: expected JSON with a list `labels`") from error
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{where}: labels are missing or null; a class-conditional set needs them")
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and type(row[1]) is int):
            raise ValueError(f"{where}: expected pairs [file name, label], got {str(row)[:60]}")
    labels = [row[1] for row in rows]
    check_labels(labels, classes, where)
    return [row[0] for row in rows], labels


def check_labels(labels: list[int], classes: int, where: str) -> None:
    """Raise ValueError if a label is not in 0 ... classes - 1; says so when they seem to count from 1."""
    low, high = min(labels), max(labels)
    if low < 0 or high >= classes:
        hint = "; they seem to count from 1" if (low, high) == (1, classes) else ""
        raise ValueError(f"{where}: expected labels 0 ... {classes - 1}, got {low} ... {high}{hint}")


def decode_image(content: bytes, where: str, size: int | None, channels: int = 3) -> Tensor:
    """One image (C, S, S) in [-1, 1], float32; nothing is rescaled.

    Raises:
        ValueError: not an image, a mode other than L or RGB, or another size.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            mode, found = image.mode, image.size
            fits = mode in ("L", "RGB") and (size is None or found == (size, size))
            pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"), dtype=np.uint8) if fits else None
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ValueError(f"{where}: not a readable image ({type(error).__name__})") from error
    if mode not in ("L", "RGB"):
        raise ValueError(f"{where}: expected mode L or RGB, got {mode}")
    if size is not None and found != (size, size):
        raise ValueError(f"{where}: expected {size} x {size} pixels, got {found[0]} x {found[1]}")
    return to_unit(torch.from_numpy(pixels.copy()).reshape(*pixels.shape[:2], channels).permute(2, 0, 1))


def to_unit(pixels: Tensor) -> Tensor:
    """Bytes 0 ... 255 to [-1, 1]."""
    return pixels.float() / 127.5 - 1


class ClassFolder:
    """Images by class: SPLIT/CLASS/*.jpg or .png in a folder or a zip file; label i is the i-th class name.

    Args:
        path: the folder or the zip file. split: `train` or `test`. size: of the images; larger ones are averaged down
            to it when it divides them.
    """

    SUFFIXES = (".png", ".jpg", ".jpeg")

    def __init__(self, path: str | Path, split: str = "train", size: int = 32):
        self.path, self.size = Path(path), size
        if not self.path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder; expected {split}/CLASS/*.jpg in it")
        if self.path.is_dir():
            self._read(self.path / split)
        else:
            with self._zip_file() as archive:
                self._read(zipfile.Path(archive) / split)

    def _read(self, folder: Path | zipfile.Path) -> None:
        path, split = self.path, folder.name
        if not folder.is_dir():
            raise FileNotFoundError(f"{path}: no folder {split} in it")
        self.classes = sorted(p.name for p in folder.iterdir() if p.is_dir())
        files = [(c, f) for c in self.classes for f in self._images(folder / c)]
        empty = [c for c in self.classes if all(c != own for own, _ in files)]
        if not files or empty:
            raise ValueError(f"{path}: no images in {split}/{empty[0] if empty else '*'}")
        self.labels = torch.tensor([self.classes.index(c) for c, _ in files])
        self.images = torch.stack([self._decode(f) for _, f in files])

    def __len__(self) -> int:
        return len(self.labels)

    def fetch(self, indices: Tensor) -> Tensor:
        """Images (n, 3, S, S) in [-1, 1]."""
        return to_unit(self.images[indices])

    def _zip_file(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ValueError(f"{self.path}: not a zip file ({error})") from error

    def _images(self, folder) -> list:
        return sorted((f for f in folder.iterdir() if f.name.lower().endswith(self.SUFFIXES)), key=lambda f: f.name)

    def _decode(self, file) -> Tensor:
        try:
            content = file.read_bytes()
        except Exception as error:  # zipfile raises many kinds for damaged members
            raise ValueError(f"{self.path}: {file.name} cannot be read ({type(error).__name__})") from error
        image = decode_image(content, f"{self.path}: {file.name}", None)
        side = image.shape[1]
        if image.shape[1] != image.shape[2] or side % self.size:
            raise ValueError(
                f"{self.path}: {file.name}: expected a square of a multiple of {self.size} pixels, got {side}"
            )
        image = torch.nn.functional.avg_pool2d(image, side // self.size)
        return ((image + 1) * 127.5).round().to(torch.uint8)
