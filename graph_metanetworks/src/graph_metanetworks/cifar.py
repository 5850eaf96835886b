"""CIFAR-10's images: the official binary batches, or a folder or zip archive of pictures."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32  # pixels
RECORD = 1 + 3 * SIDE * SIDE  # bytes of an image in a batch: its label, then planes of red, green and blue
BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
SUFFIXES = (".png", ".jpg", ".jpeg")


def read_cifar(path: str | Path, part: str = "train", count: int | None = None) -> np.ndarray:
    """uint8 images (n, 32, 32, 3): the first `count` of a part, in the order of the batches or of the pictures' names.

    Args:
        path: a folder with data_batch_1.bin .. data_batch_5.bin and test_batch.bin, itself or in cifar-10-batches-bin/;
            or a zip archive or folder whose pictures lie below train/ and test/, class by class.
        part: train or test.
    Raises:
        FileNotFoundError: neither of these is there.
        ValueError: another part; a batch or picture is damaged or has another size; names the file.
    """
    if part not in BATCHES:
        raise ValueError(f"part must be train or test, got {part!r}")
    path = Path(path)
    for folder in (path, path / "cifar-10-batches-bin"):
        if (folder / BATCHES[part][0]).is_file():
            return np.concatenate([_read_batch(folder / name) for name in BATCHES[part]])[:count]
    found = _from_zip(path, part, count) if path.is_file() else _from_folder(path, part, count)
    if not found:
        raise FileNotFoundError(
            f"{path}: {BATCHES[part][0]}, or pictures in {part}/CLASS/ expected; the binary version of CIFAR-10 is at "
            "https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    return np.stack(found)


def _read_batch(path: Path) -> np.ndarray:
    content = path.read_bytes()
    if not content or len(content) % RECORD:
        raise ValueError(f"{path}: a multiple of {RECORD} bytes expected, one record per image; got {len(content)}")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(f"{path}: labels 0 to 9 expected, got {records[:, 0].max()}")
    return records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


def _taken_in_turn(pictures: dict[str, list], count: int | None) -> Iterator[tuple[str, bytes]]:
    """Names and contents, one of each class after the other, so that the first `count` are of all classes."""
    longest = max(map(len, pictures.values()), default=0)
    turns = [own[i] for i in range(longest) for own in pictures.values() if i < len(own)]
    for name, read in turns[:count]:
        yield name, read()


def _by_class(named: list[tuple[str, object]], part: str) -> dict[str, list]:
    """class -> [(name, how to read it)] of names ending in part/CLASS/PICTURE."""
    found: dict[str, list] = {}
    for name, read in sorted(named, key=lambda pair: pair[0]):
        pieces = name.split("/")
        if len(pieces) >= 3 and pieces[-3] == part and name.lower().endswith(SUFFIXES):
            found.setdefault(pieces[-2], []).append((name, read))
    return found


def _from_folder(path: Path, part: str, count: int | None) -> list[np.ndarray]:
    files = path.glob(f"{part}/*/*") if path.is_dir() else []
    pictures = _by_class([(file.as_posix(), file.read_bytes) for file in files], part)
    return [_decoded(name, content) for name, content in _taken_in_turn(pictures, count)]


def _from_zip(path: Path, part: str, count: int | None) -> list[np.ndarray]:
    with _opened(path) as archive:
        pictures = _in_archive(archive, path, part)
        return [_decoded(f"{path}: {name}", content) for name, content in _taken_in_turn(pictures, count)]


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise ValueError(f"{path}: a folder or a zip archive of pictures expected ({error})") from error


def _in_archive(archive: zipfile.ZipFile, path: Path, part: str) -> dict[str, list]:

    def reader(name: str):
        def read() -> bytes:
            try:
                return archive.read(name)
            except Exception as error:  # a damaged archive raises many kinds, by its kind of compression
                raise ValueError(f"{path}: {name} cannot be read ({error})") from error

        return read

    return _by_class([(name, reader(name)) for name in archive.namelist()], part)


def _decoded(name: str, content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ValueError(f"{name}: not a picture that can be decoded ({error})") from error
    if pixels.shape != (SIDE, SIDE, 3):
        raise ValueError(f"{name}: {SIDE}x{SIDE} pixels expected, got {pixels.shape[1]}x{pixels.shape[0]}")
    return pixels
