"""Polygon mesh files: OBJ, PLY and OFF with faces of any size, STL and GLB by way of triangles.

Faces keep their corners; common readers cut them to triangles, or crash on a damaged file. So OBJ and OFF are read
here; plyfile reads PLY (`ply.py`), trimesh STL and GLB.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch
import trimesh
from torch import Tensor

from .errors import NotRepresentable
from .halfedge import HalfedgeMesh
from .ply import read_ply
from .polygons import Polygons
from .results import whole
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
        vertices, faces = READERS[kind](path.read_bytes())
        vertices = np.asarray(vertices, dtype=np.float64)
    except Exception as error:  # what numpy and trimesh raise for a damaged file is of many kinds
        raise ValueError(f"{path}: not a readable {kind[1:].upper()} mesh ({error or type(error).__name__})") from error
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"{path}: expected three coordinates a vertex, got an array {vertices.shape}")
    return torch.from_numpy(vertices), faces


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


def read_obj(content: bytes) -> tuple[np.ndarray, list[list[int]]]:
    """Positions and faces of an OBJ file; textures, normals, colours, lines and groups are left out.

    Raises:
        ValueError: no vertices, what is no number, or a face that names no vertex: numbers from the end, below 0, are
            not read.
    """
    vertices, faces, lines = [], [], []
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
        word, *values = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in (values + ["missing"] * 3)[:3]])
        elif word == "f":
            faces.append([int(corner.partition("/")[0]) for corner in values])
            lines.append(number)
    if not vertices:
        raise ValueError("no vertices")
    for number, face in zip(lines, faces, strict=True):
        for index in face:
            if not 1 <= index <= len(vertices):
                raise ValueError(f"line {number} names vertex {index}, expected 1 to {len(vertices)}")
    return np.array(vertices), [[v - 1 for v in face] for face in faces]


def read_npz(content: bytes) -> tuple[np.ndarray, list[list[int]]]:
    """Arrays `vertices` and `facets`, as Thingi10K's package keeps its meshes."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return arrays["vertices"], [[int(v) for v in face] for face in arrays["facets"].tolist()]


def read_stl(content: bytes) -> tuple[np.ndarray, list[list[int]]]:
    """Triangles, whose corners are welded: the format has a soup."""
    loaded = trimesh.load(io.BytesIO(content), file_type="stl", force="mesh", process=True)
    return np.asarray(loaded.vertices), np.asarray(loaded.faces).tolist()


def read_glb(content: bytes) -> tuple[np.ndarray, list[list[int]]]:
    """Triangles; what the file would take from other files is not looked for."""
    loaded = trimesh.load(io.BytesIO(content), file_type="glb", force="mesh", process=False)
    return np.asarray(loaded.vertices), np.asarray(loaded.faces).tolist()


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
    """The faces from a stream of sizes and corners.

    Raises:
        ValueError: it ends before `count` faces do, or one has no corner.
    """
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


def read_edges(path: str | Path) -> tuple[Tensor, Tensor, Tensor | None]:
    """Positions (V, 3), edges (E, 2) and, where there are some, normals (V, 3), from a JSON file.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it does not hold these.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = json.loads(path.read_bytes())
        positions = torch.tensor(content["positions"], dtype=torch.float32)
        edges = torch.tensor(content["edges"], dtype=torch.long).reshape(-1, 2)
        normals = torch.tensor(content["normals"], dtype=torch.float32) if "normals" in content else None
    except (ValueError, KeyError, TypeError, RuntimeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON with positions and edges ({error})") from error
    return positions, edges, normals


READERS = {
    ".obj": read_obj,
    ".ply": read_ply,
    ".off": read_off,
    ".stl": read_stl,
    ".glb": read_glb,
    ".npz": read_npz,
}


def write_polygons(path: str | Path, vertices: Tensor, polygons: Polygons | list[list[int]]) -> Path:
    """Write OBJ, PLY or OFF with all faces as they are, under a temporary name that is then renamed.

    Args:
        vertices: (V, 3). polygons: faces as lists of vertex indices, perhaps none.
    Raises:
        ValueError: another format, STL and GLB among them: `write_mesh` cuts triangles for those.
    """
    path, faces = Path(path), polygons if isinstance(polygons, list) else polygons.lists()
    writers = {".obj": _obj, ".ply": _ply, ".off": _off}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{path}: polygons go into {', '.join(writers)}")
    with whole(path) as temporary:
        temporary.write_text("\n".join(writers[path.suffix.lower()](vertices.double().tolist(), faces)) + "\n")
    return path


def write_mesh(path: str | Path, mesh: HalfedgeMesh) -> Path:
    """Write a mesh: OBJ, PLY, OFF keep its polygons, STL and GLB get triangles that keep it manifold.

    Raises:
        ValueError: another format.
    """
    path = Path(path)
    if path.suffix.lower() in (".stl", ".glb"):
        vertices, triangles = triangulate(mesh)
        with whole(path) as temporary:
            surface = trimesh.Trimesh(vertices.numpy(), triangles.numpy(), process=False)
            surface.export(temporary, file_type=path.suffix[1:].lower())
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
