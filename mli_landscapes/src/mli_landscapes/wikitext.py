"""WikiText-2 and alike: three text files of words between spaces, one paragraph a line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

SPLITS = ("train", "valid", "test")
NAMES = ("wiki.{}.tokens", "{}.txt")  # as distributed, and as in the PyTorch examples
END_OF_LINE = "<eos>"


class Text(NamedTuple):
    """Numbered words of three splits, each (n,), int64, and how many different ones all three have together."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    vocabulary: int


def read_wikitext(data_dir: str | Path) -> Text:
    """Words of train, valid and test; a line's words are followed by `<eos>`, an empty line is that alone.

    Words are numbered as they appear, first in train, then in valid, then in test.

    Raises:
        FileNotFoundError: a split is missing; says which, and where to get it.
        ValueError: a file is empty or not UTF-8.
    """
    numbers: dict[str, int] = {}
    splits = [_numbered(_find(Path(data_dir), split), numbers) for split in SPLITS]
    return Text(*splits, len(numbers))


def _find(data_dir: Path, split: str) -> Path:
    for folder in (data_dir, data_dir / "wikitext-2"):
        for name in NAMES:
            if (path := folder / name.format(split)).is_file():
                return path
    names = " or ".join(name.format(split) for name in NAMES)
    raise FileNotFoundError(
        f"{names} not found in {data_dir} (nor in its wikitext-2); WikiText-2 is on huggingface.co, dataset "
        "Salesforce/wikitext"
    )


def _numbered(path: Path, numbers: dict[str, int]) -> np.ndarray:
    """The file's words as numbers, (n,); new words are added to `numbers`."""
    try:
        with path.open(encoding="utf-8") as file:  # not str.splitlines, which also splits at U+2028 and its like
            lines = list(file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: UTF-8 text expected ({error})") from error
    if not lines:
        raise ValueError(f"{path}: the file is empty")
    words = (word for line in lines for word in [*line.split(), END_OF_LINE])
    return np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int64)
