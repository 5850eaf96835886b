"""CelebA's official files: attributes, partition and identities, joined by the names of the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .attributes import AttributeTable

SOURCE = "the CelebA page, mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
ATTRIBUTE_COUNT = 40
PARTITION = ("train", "val", "test")  # 0, 1, 2


def read_celeba(data_dir: str | Path) -> dict[str, AttributeTable]:
    """Tables of `train`, `val` and `test` out of list_attr_celeba.txt, list_eval_partition.txt and identity_CelebA.txt.

    The identities' file may be absent; the other two must name the same images, in whatever order.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line is not as it should be (file and line are named), or images lack an entry.
    """
    folder = Path(data_dir)
    names, attributes, values = _read_attributes(folder / "list_attr_celeba.txt")
    partition = _read_integers(folder / "list_eval_partition.txt", 0, 2)
    _same_images(names, partition, folder / "list_eval_partition.txt")
    identity_file = folder / "identity_CelebA.txt"
    identities = None
    if identity_file.exists():
        known = _read_integers(identity_file, 1, None)
        _same_images(names, known, identity_file)
        identities = np.array([known[name] for name in names])
    table = AttributeTable(tuple(names), tuple(attributes), values, identities)
    of = np.array([partition[name] for name in names])
    return {stage: table.rows(np.flatnonzero(of == k)) for k, stage in enumerate(PARTITION)}


def _read_attributes(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Line 1: the number of images. Line 2: 40 names. Then `name ±1 ...`, with runs of spaces."""
    lines = _lines(path)
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise ValueError(f"{path}, line 1: expected the number of images, got {(lines or [''])[0][:60]!r}")
    count, attributes = int(lines[0]), lines[1].split()
    if len(attributes) != ATTRIBUTE_COUNT:
        raise ValueError(f"{path}, line 2: expected {ATTRIBUTE_COUNT} attribute names, got {len(attributes)}")
    if len(lines) - 2 != count:
        raise ValueError(f"{path}, line 1: says {count} images, but {len(lines) - 2} rows follow")
    names, values = [], np.empty((count, ATTRIBUTE_COUNT), np.int8)
    seen: set[str] = set()
    for i, line in enumerate(lines[2:]):
        name, *row = line.split()
        if name in seen:
            raise ValueError(f"{path}, line {i + 3}: image {name} occurs twice")
        if len(row) != ATTRIBUTE_COUNT:
            raise ValueError(f"{path}, line {i + 3}: expected {ATTRIBUTE_COUNT} values after {name}, got {len(row)}")
        wrong = [value for value in row if value not in ("1", "-1")]
        if wrong:
            raise ValueError(f"{path}, line {i + 3}: values must be 1 or -1, got {wrong[0]!r}")
        seen.add(name)
        names.append(name)
        values[i] = [value == "1" for value in row]
    return names, attributes, values


def _read_integers(path: Path, low: int, high: int | None) -> dict[str, int]:
    """`name integer` on every line."""
    found: dict[str, int] = {}
    for i, line in enumerate(_lines(path)):
        parts = line.split()
        allowed = f"from {low}" if high is None else f"{low} to {high}"
        if (
            len(parts) != 2
            or not parts[1].isdigit()
            or int(parts[1]) < low
            or (high is not None and int(parts[1]) > high)
        ):
            raise ValueError(f"{path}, line {i + 1}: expected an image and a number {allowed}, got {line[:60]!r}")
        if parts[0] in found:
            raise ValueError(f"{path}, line {i + 1}: image {parts[0]} occurs twice")
        found[parts[0]] = int(parts[1])
    return found


def _same_images(names: list[str], other: dict[str, int], path: Path) -> None:
    missing = [name for name in names if name not in other]
    if missing or len(other) != len(names):
        unknown = sorted(other.keys() - set(names))
        what = f"lacks {missing[0]}" if missing else f"names {unknown[0]} besides"
        raise ValueError(f"{path}: {what}; it and list_attr_celeba.txt must name the same images, {len(names)} there")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; get it from {SOURCE}")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error.reason})") from error
