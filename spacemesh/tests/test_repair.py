"""Repair: whatever the embedding, intact faces stay to the bit and the surface is closed and manifold."""

import pytest
import shapes
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacemesh.embedding import EmbeddingSizes, VertexEmbedding, initial_vectors
from spacemesh.errors import NotRepresentable
from spacemesh.families import torus
from spacemesh.fit import FitSettings, fit_mesh
from spacemesh.manifold import manifold_report
from spacemesh.polygons import Polygons, canonical
from spacemesh.repair import known_arcs, repair_mesh

SIZES = EmbeddingSizes(4, 2, 4)


def without_umbrella(mesh, vertices):
    """The faces that touch none of the vertices, and the others."""
    hit = [bool(set(face) & set(vertices)) for face in mesh.to_polygons()]
    faces = list(zip(mesh.to_polygons(), hit, strict=True))
    return [face for face, gone in faces if not gone], [face for face, gone in faces if gone]


def random_embedding(count, seed, scale=1.0):
    return VertexEmbedding.of(scale * initial_vectors(count, SIZES, torch.Generator().manual_seed(seed)), SIZES)


@given(
    st.sampled_from(["torus", "dodecahedron", "genus two", "bipyramid", "cube"]),
    st.integers(0, 10**6),
    st.sampled_from([-1.0, 0.5, 3.0, 1e9]),
    st.sampled_from([0.0, 1.0, 1e20, float("nan")]),
)
def test_any_embedding_leaves_a_closed_manifold_with_the_intact_faces_to_the_bit(name, seed, tau, scale):
    mesh = shapes.ALL[name]()
    generator = torch.Generator().manual_seed(seed)
    intact, _ = without_umbrella(mesh, [int(torch.randint(len(mesh.vertices), (), generator=generator))])
    repaired = repair_mesh(mesh.vertices, intact, random_embedding(len(mesh.vertices), seed, scale), tau)
    assert canonical(intact) <= canonical(repaired.polygons)
    assert canonical(repaired.polygons) == canonical(intact) | canonical(repaired.new_faces)
    assert torch.equal(repaired.mesh.vertices, mesh.vertices[repaired.source])
    report = manifold_report(repaired.polygons, len(mesh.vertices))
    assert report.closed and report.oriented and report.vertex_manifold and repaired.new_faces


@pytest.mark.parametrize(
    ("build", "gone"),
    [(shapes.cube, [0]), (shapes.dodecahedron, [3, 4]), (shapes.genus_two, [20]), (lambda: torus(9, 5, 0.4), [11, 12])],
)
def test_a_fitted_embedding_restores_what_was_taken(build, gone):
    mesh = build()
    intact, removed = without_umbrella(mesh, gone)
    fitted = fit_mesh(mesh, FitSettings(EmbeddingSizes()))
    assert fitted.exact
    repaired = repair_mesh(mesh.vertices, intact, fitted.embedding, float(fitted.connectivity.tau.detach()))
    assert canonical(repaired.new_faces) == canonical(removed)
    assert repaired.mesh.genus == mesh.genus and len(repaired.source) == len(mesh.vertices)


def test_two_holes_at_once_are_filled(torus):
    intact, removed = without_umbrella(torus, [0, 14])  # three steps around and two across: their rims do not meet
    fitted = fit_mesh(torus)
    repaired = repair_mesh(torus.vertices, intact, fitted.embedding, float(fitted.connectivity.tau.detach()))
    assert canonical(repaired.new_faces) == canonical(removed)


def test_a_closed_mesh_has_nothing_to_repair(cube):
    repaired = repair_mesh(cube.vertices, cube.to_polygons(), random_embedding(8, 0), 1e9)
    assert repaired.new_faces == [] and torch.equal(repaired.mesh.next, cube.next)


def test_a_silent_embedding_closes_the_hole_with_its_rim(cube):
    intact, _ = without_umbrella(cube, [0])
    repaired = repair_mesh(cube.vertices, intact, random_embedding(8, 0), tau=-1e9)
    assert repaired.source.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert canonical(repaired.new_faces, oriented=False) == canonical([[1, 3, 2, 6, 4, 5]], oriented=False)


def test_known_arcs_are_those_of_the_intact_faces(cube):
    intact, _ = without_umbrella(cube, [0])
    known = known_arcs(cube.vertices, Polygons.of(intact))
    assert known.complete.tolist() == [False] * 7 + [True] and len(known.edges) == 9
    assert all(len(known.after[v]) == 3 for v in [7]) and 0 not in known.after


def test_intact_faces_that_are_no_oriented_manifold_are_refused():
    with pytest.raises(NotRepresentable, match="both run 0 -> 1"):
        repair_mesh(torch.zeros(4, 3), [[0, 1, 2], [0, 1, 3]], random_embedding(4, 0), 1.0)
    with pytest.raises(NotRepresentable, match="names vertex 4"):
        repair_mesh(torch.zeros(4, 3), [[0, 1, 4]], random_embedding(4, 0), 1.0)
    with pytest.raises(NotRepresentable, match="expected at least one polygon"):
        repair_mesh(torch.zeros(4, 3), [], random_embedding(4, 0), 1.0)
