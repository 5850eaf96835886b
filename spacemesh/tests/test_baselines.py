"""What the learned connectivity is compared with, and the holes that repair is given."""

import pytest
import torch

from spacemesh.batch import MeshBatch
from spacemesh.cliques import clique_faces
from spacemesh.clouds import chamfer, surface_points
from spacemesh.collection import CollectionTraining
from spacemesh.families import FAMILIES, posed
from spacemesh.halfedge import HalfedgeMesh
from spacemesh.manifold import manifold_report
from spacemesh.metrics import edge_scores
from spacemesh.radius import oracle_radius
from spacemesh.shapes import SHAPES, dodecahedron, icosphere
from spacemesh.soup import SoupTraining, near_triples
from spacemesh.study import StudySettings, distance_records, punctured, trimesh_filled


def mesh_of(family, seed):
    generator = torch.Generator().manual_seed(seed)
    return posed(FAMILIES[family](generator), generator)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_radius_has_a_larger_f1_than_the_oracle(family):
    mesh = mesh_of(family, 3)
    best = oracle_radius(mesh.vertices, mesh.edges)[1].f1
    i, j = torch.triu_indices(len(mesh.vertices), len(mesh.vertices), 1)
    distance = (mesh.vertices[i] - mesh.vertices[j]).norm(dim=1)
    for radius in distance.quantile(torch.linspace(0.02, 0.6, 30)):
        found = torch.stack([i, j], 1)[distance <= radius]
        assert edge_scores(found, mesh.edges, len(mesh.vertices)).f1 <= best + 1e-12


def test_cliques_are_the_faces_of_an_icosahedron_and_none_of_a_dodecahedron():
    assert len(clique_faces(icosphere(0).edges)) == 20
    assert clique_faces(dodecahedron().edges, quads=True) == []


def test_rings_of_a_cube_are_its_faces_and_chords_are_respected():
    cube = torch.tensor(
        [[0, 1], [0, 2], [0, 4], [1, 3], [1, 5], [2, 3], [2, 6], [3, 7], [4, 5], [4, 6], [5, 7], [6, 7]]
    )
    assert len(clique_faces(cube, quads=True)) == 6
    square = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3]])
    assert clique_faces(square, quads=True) == [[0, 1, 2, 3]]
    assert len(clique_faces(torch.cat([square, torch.tensor([[0, 2]])]), quads=True)) == 2


def test_the_wall_of_a_frame_makes_cliques_and_rings_non_manifold():
    """A ring of four around a hole is a face for them, so its edges have three sides."""
    mesh = SHAPES["two handles"]()
    report = manifold_report(clique_faces(mesh.edges, quads=True), len(mesh.vertices))
    assert report.shared_edges and manifold_report(mesh.to_polygons(), len(mesh.vertices)).vertex_manifold


def test_near_triples_hold_every_small_triangle_once():
    mesh = icosphere(1)
    triples = near_triples(mesh.vertices, 8)
    assert len(torch.unique(triples, dim=0)) == len(triples)
    rows = {tuple(t) for t in triples.tolist()}
    assert {tuple(sorted(face)) for face in mesh.to_polygons()} <= rows


def test_a_soup_does_not_depend_on_the_order_of_a_triples_corners():
    soup, mesh = SoupTraining(width=8), icosphere(1)
    mask = torch.ones(1, len(mesh.vertices), dtype=torch.bool)
    features = soup.local(mesh.vertices[None], mask)[0]
    triples = near_triples(mesh.vertices, 6)[:50]
    there, back = (soup(mesh.vertices, features, t) for t in (triples, triples[:, [2, 0, 1]]))
    assert torch.allclose(there, back, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(5))
def test_a_punctured_mesh_lacks_a_connected_disc_of_at_most_a_quarter(family, seed):
    mesh = mesh_of(family, seed)
    left, removed = punctured(mesh, torch.Generator().manual_seed(seed))
    faces = mesh.to_polygons()
    assert sorted(map(tuple, left + removed)) == sorted(map(tuple, faces))
    assert 2 <= len(removed) <= max(2, round(0.25 * len(faces)))
    assert all(any(set(a) & set(b) for b in removed if b is not a) for a in removed)


def test_trimesh_fills_a_hole_of_one_triangle():
    mesh = icosphere(1)
    faces = mesh.to_polygons()
    (filled,) = trimesh_filled(mesh.vertices, faces[1:])
    assert set(filled) == set(faces[0])


def test_surface_points_lie_on_the_faces_and_carry_their_normals():
    mesh = icosphere(2)
    points = surface_points(mesh, 500, torch.Generator().manual_seed(0))
    radius = points[:, :3].norm(dim=1)
    assert float(radius.min()) > 0.95 and float(radius.max()) <= 1 + 1e-6  # chords of the unit sphere
    assert bool(((points[:, :3] * points[:, 3:]).sum(1) > 0.9).all())
    assert chamfer(points[:, :3], points[:, :3]) == 0
    flat = HalfedgeMesh.from_polygons(torch.zeros(4, 3), [[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    with pytest.raises(ValueError, match="the surface has no area"):
        surface_points(flat, 3, torch.Generator())


def test_a_code_decides_positions_and_connectivity_of_a_collection():
    model = CollectionTraining(meshes=2, width=16, heads=2, layers=1, permutation=2)
    batch = MeshBatch.of([mesh_of("tori", 0), mesh_of("prisms", 1)], [0, 1])
    loss, parts = model.losses(batch)
    loss.backward()
    assert model.codes.weight.grad.abs().sum() > 0 and set(parts) == {"edge", "face"}
    swapped = batch._replace(index=torch.tensor([1, 0]))
    assert not torch.allclose(model.placed(batch).positions, model.placed(swapped).positions)


def test_every_distance_gets_the_same_rates_seeds_steps_and_numbers():
    settings = StudySettings(rim=6, rates=[0.1, 0.2], distance_seeds=2, distance_steps=20)
    records = distance_records(settings)
    assert len(records) == 2 * 4 * 2
    assert {tuple(step for step, _ in r["curve"]) for r in records} == {(0, 20)}
    assert {len(r["f1"]) for r in records} == {2}
