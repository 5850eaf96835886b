"""INRs of DWSNets (Navon et al. 2023): SIRENs 2-32-32-1 of MNIST images, sin(30 ·) and + 0.5.

Layout: mnist_png_{training,testing}_{label}_{id}/checkpoints/model_final.pth with seq.{0,1,2}.{weight,bias}; inputs are
(x, y) = (column, row) in [-1, 1], pixels row by row. A split file is JSON {train, val, test}: {path, label}.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..networks.siren import Siren
from .states import check_shapes, load_tensors

SIZES = (2, 32, 32, 1)
SHAPES = {
    f"seq.{i}.{kind}": (b, a) if kind == "weight" else (b,)
    for i, (a, b) in enumerate(itertools.pairwise(SIZES))
    for kind in ("weight", "bias")
}
NAME = re.compile(r"mnist_png_(training|testing)_(\d)_(\d+)(?:_augmented_(\d+))?")


@dataclass(frozen=True)
class DWSNet:
    """One file: where, the digit, the image's id, training or testing."""

    path: Path
    label: int
    image: int
    part: str


def find_inrs(folder: str | Path) -> list[DWSNet]:
    """All INRs in a folder, in order of their names.

    Raises:
        FileNotFoundError: there are none; says what names are expected.
    """
    found = []
    for path in sorted(Path(folder).glob("mnist_png_*/checkpoints/model_final.pth")):
        if match := NAME.fullmatch(path.parent.parent.name):
            found.append(DWSNet(path, int(match[2]), int(match[3]), match[1]))
    if not found:
        raise FileNotFoundError(
            f"{folder}: no mnist_png_{{training,testing}}_{{label}}_{{id}}/checkpoints/model_final.pth; "
            "get the INRs from github.com/AvivNavon/DWSNets"
        )
    return found


def read_inr(path: str | Path) -> dict[str, Tensor]:
    """The state of one INR.

    Raises:
        ValueError: another layout, or a value is not finite; names the file.
    """
    state = load_tensors(path)
    check_shapes(path, state, SHAPES)
    return state


def inr_network() -> Siren:
    """The network that has these states."""
    return Siren(SIZES, omega=30.0, shift=0.5)


def read_split(path: str | Path) -> dict[str, list[tuple[str, int]]]:
    """(path, label) of train, val and test.

    Raises:
        ValueError: not such a file, or a label that its path contradicts.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        parts = {
            part: list(zip(content[part]["path"], map(int, content[part]["label"]), strict=True))
            for part in ("train", "val", "test")
        }
        if any(not isinstance(name, str) for nets in parts.values() for name, _ in nets):
            raise TypeError("a path that is no text")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
        raise ValueError(f"{path}: JSON {{train, val, test}}: {{path, label}} expected ({error!r})") from error
    for part, nets in parts.items():
        for name, label in nets:
            match = NAME.search(name)
            if match and int(match[2]) != label:
                raise ValueError(f"{path}: {part}: {name} is of digit {match[2]}, its label says {label}")
    return parts
