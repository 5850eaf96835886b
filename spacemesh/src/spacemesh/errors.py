"""Meshes that no rotation system describes, refused by name."""

from __future__ import annotations


class NotRepresentable(ValueError):
    """The polygons are not an edge- and vertex-manifold, consistently oriented surface over a simple graph.

    `fault` is its short name: one of FAULTS.
    """

    def __init__(self, fault: str, message: str):
        if fault not in FAULTS:
            raise KeyError(fault)
        super().__init__(f"{FAULTS[fault]}: {message}")
        self.fault = fault


FAULTS = {
    "empty": "no faces",
    "corners": "a face with too few corners",
    "index": "a corner that is no vertex",
    "position": "a position that is not finite",
    "edge": "an edge with more than two faces",
    "winding": "neighbouring faces wound against each other",
    "non-orientable": "a surface with one side only",
    "pinch": "a vertex where separate sheets touch",
    "isolated": "a vertex without a face",
    "large": "more vertices than asked for",
}
