"""CIFAR-10 and CIFAR-100 as officially distributed: pickled "python" batches or "binary" records.

A pickle may run any code when it is loaded, so these are read with stand-ins: the few names that a pickled array of
bytes refers to become inert objects, any other name is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

PIXELS = 3 * 32 * 32


class Layout(NamedTuple):
    """One official distribution: its folder, its files for each split, and how to read one of them."""

    folder: str
    files: dict[str, tuple[str, ...]]
    read: Callable[[Path], tuple[np.ndarray, np.ndarray]]


def read_cifar(data_dir: str | Path, classes: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and (fine) labels of one split, all its files in order.

    Args:
        data_dir: the folder of the files, or the one above.
        classes: 10 or 100.
        split: `train` or `test`.
    Returns:
        Images, shape (n, 3, 32, 32), uint8; labels, shape (n,), int64.
    Raises:
        FileNotFoundError: a file is missing; says which, and where to get it.
        ValueError: a file is malformed, or there are other than 10 or 100 classes.
    """
    if classes not in LAYOUTS:
        raise ValueError(f"CIFAR has 10 or 100 classes, got {classes}")
    folder, layout = _find(Path(data_dir), classes)
    batches = [_checked(folder / name, *layout.read(folder / name), classes) for name in layout.files[split]]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return images.reshape(-1, 3, 32, 32), labels


def _find(data_dir: Path, classes: int) -> tuple[Path, Layout]:
    """The first folder and layout of which any file exists; all its files must."""
    for layout in LAYOUTS[classes]:
        names = [name for split in layout.files.values() for name in split]
        for folder in (data_dir, data_dir / layout.folder):
            missing = [name for name in names if not (folder / name).is_file()]
            if not missing:
                return folder, layout
            if len(missing) < len(names):
                raise FileNotFoundError(f"{folder} lacks {', '.join(missing)} of CIFAR-{classes}; {SOURCE}")
    folders = " or ".join(layout.folder for layout in LAYOUTS[classes])
    raise FileNotFoundError(f"no CIFAR-{classes} in {data_dir}: the files of {folders} were expected; {SOURCE}")


