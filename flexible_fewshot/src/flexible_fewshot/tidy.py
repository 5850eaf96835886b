"""Results as JSON files: written whole or not at all, rounded, with the versions that made them."""

from __future__ import annotations

import json
import math
import os
import platform
from pathlib import Path
from typing import Any

import numpy
import pytorch_lightning
import scipy
import sklearn
import torch


def versions() -> dict[str, str]:
    """Of what a measurement depends on."""
    return {
        "python": platform.python_version(),
        **{m.__name__: m.__version__ for m in (torch, pytorch_lightning, numpy, scipy, sklearn)},
    }


def write_json(path: Path, content: Any) -> None:
    """By way of a temporary file; what is not finite becomes text, since JSON has no infinity."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(_plain(content), separators=(",", ":"), allow_nan=False) + "\n")
    os.replace(temporary, path)


def read_json(path: str | Path) -> Any:
    """Raises:
    FileNotFoundError: no such file.
    ValueError: it is not JSON.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


def _plain(value: Any) -> Any:
    """All numbers to five digits."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else str(value)
    return value
