"""Tables and results as files: CSV with one row per measurement, JSON with seeds, versions and the command."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy
import pytorch_lightning
import torch

from .claims import Claim
from .theory import Row


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """All columns that any row has, in order of appearance; numbers to 9 digits. By way of a temporary file."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows([{k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows])
    os.replace(temporary, path)


def write_result(path: Path, command: str, seeds: Sequence[int], claims: Sequence[Claim], **measured) -> None:
    """What was measured, with which versions, seeds and command."""
    content = {
        "command": command,
        "seeds": list(seeds),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pytorch_lightning": pytorch_lightning.__version__,
            "numpy": numpy.__version__,
            "matplotlib": matplotlib.__version__,
        },
        "claims": [vars(claim) for claim in claims],
        **measured,
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(_rounded(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _rounded(value):
    """Floats to six digits: more are rounding, and would differ between machines. JSON has no infinity: text."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
