"""State dicts from files of others: tensors only, all of them finite, of the shapes that were expected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def load_tensors(path: str | Path, key: str | None = None) -> dict[str, Tensor]:
    """The tensors by name in a .pt or .pth file, or under `key` in it, loaded with weights_only=True.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable file of tensors, or a value is not a finite number; names the file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; a PyTorch state dict was expected")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its unpickler meets, of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a readable checkpoint of tensors, or a truncated one ({reason})") from error
    if key is not None:
        if not isinstance(content, Mapping) or key not in content:
            raise ValueError(f"{path}: a dict with the key {key!r} expected, it holds {_kind(content)}")
        content = content[key]
    if (
        not isinstance(content, Mapping)
        or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
        or not content
    ):
        raise ValueError(f"{path}: tensors by name expected, it holds {_kind(content)}")
    for name, value in content.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{path}: {name} has values that are not finite numbers")
    return dict(content)


def check_shapes(path: str | Path, state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError where a name is missing or a shape is another one."""
    for name, shape in shapes.items():
        if name not in state:
            raise ValueError(f"{path}: no {name}, it holds {', '.join(sorted(state))}")
        if tuple(state[name].shape) != tuple(shape):
            raise ValueError(f"{path}: {name} of shape {tuple(shape)} expected, got {tuple(state[name].shape)}")


def _kind(content: object) -> str:
    return f"the keys {', '.join(map(str, content))}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
