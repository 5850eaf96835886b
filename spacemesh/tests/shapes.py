"""Meshes whose numbers are known: regular solids, tori, an open tube and a polycube of genus 2."""

import itertools
import math

import torch

from spacemesh.families import polycube, prisms, ring, torus
from spacemesh.halfedge import HalfedgeMesh

CUBE = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]  # (x, y, z) = bits
TETRAHEDRON = [[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]
MOEBIUS = [[0, 1, 3, 2], [2, 3, 5, 4], [4, 5, 0, 1]]  # the last strip closes with a twist


def corners_of_cube():
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)))


def cube():
    return HalfedgeMesh.from_polygons(corners_of_cube(), CUBE)


def tetrahedron():
    return HalfedgeMesh.from_polygons(torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]), TETRAHEDRON)


def dodecahedron():
    """Twenty vertices; a face is the five that reach furthest along one of the icosahedron's twelve."""
    golden = (1 + math.sqrt(5)) / 2
    signs = list(itertools.product((-1.0, 1.0), repeat=2))
    vertices = [*itertools.product((-1.0, 1.0), repeat=3)]
    vertices += [p for a, b in signs for p in rolled((0.0, a / golden, b * golden))]
    axes = torch.tensor([p for a, b in signs for p in rolled((0.0, b * golden, a))])
    x = torch.tensor(vertices)
    faces = []
    for axis in axes:
        face = (x @ axis).topk(5).indices
        middle = x[face].mean(0)
        across = x[face[0]] - middle
        angle = torch.atan2(
            (x[face] - middle) @ torch.linalg.cross(axis, across), axis.norm() * (x[face] - middle) @ across
        )
        faces.append(face[angle.argsort()].tolist())
    return HalfedgeMesh.from_polygons(x, faces)


def rolled(point):
    """The three cyclic orders of coordinates."""
    return [point[i:] + point[:i] for i in range(3)]


def quad_torus():
    return torus(6, 4, 0.4)


def open_tube(sides=7, layers=3):
    """A cylinder of quads without its caps."""
    closed = prisms([1.0] * layers, [float(k) for k in range(layers)], sides)
    return HalfedgeMesh.from_polygons(closed.vertices, [f for f in closed.to_polygons() if len(f) == 4])


def capped_tube():
    """One of the caps is there."""
    closed = prisms([1.0] * 3, [0.0, 1.0, 2.0], 6)
    faces = [face for face in closed.to_polygons() if max(face) > 5]  # the lower cap is 0 to 5
    return HalfedgeMesh.from_polygons(closed.vertices, faces)


def genus_two():
    """A plate of 5 x 3 cells with two holes through it."""
    cells = torch.ones(5, 3, 1, dtype=torch.bool)
    cells[1, 1] = cells[3, 1] = False
    return polycube(cells, *[torch.arange(n + 1.0) for n in cells.shape])


def bipyramid(rim):
    """Triangles around a rim, two apices of that degree."""
    vertices = torch.cat([ring(rim, 1.0, 0.0), torch.tensor([[0.0, 0, 1], [0, 0, -1]])])
    faces = [face for i in range(rim) for face in ([i, (i + 1) % rim, rim], [(i + 1) % rim, i, rim + 1])]
    return HalfedgeMesh.from_polygons(vertices, faces)


ALL = {
    "cube": cube,
    "tetrahedron": tetrahedron,
    "dodecahedron": dodecahedron,
    "torus": quad_torus,
    "tube": open_tube,
    "capped tube": capped_tube,
    "genus two": genus_two,
    "bipyramid": lambda: bipyramid(9),
}


def rotation_systems(edges, count):
    """All choices of one cyclic order at each vertex of a graph: halfedges and one succ for each choice."""
    pairs = torch.tensor(edges)
    tail, head = torch.cat([pairs, pairs.flip(1)]).T
    order = torch.argsort(tail * count + head)
    tail, head = tail[order], head[order]
    choices = []
    for vertex in range(count):
        first, *others = (tail == vertex).nonzero().flatten().tolist()
        choices.append([(first, *rest) for rest in itertools.permutations(others)])
    for cycles in itertools.product(*choices):
        succ = torch.empty_like(tail)
        for cycle in cycles:
            succ[list(cycle)] = torch.tensor([*cycle[1:], cycle[0]])
        yield tail, head, succ
