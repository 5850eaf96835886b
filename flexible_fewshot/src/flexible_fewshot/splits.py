"""Which attributes may be seen in training, which validate, and which test: disjoint groups of names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

FOLDER = Path(__file__).parent / "splits"


@dataclass(frozen=True)
class AttributeSplit:
    """Names of train, validation and test attributes.

    The paper validates on the attributes that it tests on (`val` equals `test`); `clean` says whether a split does not.

    Raises:
        ValueError: a group is empty, names an attribute twice, or training shares one with another group.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self):
        for name in ("train", "val", "test"):
            group = getattr(self, name)
            if not group or len(set(group)) != len(group):
                raise ValueError(f"the {name} attributes must be some different names, got {list(group)}")
        for name in ("val", "test"):
            shared = sorted(set(self.train) & set(getattr(self, name)))
            if shared:
                raise ValueError(f"train and {name} attributes must not overlap, both have {', '.join(shared)}")

    @property
    def clean(self) -> bool:
        """Whether validation attributes are no test attributes."""
        return not set(self.val) & set(self.test)

    def group(self, name: str) -> tuple[str, ...]:
        """The attributes of `train`, `val`, `test`, or of the `oracle` that is trained on train and test ones.

        Raises:
            ValueError: no such group.
        """
        groups = {"train": self.train, "val": self.val, "test": self.test, "oracle": (*self.train, *self.test)}
        if name not in groups:
            raise ValueError(f"unknown group of attributes {name!r}, choose from {', '.join(groups)}")
        return groups[name]

    @classmethod
    def load(cls, name: str) -> AttributeSplit:
        """A packaged split by name (celeba, zappos50k, imagenet, faces, digits, omniglot), or any YAML file.

        The file maps `train`, `test` and, if they differ from `test`, `val` to lists of names.

        Raises:
            ValueError: neither exists, or the file holds something else.
        """
        packaged = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
        path = packaged.get(name, Path(name))
        if not path.is_file():
            raise ValueError(f"no split {name!r}: it is neither a file nor one of the packaged {', '.join(packaged)}")
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: not a YAML file ({str(error).partition(chr(10))[0]})") from error
        if not isinstance(content, dict) or not {"train", "test"} <= set(content) <= {"train", "val", "test"}:
            raise ValueError(f"{path}: expected lists under train, test and (optional) val, got {content!r:.80}")
        if wrong := [key for key, value in content.items() if not isinstance(value, list)]:
            raise ValueError(f"{path}: expected a list of names under {wrong[0]}, got {content[wrong[0]]!r:.80}")
        groups = {key: tuple(str(attribute) for attribute in value) for key, value in content.items()}
        try:
            return cls(groups["train"], groups.get("val", groups["test"]), groups["test"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def random(cls, names: Sequence[str], n_train: int, seed: int, n_val: int = 0) -> AttributeSplit:
        """A random division of `names`; without validation attributes `val` is `test`, as in the paper.

        Raises:
            ValueError: no attribute would be left to test.
        """
        if n_train + n_val >= len(names):
            raise ValueError(f"{n_train} train and {n_val} val of {len(names)} attributes leave none to test")
        order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
        train, val, test = order[:n_train], order[n_train : n_train + n_val], order[n_train + n_val :]
        return cls(tuple(train), tuple(val or test), tuple(test))
