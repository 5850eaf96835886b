"""Omniglot's official zip files: drawings of characters, and the pen strokes that made each of them."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from .attributes import AttributeTable
from .strokes import MEASURES, Strokes, measure, thresholds

SIDE = 105
SOURCE = "github.com/brendenlake/omniglot (python folder)"
FRACTIONS = (0.6, 0.15)  # of the characters, for train and val


def read_omniglot(data_dir: str | Path, size: int = 32, seed: int = 0, part: str = "background_small1"):
    """Images (n, 3, size, size), uint8, ink white, and attributes of `train`, `val` and `test`, by stage.

    Characters, not drawings, are divided at random: 60, 15 and 25 per cent. An attribute is present where a measure of
    the strokes is above its median over the *training* characters. The identity is the character.

    Raises:
        FileNotFoundError: images_PART or strokes_PART (a zip file or folder) is missing.
        ValueError: a file that is not as it should be, or drawings and strokes that do not name each other.
    """
    drawn, written = (_place(Path(data_dir), f"{kind}_{part}") for kind in ("images", "strokes"))
    images = dict(_files(Path(data_dir), f"images_{part}", ".png"))
    strokes = dict(_files(Path(data_dir), f"strokes_{part}", ".txt"))
    names = sorted(images)
    if names != sorted(strokes):
        lone = sorted(set(names) ^ set(strokes))[0]
        raise ValueError(f"{drawn} and {written.name} must name each other, but {lone} is only in one of the two")
    characters = np.array([name.rpartition("/")[0] for name in names])
    kinds, of = np.unique(characters, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(kinds))
    ends = [0, *np.cumsum([round(f * len(kinds)) for f in FRACTIONS]), len(kinds)]
    rows = {
        stage: np.flatnonzero(np.isin(of, order[a:b]))
        for stage, a, b in zip(("train", "val", "test"), ends, ends[1:], strict=False)
    }
    measured = measure([parse_strokes(strokes[name], f"{written}: {name}") for name in names])
    values = (measured > thresholds(measured[rows["train"]])).astype(np.int8)
    table = AttributeTable(tuple(names), tuple(MEASURES), values, of.astype(np.int64))
    ink = torch.from_numpy(np.stack([_ink(images[name], f"{drawn}: {name}") for name in names])).float()[:, None]
    pixels = (255 * F.adaptive_avg_pool2d(ink, size)).round().byte().expand(-1, 3, -1, -1)
    return {stage: (pixels[torch.from_numpy(r)], table.rows(r)) for stage, r in rows.items()}


def parse_strokes(content: bytes, name: str) -> Strokes:
    """START, then lines of x,y,t, then BREAK after every stroke; y is negative downwards there, and turned over here.

    Raises:
        ValueError: a line is none of these (named by number), or there is no stroke.
    """
    strokes: Strokes = []
    points: list[tuple[float, float]] = []
    for number, line in enumerate(content.decode("ascii", "replace").splitlines(), 1):
        word = line.strip()
        if word in ("START", "BREAK", ""):
            if word == "BREAK" and points:
                strokes.append(np.array(points))
                points = []
            continue
        try:
            x, y, _ = (float(value) for value in word.split(","))
            if not (math.isfinite(x) and math.isfinite(y)):
                raise ValueError("not finite")
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: expected x,y,t or START or BREAK, got {word[:40]!r}") from error
        points.append((x, -y))
    if points:
        strokes.append(np.array(points))
    if not strokes:
        raise ValueError(f"{name}: holds no stroke")
    return strokes


def _place(folder: Path, name: str) -> Path:
    """The folder NAME, or the archive of it."""
    return folder / name if (folder / name).is_dir() else folder / f"{name}.zip"


def _files(folder: Path, name: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """`ALPHABET/characterNN/NNNN_DD` and content of every such file in NAME.zip or in the folder NAME."""
    archive, unpacked = folder / f"{name}.zip", folder / name
    count = 0
    if unpacked.is_dir():
        for path in sorted(unpacked.rglob(f"*{suffix}")):
            count += 1
            yield str(path.relative_to(unpacked).with_suffix("").as_posix()), path.read_bytes()
    elif archive.is_file():
        try:
            with zipfile.ZipFile(archive) as opened:
                for member in opened.namelist():
                    if member.startswith(f"{name}/") and member.endswith(suffix):
                        count += 1
                        yield member.removeprefix(f"{name}/").removesuffix(suffix), opened.read(member)
        except Exception as error:  # a damaged archive raises many kinds, by its kind of compression
            raise ValueError(f"{archive}: not a readable zip file; get it again from {SOURCE}") from error
    else:
        raise FileNotFoundError(f"{archive}: no such file, nor the folder {name}; get it from {SOURCE}")
    if not count:
        raise ValueError(f"{folder / name}: holds no ALPHABET/characterNN/NNNN_DD{suffix}; get it from {SOURCE}")


def _ink(content: bytes, name: str) -> np.ndarray:
    """1 where the pen was; the files are black on white."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("L"))
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ValueError(f"{name}: not a readable PNG image") from error
    if pixels.shape != (SIDE, SIDE):
        raise ValueError(f"{name}: expected {SIDE} x {SIDE} pixels, got {pixels.shape}")
    return (pixels < 128).astype(np.uint8)
