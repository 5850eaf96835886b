"""PLY: the header says how the bytes after it are laid out; nothing is taken on trust that the file does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
CORNERS = ("vertex_indices", "vertex_index")


@dataclass(frozen=True)
class Property:
    """name. kind: numpy's of a value. size: numpy's of the number of values before them, or empty for one value."""

    name: str
    kind: str
    size: str = ""


@dataclass
class Element:
    """A table: `vertex` or `face`, mostly."""

    name: str
    rows: int
    properties: list[Property]


def read_ply(content: bytes) -> tuple[np.ndarray, list[list[int]]]:
    """Positions (V, 3) and faces, from ASCII or either binary order.

    Raises:
        ValueError: no such header, a file that ends before what it announces, no positions or no faces.
    """
    order, elements, data = header_of(content)
    values = AsciiValues(data) if order == "" else BinaryValues(data, order)
    vertices, faces = None, None
    for element in elements:
        names = [p.name for p in element.properties]
        if element.name == "vertex" and not any(p.size for p in element.properties):
            if not set("xyz") <= set(names):
                raise ValueError(f"expected vertices with x, y and z, got {', '.join(names) or 'nothing'}")
            vertices = values.table(element)[:, [names.index(axis) for axis in "xyz"]]
        elif element.name == "face" and (corners := [n for n in CORNERS if n in names]):
            column = names.index(corners[0])
            faces = [[int(v) for v in row[column]] for row in values.rows(element)]
        else:
            for _ in values.rows(element):
                pass
    if vertices is None or faces is None:
        raise ValueError(f"expected elements vertex and face, got {', '.join(e.name for e in elements) or 'none'}")
    return vertices, faces


def header_of(content: bytes) -> tuple[str, list[Element], bytes]:
    """The byte order, empty for ASCII, the elements, and what follows."""
    head, found, data = content.partition(b"end_header")
    lines = [line.split() for line in head.decode("ascii", errors="replace").splitlines()]
    if not found or lines[:1] != [["ply"]]:
        raise ValueError("no header from ply to end_header")
    order, elements = None, []
    for line in lines[1:]:
        match line:
            case ["format", name, _] if name in ORDERS:
                order = ORDERS[name]
            case ["element", name, rows] if rows.isdigit():
                elements.append(Element(name, int(rows), []))
            case ["property", "list", size, kind, name] if elements and size in TYPES and kind in TYPES:
                elements[-1].properties.append(Property(name, TYPES[kind], TYPES[size]))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1].properties.append(Property(name, TYPES[kind]))
            case [] | ["comment", *_] | ["obj_info", *_]:
                pass
            case _:
                raise ValueError(f"the header's line {' '.join(line)[:60]!r} is no format, element or property")
    if order is None:
        raise ValueError(f"the header names no format of {', '.join(ORDERS)}")
    return order, elements, data.partition(b"\n")[2]


class AsciiValues:
    """Numbers in the order in which they stand."""

    def __init__(self, data: bytes):
        self.tokens, self.at = data.decode("ascii", errors="replace").split(), 0

    def take(self, count: int, element: Element) -> list[str]:
        """So many of them."""
        found = self.tokens[self.at : self.at + count]
        if count < 0 or len(found) < count:
            raise short_of(element)
        self.at += count
        return found

    def table(self, element: Element) -> np.ndarray:
        """(rows, properties), float64; for an element without lists."""
        columns = len(element.properties)
        return np.array(self.take(element.rows * columns, element), dtype=np.float64).reshape(element.rows, columns)

    def rows(self, element: Element) -> Iterator[list[list]]:
        """The values of each property, as a list, row by row."""
        for _ in range(element.rows if element.properties else 0):
            yield [
                [float(v) if p.kind[0] == "f" else int(v) for v in self.take(self.length(p, element), element)]
                for p in element.properties
            ]

    def length(self, of: Property, element: Element) -> int:
        return int(self.take(1, element)[0]) if of.size else 1


class BinaryValues:
    """The same from bytes."""

    def __init__(self, data: bytes, order: str):
        self.data, self.order, self.at = data, order, 0

    def take(self, kind: str | list, count: int, element: Element) -> np.ndarray:
        """So many values of a kind."""
        kind = np.dtype(kind).newbyteorder(self.order)
        if count < 0 or count * kind.itemsize > len(self.data) - self.at:
            raise short_of(element)
        found = np.frombuffer(self.data, kind, count, self.at)
        self.at += count * kind.itemsize
        return found

    def table(self, element: Element) -> np.ndarray:
        """(rows, properties), float64; for an element without lists."""
        kinds = [(str(number), p.kind) for number, p in enumerate(element.properties)]
        found = self.take(kinds, element.rows, element)
        return np.stack([found[name].astype(np.float64) for name, _ in kinds], 1)

    def rows(self, element: Element) -> Iterator[list[list]]:
        """The values of each property, as a list, row by row."""
        for _ in range(element.rows if element.properties else 0):
            yield [self.take(p.kind, self.length(p, element), element).tolist() for p in element.properties]

    def length(self, of: Property, element: Element) -> int:
        return int(self.take(of.size, 1, element)[0]) if of.size else 1


def short_of(element: Element) -> ValueError:
    return ValueError(f"{element.rows} rows of {element.name} announced in the header, the file ends before")
