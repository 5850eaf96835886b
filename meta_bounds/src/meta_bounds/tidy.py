"""Tables as CSV files: one row per measurement."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from .results import whole
from .theory import Row


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """All columns that any row has, in order of appearance; numbers to 9 digits."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows([{k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows])
