"""Polygon mesh files: OBJ, PLY and OFF with faces of any size, STL and GLB by way of triangles.

Faces keep their corners; common readers cut them to triangles. potpourri3d reads OBJ and PLY, OFF is read here.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import potpourri3d
import torch
import trimesh
from torch import Tensor

from .errors import NotRepresentable
from .halfedge import HalfedgeMesh
from .polygons import Polygons
from .triangulation import triangulate

READABLE = (".obj", ".ply", ".off", ".stl", ".glb", ".npz")
WRITABLE = (".obj", ".ply", ".off", ".stl", ".glb")


def read_polygons(path: str | Path) -> tuple[Tensor, list[list[int]]]:
    """Vertices (V, 3), float64, and faces as lists, as the file has them; nothing is checked or welded but STL's soup.

    Raises:
        FileNotFoundError: there is no such file. ValueError: another format, or one that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    kind = path.suffix.lower()
    if kind not in READABLE:
        raise ValueError(f"{path}: expected one of {', '.join(READABLE)}")
    try:
        if kind == ".off":
            vertices, faces = read_off(path.read_bytes())
        elif kind == ".npz":
            vertices, faces = read_npz(path)
        elif kind in (".stl", ".glb"):
            loaded = trimesh.load(path, force="mesh", process=kind == ".stl")
            vertices, faces = np.asarray(loaded.vertices), np.asarray(loaded.faces).tolist()
        else:
            if kind == ".obj":
                refuse_odd_obj(path.read_text(errors="replace"))
            else:
                refuse_short_ply(path.read_bytes())
            vertices, faces = potpourri3d.read_polygon_mesh(str(path))
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError, MemoryError) as error:
        raise ValueError(f"{path}: not a readable {kind[1:].upper()} mesh ({error})") from error
    vertices = np.asarray(vertices, dtype=np.float64)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"{path}: expected three coordinates a vertex, got an array {vertices.shape}")
    return torch.from_numpy(vertices), [[int(v) for v in face] for face in faces]


def read_mesh(path: str | Path) -> HalfedgeMesh:
    """A file's mesh.

    Raises:
        see `read_polygons`; NotRepresentable: see `HalfedgeMesh.from_polygons`, with the path in front.
    """
    vertices, faces = read_polygons(path)
    try:
        return HalfedgeMesh.from_polygons(vertices.float(), faces)
    except NotRepresentable as error:
        error.args = (f"{path}: {error}",)
        raise


def refuse_odd_obj(text: str) -> None:
    """Raise ValueError for a face that names no vertex; the reader would take what lies in memory there."""
    vertices = sum(line.startswith("v ") for line in text.splitlines())
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("f "):
            for corner in line.split()[1:]:
                index = int(corner.partition("/")[0])
                if not 1 <= index <= vertices:  # numbers from the end, below 0, are not read
                    raise ValueError(f"line {number} names vertex {index}, expected 1 to {vertices}")


PLY_BYTES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "int32", "uint32", "float", "float32"), 4),
    **dict.fromkeys(("double", "float64"), 8),
}


def refuse_short_ply(content: bytes) -> None:
    """Raise ValueError for a file that ends before what its header announces; the reader would never return."""
    header, found, data = content.partition(b"end_header")
    lines = [line.split() for line in header.decode("ascii", errors="replace").splitlines()]
    if not found or lines[:1] != [["ply"]]:
        raise ValueError("no header from ply to end_header")
    announced = [int(line[2]) for line in lines if line[:1] == ["element"]]
    if any(line[:2] == ["format", "ascii"] for line in lines):
        have = sum(bool(line.strip()) for line in data.splitlines())
        if have < sum(announced):
            raise ValueError(f"{sum(announced)} lines announced after the header, the file has {have}")
        return
    least, count = 0, 0
    for line in lines:
        if line[:1] == ["element"]:
            count = int(line[2])
        elif line[:2] == ["property", "list"]:
            least += count * (PLY_BYTES[line[2]] + 3 * PLY_BYTES[line[3]])
        elif line[:1] == ["property"]:
            least += count * PLY_BYTES[line[1]]
    if len(data) < least:
        raise ValueError(f"at least {least} bytes announced after the header, the file has {len(data)}")


def read_npz(path: Path) -> tuple[np.ndarray, list[list[int]]]:
    """Arrays `vertices` and `facets`, as Thingi10K's package keeps its meshes."""
    with np.load(path, allow_pickle=False) as content:
        return content["vertices"], content["facets"].tolist()


