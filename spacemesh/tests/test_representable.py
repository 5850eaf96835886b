"""Meshes that no rotation describes, made into ones that it does."""

import pytest
import shapes
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacemesh.errors import NotRepresentable
from spacemesh.manifold import manifold_report
from spacemesh.polygons import canonical
from spacemesh.representable import make_representable


def test_what_is_representable_comes_back_as_it_is(mesh):
    mended = make_representable(mesh.vertices, mesh.to_polygons())
    assert torch.equal(mended.mesh.next, mesh.next) and torch.equal(mended.mesh.vertices, mesh.vertices)
    assert torch.equal(mended.source, torch.arange(len(mesh.vertices)))
    counts = mended.dropped_faces, mended.dropped_vertices, mended.turned_faces, mended.cut_edges, mended.split_vertices
    assert counts == (0, 0, 0, 0, 0)


def test_the_few_faces_wound_the_other_way_are_turned(cube):
    faces = cube.to_polygons()
    faces[1], faces[4] = faces[1][::-1], faces[4][::-1]
    mended = make_representable(cube.vertices, faces)
    assert mended.turned_faces == 2 and torch.equal(mended.mesh.next, cube.next) and mended.split_vertices == 0


def test_a_touched_vertex_becomes_one_for_each_sheet():
    faces = [*shapes.TETRAHEDRON, [0, 5, 4], [0, 4, 6], [4, 5, 6], [5, 0, 6]]
    mended = make_representable(torch.arange(21.0).reshape(7, 3), faces)
    assert mended.split_vertices == 1 and mended.source.tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    assert mended.mesh.genera.tolist() == [0, 0] and not mended.mesh.boundary_loops()
    assert torch.equal(mended.mesh.vertices[0], mended.mesh.vertices[1])


def test_a_fin_is_cut_from_its_edge():
    mended = make_representable(torch.zeros(5, 3), [*shapes.TETRAHEDRON, [0, 1, 4]])
    assert mended.cut_edges == 1 and mended.split_vertices == 2
    assert len(mended.mesh.to_polygons()) == 5 and len(mended.mesh.genera) == 2


def test_a_moebius_strip_is_cut_once_and_becomes_a_disc():
    mended = make_representable(torch.zeros(6, 3), shapes.MOEBIUS)
    assert mended.cut_edges == 1 and mended.split_vertices == 2
    assert mended.mesh.euler_characteristic == 1 and len(mended.mesh.boundary_loops()) == 1


def test_the_half_cube_keeps_its_three_faces_on_the_same_four_vertices():
    """Opposite points of a cube made one: quads 0123, 0132 and 0213 are different faces, on a one-sided surface."""
    mended = make_representable(torch.zeros(4, 3), [[0, 1, 2, 3], [0, 2, 1, 3], [0, 1, 3, 2]])
    assert mended.dropped_faces == 0 and len(mended.mesh.to_polygons()) == 3 and mended.cut_edges > 0


def test_repeated_and_degenerate_faces_and_lonely_vertices_go():
    faces = [*shapes.TETRAHEDRON, [2, 1, 0], [0, 1, 0], [1, 2, 1, 3]]
    mended = make_representable(torch.zeros(6, 3), faces)
    assert mended.dropped_faces == 3 and mended.dropped_vertices == 2 and mended.faces.tolist() == [0, 1, 2, 3]
    assert mended.mesh.genus == 0 and not mended.mesh.boundary_loops()


@given(st.lists(st.lists(st.integers(0, 7), min_size=3, max_size=5, unique=True), min_size=1, max_size=12))
def test_any_soup_becomes_a_manifold_with_the_same_faces_at_the_same_places(faces):
    mended = make_representable(torch.arange(24.0).reshape(8, 3), faces)
    mended.mesh.check()
    report = manifold_report(mended.mesh.to_polygons(), len(mended.mesh.vertices))
    assert report.vertex_manifold and report.oriented and not report.isolated
    there = [[int(mended.source[v]) for v in face] for face in mended.mesh.to_polygons()]
    assert canonical(there, oriented=False) == canonical(faces, oriented=False)
    assert torch.equal(mended.mesh.vertices, torch.arange(24.0).reshape(8, 3)[mended.source])


def test_what_cannot_be_mended_is_refused():
    with pytest.raises(NotRepresentable, match="no face has three distinct corners"):
        make_representable(torch.zeros(3, 3), [[0, 1, 0], [1, 1, 2]])
    with pytest.raises(NotRepresentable, match="names vertex 3"):
        make_representable(torch.zeros(3, 3), [[0, 1, 3]])
    with pytest.raises(ValueError, match=r"vertices must be \(V, 3\)"):
        make_representable(torch.zeros(3, 2), [[0, 1, 2]])
