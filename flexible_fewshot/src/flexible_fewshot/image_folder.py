"""Anybody's own data: a folder of pictures and a CSV file with their attributes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from .attributes import AttributeTable

SPLITS = ("train", "val", "test")
WORDS = {"1": 1, "0": 0, "-1": 0, "": -1, "?": -1, "true": 1, "false": 0, "yes": 1, "no": 0}


def rows_of(stream: TextIO, path: Path) -> Iterator[list[str]]:
    """The rows of a table of comma-separated values.

    Raises:
        ValueError: it is not one, or not in UTF-8; names the file.
    """
    try:
        yield from csv.reader(stream, strict=True)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: expected a table of comma-separated values in UTF-8 ({error})") from error


def read_attribute_csv(path: str | Path) -> dict[str, AttributeTable]:
    """A table for each split, from `image,split,ATTRIBUTE,...` with an optional column `identity`.

    Values are 1 or 0 (also true/false, yes/no, and -1 for 0); an empty one or ? is unknown. `image` is a path relative
    to the folder of pictures, `split` is train, val or test; without the column all images are in all three, for
    evaluation only.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is not as it should be (file and line are named), or a split is empty.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it should start with a line image,split,ATTRIBUTE,...")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = rows_of(stream, path)
        header = [name.strip() for name in next(rows, [])]
        special = [name for name in ("image", "split", "identity") if name in header]
        attributes = [name for name in header if name not in special]
        if "image" not in header or not attributes or len(set(header)) != len(header):
            raise ValueError(
                f"{path}, line 1: expected image,split,ATTRIBUTE,... with unlike names, got {','.join(header)[:80]!r}"
            )
        names, splits, identities, values = [], [], [], []
        for line, row in enumerate(rows, 2):
            if len(row) != len(header):
                raise ValueError(f"{path}, line {line}: expected {len(header)} fields, got {len(row)}")
            entry = dict(zip(header, (field.strip() for field in row), strict=True))
            split = entry.get("split", "")
            if "split" in header and split not in SPLITS:
                raise ValueError(f"{path}, line {line}: split must be train, val or test, got {split!r}")
            wrong = [entry[a] for a in attributes if entry[a].lower() not in WORDS]
            if wrong:
                raise ValueError(f"{path}, line {line}: values must be 1, 0 or empty, got {wrong[0]!r}")
            names.append(entry["image"])
            splits.append(split)
            identities.append(entry.get("identity", ""))
            values.append([WORDS[entry[a].lower()] for a in attributes])
    if not names:
        raise ValueError(f"{path}: no rows after the header")
    numbers = np.unique(identities, return_inverse=True)[1] if "identity" in header else None
    try:
        table = AttributeTable(tuple(names), tuple(attributes), np.array(values, np.int8), numbers)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if "split" not in header:
        return dict.fromkeys(SPLITS, table)
    of = np.array(splits)
    empty = [split for split in SPLITS if split not in splits]
    if empty:
        raise ValueError(f"{path}: no image has split {' or '.join(empty)}")
    return {split: table.rows(np.flatnonzero(of == split)) for split in SPLITS}
