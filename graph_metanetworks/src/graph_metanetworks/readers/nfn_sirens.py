"""SIRENs of NFN (Zhou et al. 2023): siren_{mnist,fashion,cifar}_wts/randinit_smaller_{label}s/net{idx}.pth.

idx counts train images, then test images. Inputs are (row, column), the opposite of DWSNets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDERS = {"mnist": 60_000, "fashion": 60_000, "cifar": 50_000}  # name -> number of training images


@dataclass(frozen=True)
class NFNSiren:
    """One file: where, the class, the image's number within its part, train or test."""

    path: Path
    label: int
    image: int
    part: str


def find_sirens(folder: str | Path, labels: list[int] | None = None) -> list[NFNSiren]:
    """All SIRENs of a folder siren_{mnist,fashion,cifar}_wts, by idx.

    Args:
        labels: of all images, train then test; if given, every file's folder must agree.
    Raises:
        FileNotFoundError: there are none.
        ValueError: another folder name, or a label that disagrees.
    """
    match = re.fullmatch(r"siren_(mnist|fashion|cifar)_wts", Path(folder).name)
    if not match:
        raise ValueError(f"{folder}: a folder siren_{{mnist,fashion,cifar}}_wts expected")
    train = FOLDERS[match[1]]
    found: dict[int, NFNSiren] = {}
    for path in Path(folder).glob("randinit_smaller_*s/net*.pth"):
        label = re.fullmatch(r"randinit_smaller_(\d+)s", path.parent.name)
        index = re.fullmatch(r"net(\d+)\.pth", path.name)
        if not (label and index):
            continue
        number, digit = int(index[1]), int(label[1])
        if labels is not None and (number >= len(labels) or labels[number] != digit):
            said = labels[number] if number < len(labels) else "nothing"
            raise ValueError(f"{path}: the folder says class {digit}, the labels of image {number} say {said}")
        part, image = ("train", number) if number < train else ("test", number - train)
        found[number] = NFNSiren(path, digit, image, part)
    if not found:
        raise FileNotFoundError(
            f"{folder}: no randinit_smaller_{{label}}s/net{{idx}}.pth; get them from github.com/AllanYangZhou/nfn"
        )
    return [found[number] for number in sorted(found)]
