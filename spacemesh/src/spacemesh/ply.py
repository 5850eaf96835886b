"""PLY files, read by plyfile; nothing that a header announces is taken on trust."""

from __future__ import annotations

import io
import re

import numpy as np
from plyfile import PlyData, PlyParseError

CORNERS = ("vertex_indices", "vertex_index")


def read_ply(content: bytes) -> tuple[np.ndarray, list[list[int]]]:
    """Positions (V, 3) and faces, from ASCII or either binary order.

    Raises:
        ValueError: no such header, a file that ends before what it announces, no positions or no faces.
    """
    refuse_forged_counts(content)
    try:
        elements = {element.name: element for element in PlyData.read(io.BytesIO(content)).elements}
    except PlyParseError as error:
        raise ValueError(str(error)) from error
    if not {"vertex", "face"} <= set(elements):
        raise ValueError(f"expected elements vertex and face, got {', '.join(elements) or 'none'}")
    vertex, face = elements["vertex"].data, elements["face"].data
    if not set("xyz") <= set(vertex.dtype.names):
        raise ValueError(f"expected vertices with x, y and z, got {', '.join(vertex.dtype.names)}")
    corners = [name for name in CORNERS if name in face.dtype.names]
    if not corners:
        raise ValueError(f"expected faces with {' or '.join(CORNERS)}, got {', '.join(face.dtype.names)}")
    positions = np.stack([np.asarray(vertex[axis], dtype=np.float64) for axis in "xyz"], 1)
    return positions, [[int(v) for v in row] for row in face[corners[0]]]


def refuse_forged_counts(content: bytes) -> None:
    """Raise ValueError for more rows than a file has bytes after its header: room would be made for all of them."""
    header, found, data = content.partition(b"end_header")
    if not found or not header.startswith(b"ply"):
        raise ValueError("no header from ply to end_header")
    for name, rows in re.findall(rb"^element\s+(\S+)\s+(\d+)", header, re.MULTILINE):
        if int(rows) > len(data):
            raise ValueError(f"{int(rows)} rows of {name.decode(errors='replace')} announced in {len(data)} bytes")
