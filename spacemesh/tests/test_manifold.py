"""The report that counts sides and umbrellas from polygons alone."""

import pytest
import shapes
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacemesh.errors import NotRepresentable
from spacemesh.halfedge import HalfedgeMesh
from spacemesh.manifold import manifold_report
from spacemesh.neighbourhoods import halfedges_of


def test_good_meshes_are_reported_good(mesh):
    report = manifold_report(mesh.to_polygons(), len(mesh.vertices))
    assert report.edge_manifold and report.vertex_manifold and report.oriented
    assert report.closed == (not mesh.boundary_loops())
    assert report.boundary_edges == sum(map(len, mesh.boundary_loops()))
    assert (report.faces, report.edges, report.vertices) == (
        len(mesh.to_polygons()),
        len(mesh.edges),
        len(mesh.vertices),
    )


def test_an_edge_of_three_sides_is_named():
    report = manifold_report([[0, 1, 2], [1, 0, 3], [0, 1, 4]], 5)
    assert report.shared_edges == [(0, 1)] and not report.edge_manifold and not report.vertex_manifold


def test_faces_wound_against_each_other_are_named():
    report = manifold_report([[0, 1, 2], [0, 1, 3]], 4)
    assert report.wound_edges == [(0, 1)] and report.edge_manifold and not report.oriented


def test_touching_sheets_are_pinched_and_edge_manifold():
    report = manifold_report([*shapes.TETRAHEDRON, [0, 5, 4], [0, 4, 6], [4, 5, 6], [5, 0, 6]], 7)
    assert report.pinched == [0] and report.edge_manifold and report.closed and not report.vertex_manifold


def test_lonely_vertices_degenerate_faces_and_boundaries_are_counted():
    report = manifold_report([[0, 1, 2], [0, 1, 0], [0, 0, 1, 2]], 5)
    assert report.isolated == [3, 4] and report.degenerate == [1, 2] and report.boundary_edges == 3
    assert not report.edge_manifold and not report.closed
    assert report.faces == 1


def test_a_face_that_turns_back_on_its_edge_is_degenerate():
    assert manifold_report([[0, 1, 0, 2]], 3).degenerate == [0]


def test_both_sides_of_a_bridge_are_counted_though_one_face_has_them():
    report = manifold_report([[0, 1, 2, 3, 0, 4, 7, 6, 5, 4], [3, 2, 1, 0], [4, 5, 6, 7]], 8)
    assert report.closed and report.vertex_manifold and report.oriented and report.visited_twice == [0]
    assert report.edges == 9
    alone = manifold_report([[0, 1, 2, 3, 0, 4, 7, 6, 5, 4]], 8)
    assert alone.boundary_edges == 8 and alone.edge_manifold  # the bridge is none of them


def test_nothing_is_not_a_manifold():
    report = manifold_report([], 4)
    assert not (report.edge_manifold or report.vertex_manifold or report.closed or report.oriented)


@given(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=5), min_size=1, max_size=6))
def test_halfedges_accept_exactly_what_the_report_finds_good(faces):
    """Two independent judges of random polygons."""
    report = manifold_report(faces, 6)
    good = report.oriented and report.vertex_manifold and not report.isolated
    try:
        HalfedgeMesh.from_polygons(torch.zeros(6, 3), faces)
    except NotRepresentable:
        assert not good
    else:
        assert good


@given(st.integers(0, 10**6), st.sets(st.integers(0, 14)))
def test_the_two_judges_agree_on_parts_of_closed_meshes(seed, dropped):
    """K6 with random cycles at its vertices, some faces gone: holes may touch and pinch, or not."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(torch.arange(6))
    tail, head = halfedges_of(pairs, 6)
    succ = torch.cat(
        [
            torch.empty(5).long().scatter_(0, c, c.roll(-1)) + 5 * v
            for v in range(6)
            for c in [torch.randperm(5, generator=generator)]
        ]
    )
    faces = HalfedgeMesh.from_rotation(torch.zeros(6, 3), tail, head, succ).to_polygons()
    left = [face for at, face in enumerate(faces) if at not in dropped]
    report = manifold_report(left, 6)
    try:
        mesh = HalfedgeMesh.from_polygons(torch.zeros(6, 3), left)
    except NotRepresentable as error:
        assert not left or report.degenerate or report.pinched or report.isolated, error
    else:
        assert report.vertex_manifold and report.oriented and not report.isolated
        assert sum(map(len, mesh.boundary_loops())) == report.boundary_edges


@pytest.mark.parametrize("drop", range(6))
def test_the_two_judges_agree_on_a_cube_with_a_face_gone(drop):
    faces = [face for at, face in enumerate(shapes.CUBE) if at != drop]
    assert manifold_report(faces, 8).boundary_edges == 4
    assert len(HalfedgeMesh.from_polygons(shapes.corners_of_cube(), faces).boundary_loops()) == 1