def read_off(content: bytes) -> tuple[np.ndarray, list[list[int]]]:
    """ASCII OFF, token by token, so that line breaks and comments may stand anywhere.

    Where every face has a line of its own, up to four numbers after its corners are its colour, which is left out.

    Raises:
        ValueError: no OFF header, a binary file, or fewer numbers than announced.
    """
    if b"BINARY" in content[:64].split()[:2]:
        raise ValueError("binary OFF is not read here; save it as ASCII")
    lines = [line.partition("#")[0].split() for line in content.decode("ascii", errors="replace").splitlines()]
    tokens = [token for line in lines for token in line]
    if not tokens or not tokens[0].endswith("OFF"):
        raise ValueError("the file does not begin with OFF")
    if tokens[0] != "OFF":
        raise ValueError(f"{tokens[0]} has more than positions at a vertex; only OFF is read")
    numbers = tokens[1:]
    if len(numbers) < 3 or min(int(numbers[0]), int(numbers[1])) < 0:
        raise ValueError("expected the numbers of vertices, faces and edges after OFF")
    num_vertices, num_faces = int(numbers[0]), int(numbers[1])
    at = 3 + 3 * num_vertices
    if len(numbers) < at:
        raise ValueError(f"{num_vertices} vertices announced, the file ends before")
    vertices = np.array(numbers[3:at], dtype=np.float64).reshape(-1, 3)
    faces = faces_of_lines([line for line in lines if line], num_faces, numbers[at:])
    return vertices, faces_of_tokens(numbers[at:], num_faces) if faces is None else faces


def faces_of_lines(lines: list[list[str]], count: int, rest: list[str]) -> list[list[int]] | None:
    """The faces where each of the last `count` lines is one, perhaps with a colour; None where they are not."""
    own = lines[len(lines) - count :]
    if [token for line in own for token in line] != rest:
        return None
    sizes = [int(line[0]) if line[0].isdigit() else -1 for line in own]
    if any(size < 1 or not 0 <= len(line) - 1 - size <= 4 for size, line in zip(sizes, own, strict=True)):
        return None
    return [[int(v) for v in line[1 : 1 + size]] for size, line in zip(sizes, own, strict=True)]


def faces_of_tokens(numbers: list[str], count: int) -> list[list[int]]:
    """The faces from a stream of sizes and corners."""
    faces, at = [], 0
    for face in range(count):
        if at >= len(numbers):
            raise ValueError(f"{count} faces announced, the file has {face}")
        size = int(numbers[at])
        corners = numbers[at + 1 : at + 1 + size]
        if size < 1 or len(corners) < size:
            raise ValueError(f"face {face} announces {size} corners, the file has {len(corners)}")
        faces.append([int(v) for v in corners])
        at += 1 + size
    return faces


def write_polygons(path: str | Path, vertices: Tensor, polygons: Polygons | list[list[int]]) -> Path:
    """Write OBJ, PLY or OFF with all faces as they are, under a temporary name that is then renamed.

    Raises:
        ValueError: another format, STL and GLB among them: `write_mesh` cuts triangles for those.
    """
    path, faces = Path(path), polygons if isinstance(polygons, list) else polygons.lists()
    writers = {".obj": _obj, ".ply": _ply, ".off": _off}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{path}: polygons go into {', '.join(writers)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(writers[path.suffix.lower()](vertices.double().tolist(), faces)) + "\n")
    os.replace(temporary, path)
    return path


def write_mesh(path: str | Path, mesh: HalfedgeMesh) -> Path:
    """Write a mesh: OBJ, PLY, OFF keep its polygons, STL and GLB get triangles that keep it manifold.

    Raises:
        ValueError: another format.
    """
    path = Path(path)
    if path.suffix.lower() in (".stl", ".glb"):
        vertices, triangles = triangulate(mesh)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.stem + ".tmp" + path.suffix)
        trimesh.Trimesh(vertices.numpy(), triangles.numpy(), process=False).export(temporary)
        os.replace(temporary, path)
        return path
    if path.suffix.lower() not in WRITABLE:
        raise ValueError(f"{path}: expected one of {', '.join(WRITABLE)}")
    return write_polygons(path, mesh.vertices, mesh.polygons())


def _obj(vertices: list[list[float]], faces: list[list[int]]) -> list[str]:
    lines = ["v " + " ".join(f"{x:.9g}" for x in vertex) for vertex in vertices]
    return lines + ["f " + " ".join(str(v + 1) for v in face) for face in faces]


def _off(vertices: list[list[float]], faces: list[list[int]]) -> list[str]:
    lines = ["OFF", f"{len(vertices)} {len(faces)} 0"]
    lines += [" ".join(f"{x:.9g}" for x in vertex) for vertex in vertices]
    return lines + [" ".join(str(v) for v in [len(face), *face]) for face in faces]


def _ply(vertices: list[list[float]], faces: list[list[int]]) -> list[str]:
    lines = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {len(faces)}", "property list int int vertex_indices", "end_header"]
    lines += [" ".join(f"{x:.9g}" for x in vertex) for vertex in vertices]
    return lines + [" ".join(str(v) for v in [len(face), *face]) for face in faces]
