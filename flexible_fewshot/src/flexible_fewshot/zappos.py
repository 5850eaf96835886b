"""UT-Zappos50K's official files: a table of binary columns, and which picture each row is about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from .attributes import AttributeTable
from .image_folder import rows_of

SOURCE = "the UT Zappos50K page, vision.cs.utexas.edu/projects/finegrained/utzap50k"
FRACTIONS = (0.8, 0.1, 0.1)  # of products, for train, val and test
HIGH_HEELS = ("2in - 2 3/4in", "3in - 3 3/4in", "4in - 4 3/4in", "5in & over")


def read_zappos(data_dir: str | Path, seed: int = 0) -> dict[str, AttributeTable]:
    """Tables of `train`, `val` and `test`, split by product, so that colours of one shoe stay together.

    The official download has no split of images: 80, 10 and 10 per cent of the products (the number before the dash of
    a CID) are drawn with `seed`. Images are named by their paths under ut-zap50k-images(-square).

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line is not as it should be (file and line are named), or the csv and the mat file disagree.
    """
    folder = Path(data_dir) / "ut-zap50k-data"
    cids, columns, values = _read_binary(folder / "meta-data-bin.csv")
    paths = _read_paths(folder / "image-path.mat", cids)
    attributes, values = _with_heels(columns, values)
    table = AttributeTable(tuple(paths), tuple(attributes), values)
    products = np.array([cid.partition("-")[0] for cid in cids])
    order = np.random.default_rng(seed).permutation(np.unique(products))
    ends = np.cumsum([0, *(round(f * len(order)) for f in FRACTIONS[:2])])
    groups = (order[ends[0] : ends[1]], order[ends[1] : ends[2]], order[ends[2] :])
    stages = zip(("train", "val", "test"), groups, strict=True)
    return {stage: table.rows(np.flatnonzero(np.isin(products, group))) for stage, group in stages}


def normalised(name: str) -> str:
    """Names of columns as they are compared: lower case, with dots, dashes and underscores as spaces."""
    for mark in ".-_&/()":
        name = name.replace(mark, " ")
    return " ".join(name.lower().split())


def match_columns(wanted: tuple[str, ...], columns: tuple[str, ...]) -> dict[str, str]:
    """Each name of a split with the column that is it up to case, dots, dashes and underscores.

    Raises:
        ValueError: some have no column; all are listed.
    """
    known = {normalised(column): column for column in columns}
    unmatched = [name for name in wanted if normalised(name) not in known]
    if unmatched:
        raise ValueError(f"{len(unmatched)} attributes have no column in meta-data-bin.csv: {', '.join(unmatched)}")
    return {name: known[normalised(name)] for name in wanted}


def _read_binary(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; get it from {SOURCE}")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = rows_of(stream, path)
        header = next(rows, [])
        if len(header) < 2 or header[0].strip().upper() != "CID":
            raise ValueError(f"{path}, line 1: expected CID and names of attributes, got {','.join(header)[:60]!r}")
        cids, values, seen = [], [], set()
        for line, row in enumerate(rows, 2):
            if len(row) != len(header):
                raise ValueError(f"{path}, line {line}: expected {len(header)} values, got {len(row)}")
            if row[0] in seen:
                raise ValueError(f"{path}, line {line}: {row[0]} occurs twice")
            wrong = [value for value in row[1:] if value.strip() not in ("0", "1")]
            if wrong:
                raise ValueError(f"{path}, line {line}: values must be 0 or 1, got {wrong[0]!r}")
            seen.add(row[0])
            cids.append(row[0])
            values.append([int(value) for value in row[1:]])
    if not cids:
        raise ValueError(f"{path}: no rows after the header")
    return cids, header[1:], np.array(values, np.int8)


def _read_paths(path: Path, cids: list[str]) -> list[str]:
    """`imagepath` of the mat file, in the order of the csv; each stem must be the CID with a dot for its dash."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; get it from {SOURCE}")
    try:
        paths = [_text(cell) for cell in np.atleast_1d(loadmat(path, squeeze_me=True)["imagepath"])]
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise ValueError(f"{path}: expected a mat file with `imagepath` ({type(error).__name__}: {error})") from error
    if len(paths) != len(cids):
        raise ValueError(f"{path}: has {len(paths)} paths, but meta-data-bin.csv has {len(cids)} rows")
    by_stem = {path_.rpartition("/")[2].rpartition(".")[0]: path_ for path_ in paths}
    missing = [cid for cid in cids if cid.replace("-", ".") not in by_stem]
    if missing:
        raise ValueError(f"{path}: no picture {missing[0].replace('-', '.')}.jpg for CID {missing[0]}")
    return [by_stem[cid.replace("-", ".")] for cid in cids]


def _text(cell) -> str:
    while isinstance(cell, np.ndarray):
        cell = cell.reshape(-1)[0]
    return str(cell)


def _with_heels(columns: list[str], values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Adds HeelHeight.High heel (two inches and over) and HeelHeight.Short heel (all other heights)."""
    heels = [i for i, name in enumerate(columns) if normalised(name).startswith("heelheight")]
    high = {normalised(f"HeelHeight.{name}") for name in HIGH_HEELS}
    is_high = [i for i in heels if normalised(columns[i]) in high or _inches(columns[i]) >= 2]
    is_short = [i for i in heels if i not in is_high]
    added = [(values[:, of].any(1) if of else np.zeros(len(values), bool)) for of in (is_high, is_short)]
    return [*columns, "HeelHeight.High heel", "HeelHeight.Short heel"], np.column_stack([values, *added]).astype(
        np.int8
    )


def _inches(column: str) -> int:
    """The first number of a heel's column such as `HeelHeight.1in...1.3.4in`, -1 where there is none."""
    digits = normalised(column).removeprefix("heelheight").strip()
    number = digits.split("in")[0].strip() if "in" in digits else ""
    return int(number) if number.isdigit() else -1
