"""Procedural families: genus, sides of faces, outward faces, and one mesh for one seed."""

import pytest
import shapes
import torch

from spacemesh.errors import NotRepresentable
from spacemesh.families import FAMILIES, HELD_OUT, LARGEST, normalised, polycube, posed, prisms, shuffled, torus
from spacemesh.polygons import canonical
from spacemesh.triangulation import triangulate

SEEDS = range(25)


def drawn(name, seed):
    return (FAMILIES | HELD_OUT)[name](torch.Generator().manual_seed(seed))


def volume(mesh):
    vertices, triangles = triangulate(mesh)
    return float(torch.det(vertices[triangles].double()).sum()) / 6


@pytest.mark.parametrize(
    ("name", "genera", "sides"),
    [
        ("tori", {1}, {4}),
        ("hulls", {0}, {3}),
        ("prisms", {0}, {3, 4, 5, 6, 7, 8}),
        ("polycubes", {0, 1}, {4}),
        ("wide prisms", {0}, {4, 10, 11, 12}),
    ],
)
def test_genus_and_sides_of_each_family(name, genera, sides):
    meshes = [drawn(name, seed) for seed in SEEDS]
    assert {mesh.genus for mesh in meshes} == genera
    assert {size for mesh in meshes for size in mesh.polygons().sizes.tolist()} == sides
    for mesh in meshes:
        mesh.check()
        assert 4 <= len(mesh.vertices) <= LARGEST and not mesh.boundary_loops() and len(mesh.genera) == 1


@pytest.mark.parametrize("name", [*FAMILIES, *HELD_OUT])
def test_faces_look_outward(name):
    for seed in SEEDS:
        mesh = drawn(name, seed)
        assert volume(mesh) > 0
        assert volume(posed(mesh, torch.Generator().manual_seed(seed))) > 0  # a turn is no mirror


@pytest.mark.parametrize(
    "build", [shapes.cube, shapes.tetrahedron, shapes.dodecahedron, shapes.quad_torus, shapes.genus_two]
)
def test_the_test_meshes_look_outward_too(build):
    assert volume(build()) > 0


def test_volumes_are_those_of_the_solids():
    assert volume(shapes.cube()) == pytest.approx(8) and volume(shapes.tetrahedron()) == pytest.approx(8 / 3)
    assert volume(shapes.genus_two()) == pytest.approx(13)  # cells


@pytest.mark.parametrize("name", [*FAMILIES, *HELD_OUT])
def test_one_seed_is_one_mesh(name):
    one, two, other = drawn(name, 7), drawn(name, 7), drawn(name, 8)
    assert torch.equal(one.vertices, two.vertices) and torch.equal(one.next, two.next)
    assert one.vertices.shape != other.vertices.shape or not torch.equal(one.vertices, other.vertices)


def test_posed_meshes_are_centred_and_of_unit_size_and_shuffled(torus):
    generator = torch.Generator().manual_seed(0)
    mesh = posed(torus, generator)
    assert torch.allclose(mesh.vertices.mean(0), torch.zeros(3), atol=1e-6)
    assert float(mesh.vertices.square().sum(1).mean()) == pytest.approx(1, abs=1e-5)
    assert mesh.genus == 1 and canonical(mesh.to_polygons()) != canonical(torus.to_polygons())


def test_without_jitter_a_pose_is_linear(torus):
    mesh = posed(torus, torch.Generator().manual_seed(0), jitter=0.0)
    middle = mesh.vertices[torch.tensor(mesh.to_polygons())].mean(1)
    assert torch.linalg.matrix_rank(mesh.vertices) == 3 and len(middle) == 24


def test_shuffling_moves_vertices_with_their_faces(dodecahedron):
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    other = shuffled(dodecahedron, dodecahedron.vertices, order)
    back = [[int(order[v]) for v in face] for face in other.to_polygons()]
    assert canonical(back) == canonical(dodecahedron.to_polygons())


def test_one_point_is_normalised_to_the_origin():
    assert normalised(torch.full((3, 3), 5.0)).tolist() == [[0.0] * 3] * 3


def test_counts_of_tori_and_prisms():
    assert [len(torus(7, 5, 0.4).vertices), len(torus(7, 5, 0.4).edges)] == [35, 70]
    stack = prisms([1.0, 0.8, 1.0], [0.0, 1.0, 2.0], 32)
    assert sorted(stack.polygons().sizes.tolist()) == [4] * 64 + [32, 32]


def test_cells_that_meet_along_an_edge_or_at_a_corner_are_refused():
    axis = torch.arange(3.0)
    edge, corner = torch.zeros(2, 2, 1, dtype=torch.bool), torch.zeros(2, 2, 2, dtype=torch.bool)
    edge[0, 0, 0] = edge[1, 1, 0] = corner[0, 0, 0] = corner[1, 1, 1] = True
    with pytest.raises(NotRepresentable, match="an edge with more than two faces"):
        polycube(edge, axis, axis, axis[:2])
    with pytest.raises(NotRepresentable, match="several umbrellas"):
        polycube(corner, axis, axis, axis)
