"""Which image has which attribute: a table of names and of 1 (present), 0 (absent) and -1 (unknown)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PRESENT, ABSENT, UNKNOWN = 1, 0, -1


@dataclass(frozen=True)
class AttributeTable:
    """Attributes of n images.

    images: their names, unique; everything is joined by them, never by position. attributes: names of the A columns.
    values: (n, A) int8, PRESENT, ABSENT or UNKNOWN. identities: (n,) int64, whose face it is, None where no one knows.

    Raises:
        ValueError: sizes disagree, a name occurs twice, or a value is none of the three.
    """

    images: tuple[str, ...]
    attributes: tuple[str, ...]
    values: np.ndarray
    identities: np.ndarray | None = None

    def __post_init__(self):
        for kind, names in (("image", self.images), ("attribute", self.attributes)):
            if len(set(names)) != len(names):
                seen: set[str] = set()
                twice = next(name for name in names if name in seen or seen.add(name))
                raise ValueError(f"{kind} {twice!r} occurs twice in the table; names must be unique")
        expected = (len(self.images), len(self.attributes))
        if self.values.shape != expected:
            raise ValueError(f"values must be (images, attributes) = {expected}, got {self.values.shape}")
        if self.identities is not None and self.identities.shape != expected[:1]:
            raise ValueError(f"identities must be {expected[:1]}, got {self.identities.shape}")
        if not np.isin(self.values, (PRESENT, ABSENT, UNKNOWN)).all():
            wrong = self.values[~np.isin(self.values, (PRESENT, ABSENT, UNKNOWN))][0]
            raise ValueError(f"values must be 1 (present), 0 (absent) or -1 (unknown), got {wrong}")

    def __len__(self) -> int:
        return len(self.images)

    def columns(self, names: Sequence[str]) -> list[int]:
        """Positions of attributes by name.

        Raises:
            ValueError: there is no such attribute; the message lists what there is.
        """
        missing = [name for name in names if name not in self.attributes]
        if missing:
            raise ValueError(f"unknown attribute {missing[0]!r}, choose from {', '.join(self.attributes)}")
        return [self.attributes.index(name) for name in names]

    def of(self, names: Sequence[str]) -> np.ndarray:
        """(n, len(names)): some columns."""
        return self.values[:, self.columns(names)]

    def rows(self, index: np.ndarray) -> AttributeTable:
        """The table of some of the images."""
        identities = None if self.identities is None else self.identities[index]
        return AttributeTable(tuple(self.images[i] for i in index), self.attributes, self.values[index], identities)
