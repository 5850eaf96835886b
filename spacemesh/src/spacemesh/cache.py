"""What was computed before under the same settings, so that a study that was killed goes on where it stopped.

The same text in every project of the house.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .results import read_json, whole, write_json


def cached(path: str | Path, mark: Any, make: Callable[[], Any]) -> Any:
    """What `make` gave when `path` was written under the same mark, as JSON keeps it; else it is made and written now.

    Args:
        mark: all that decides what is made, as JSON would have it. A file with another mark is written anew; so is a
            damaged one, with a warning.
    """
    path, mark = Path(path), json.loads(json.dumps(mark, default=str))
    found = _read(path, _read_checked)
    if found is None or found[0] != mark:
        made = json.loads(json.dumps(make()))
        write_json(path, {"mark": mark, "made": made, "digest": _digest(made)})
        return made
    return found[1]


def load_state(path: str | Path, mark: str) -> dict[str, Any] | None:
    """The tensors and plain values that `save_state` wrote to `path` under the same mark.

    Returns:
        None: there are none, they have another mark, or the file is damaged, of which a warning tells.
    """
    found = _read(Path(path), lambda path: torch.load(path, "cpu", weights_only=True))
    return found[1] if found is not None and found[0] == mark and isinstance(found[1], dict) else None


def save_state(path: str | Path, mark: str, made: dict[str, Any]) -> None:
    """Write tensors and plain values for `load_state`."""
    with whole(path) as temporary:
        torch.save({"mark": mark, "made": made}, temporary)


def _read(path: Path, read: Callable[[Path], dict]) -> tuple[Any, Any] | None:
    """The mark and what was made."""
    if not path.is_file():
        return None
    try:
        content = read(path)
        return content["mark"], content["made"]
    except Exception as error:  # a damaged file may raise anything
        warnings.warn(f"{path}: damaged ({type(error).__name__}), so it is made again", stacklevel=4)
        return None


def _read_checked(path: Path) -> dict:
    content = read_json(path)
    if content["digest"] != _digest(content["made"]):
        raise ValueError("its digest does not fit")
    return content


def _digest(made: Any) -> str:
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