def _checked(path: Path, pixels: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    if pixels.ndim != 2 or pixels.shape[1] != PIXELS or len(pixels) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"{path}: (n, {PIXELS}) pixels and n >= 1 labels expected, got {pixels.shape} and {len(labels)} labels"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{path}: labels from 0 to {classes - 1} expected, got {labels.min()} to {labels.max()}")
    return pixels, labels


# ---- binary: label bytes (CIFAR-100: coarse, fine), then 3072 pixels, again and again


def read_records(path: Path, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3072), uint8, and labels (n,), int64, of a .bin file; the last label byte is the label.

    Raises:
        ValueError: the file is not a whole number of records.
    """
    content = np.fromfile(path, np.uint8)
    record = label_bytes + PIXELS
    if len(content) % record:
        raise ValueError(f"{path}: whole records of {record} bytes expected, got {len(content)} bytes")
    records = content.reshape(-1, record)
    return records[:, label_bytes:], records[:, label_bytes - 1].astype(np.int64)


# ---- python: a pickled dict with an array of pixels and a list of labels


def read_pickled_batch(path: Path, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3072), uint8, and labels (n,), int64, of a pickled batch.

    Raises:
        ValueError: the pickle is damaged, names anything but a byte array's parts, or holds something else.
    """
    batch = load_inert_pickle(path)
    if not isinstance(batch, dict):
        raise ValueError(f"{path}: a dict expected, got {type(batch).__name__}")
    pixels, labels = (batch.get(key.encode(), batch.get(key)) for key in ("data", label_key))  # Python 2's keys: bytes
    if not isinstance(pixels, PickledArray):
        raise ValueError(f"{path}: an array of bytes expected under 'data', got {type(pixels).__name__}")
    if not isinstance(labels, list) or not all(isinstance(label, int) and abs(label) < 256 for label in labels):
        raise ValueError(f"{path}: a list of small integers expected under {label_key!r}")
    return pixels.to_numpy(path), np.array(labels, dtype=np.int64)


def load_inert_pickle(path: Path) -> object:
    """The object pickled in a file, arrays as `PickledArray`; no code of the file's choosing runs.

    Raises:
        ValueError: the pickle is damaged, or names a global that a byte array does not need.
    """
    content = path.read_bytes()
    try:
        _check_memo(content)
        return InertUnpickler(io.BytesIO(content), encoding="bytes").load()
    except ForbiddenGlobal as error:
        raise ValueError(f"{path}: refused: its pickle asks for {error}, no part of an array of bytes") from error
    except Exception as error:  # a damaged pickle may raise anything (so says pickle's manual)
        raise ValueError(f"{path}: damaged or truncated pickle ({type(error).__name__}: {error})") from error


def _check_memo(content: bytes) -> None:
    """Raises ValueError for a memo index that no file of this length needs: up to it, pickle would fill the memory."""
    for opcode, argument, position in pickletools.genops(content):
        if opcode.name in ("PUT", "LONG_BINPUT") and argument > len(content):
            raise ValueError(f"memo index {argument} at byte {position}")


class ForbiddenGlobal(pickle.UnpicklingError):
    """A pickle asked for this name."""


class InertUnpickler(pickle.Unpickler):
    """Resolves the names in `STAND_INS` alone, and none of them to the real object."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in STAND_INS:
            raise ForbiddenGlobal(f"{module}.{name}")
        return STAND_INS[module, name]


class PickledType:
    """Stands for numpy.dtype: keeps its code, such as `u1`."""

    def __init__(self, code: str | bytes, align: bool = False, copy: bool = True):
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: tuple) -> None:
        """Byte order and fields, of which a byte has none."""


class PickledArray:
    """Stands for numpy.ndarray: keeps what was pickled; numpy's C code must not see a forged state."""

    def __init__(self, *state: object):
        self.state = state  # bytes, type, shape, is it in Fortran order?

    def __setstate__(self, state: tuple) -> None:
        _version, shape, dtype, fortran, content = state
        self.state = (content, dtype, shape, fortran)

    def to_numpy(self, path: Path) -> np.ndarray:
        """A uint8 array.

        Raises:
            ValueError: the state is not that of an array of unsigned bytes.
        """
        try:
            content, dtype, shape, fortran = self.state
            if dtype.code != "u1" or fortran:
                raise ValueError(f"type {dtype.code!r}, Fortran order {bool(fortran)}")
            return np.frombuffer(content, np.uint8).reshape(shape)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path}: an array of unsigned bytes in C order expected ({error})") from error


def _empty_array(*_: object) -> PickledArray:
    """numpy's _reconstruct: makes an empty array, whose state follows."""
    return PickledArray()


def _array_of(content: bytes, dtype: PickledType, shape: tuple, order: str | bytes) -> PickledArray:
    """numpy's _frombuffer, which protocol 5 uses."""
    return PickledArray(content, dtype, shape, order in ("F", b"F"))


def _latin1(text: str, _encoding: str) -> bytes:
    """_codecs.encode, with which Python 3 writes bytes for Python 2."""
    return text.encode("latin1")


STAND_INS: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): PickledType,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.numeric", "_frombuffer"): _array_of,
    ("numpy._core.numeric", "_frombuffer"): _array_of,
    ("_codecs", "encode"): _latin1,
}

SOURCE = "get it from www.cs.toronto.edu/~kriz/cifar.html"
_TEN = tuple(f"data_batch_{i}" for i in range(1, 6))
LAYOUTS = {
    10: (
        Layout(
            "cifar-10-batches-py",
            {"train": _TEN, "test": ("test_batch",)},
            lambda path: read_pickled_batch(path, "labels"),
        ),
        Layout(
            "cifar-10-batches-bin",
            {"train": tuple(f"{name}.bin" for name in _TEN), "test": ("test_batch.bin",)},
            lambda path: read_records(path, label_bytes=1),
        ),
    ),
    100: (
        Layout(
            "cifar-100-python",
            {"train": ("train",), "test": ("test",)},
            lambda path: read_pickled_batch(path, "fine_labels"),
        ),
        Layout(
            "cifar-100-binary",
            {"train": ("train.bin",), "test": ("test.bin",)},
            lambda path: read_records(path, label_bytes=2),
        ),
    ),
}
