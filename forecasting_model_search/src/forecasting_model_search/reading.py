"""What goes wrong with a file's content is one ValueError that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """What json, pandas and numpy raise for a damaged file, of many kinds, becomes a ValueError.

    Args:
        what: the file, or a part of it, should be.
    Raises:
        ValueError: it names the file, what was expected, and what was found.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: not {what} ({type(error).__name__}: {error})") from error
