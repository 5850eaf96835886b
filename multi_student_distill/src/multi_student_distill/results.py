"""Files that are whole or not there, and what a README quotes: measurements with their command, seeds and versions.

The same text in every project of the house.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .claims import Claim


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends, and is gone if it fails; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any, indent: int | None = None) -> None:
    """As one line, or indented."""
    text = json.dumps(content, indent=indent, separators=None if indent else (",", ":"), ensure_ascii=False)
    with whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def save_figure(path: str | Path, figure: Figure) -> None:
    """As PNG."""
    with whole(path) as temporary:
        figure.savefig(temporary, format="png")


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not JSON.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


def write_result(
    path: str | Path,
    command: str,
    claims: Sequence[Claim],
    packages: Sequence[str] = (),
    indent: int | None = 1,
    **measured: Any,
) -> None:
    """What `command` measured: with the versions of Python, torch, Lightning, numpy and `packages`, to six digits."""
    content = {"command": command, "versions": versions(*packages), "claims": [vars(claim) for claim in claims]}
    write_json(path, rounded(content | measured), indent)


def versions(*packages: str) -> dict[str, str]:
    """Of Python, of the packages that every measurement depends on, and of these."""
    named = ("torch", "pytorch-lightning", "numpy", *packages)
    return {"python": platform.python_version(), **{name: version(name) for name in named}}


def rounded(content: Any, digits: int = 6) -> Any:
    """Floats to so many digits, as more would differ between machines; what is not finite as text."""
    if isinstance(content, dict):
        return {str(key): rounded(value, digits) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [rounded(value, digits) for value in content]
    if isinstance(content, float):
        return float(f"{content:.{digits}g}") if math.isfinite(content) else str(content)
    return content
