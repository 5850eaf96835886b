"""Objects as plain values: what builds a model again, small enough for a checkpoint and safe to read."""

from __future__ import annotations

import dataclasses
import inspect
from enum import Enum
from typing import Any


def spec(value: Any) -> Any:
    """A model or one of its parts as plain values: what its arguments are, by their names as attributes."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {f.name: spec(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [spec(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    kind = type(value)
    names: list[str] = []
    for base in kind.__mro__:
        parameters = inspect.signature(base.__init__).parameters if "__init__" in vars(base) else {}
        names += [n for n, p in parameters.items() if n != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and parameters:
            break
    arguments = {n: spec(getattr(value, n)) for n in dict.fromkeys(names) if hasattr(value, n)}
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}
