"""Faces without a network: signed volumes as triple products, and meshes from edges alone."""

import math

import pytest
import shapes
import torch

from spacemesh.decode import decode_succ
from spacemesh.embedding import VertexEmbedding
from spacemesh.families import random_hull, torus
from spacemesh.geometric import angular_succ, edges_to_polygons, estimated_normals, geometric_permutation_embedding
from spacemesh.permutation import permutation_scores
from spacemesh.polygons import canonical


def test_twelve_dimensions_hold_the_signed_volume_exactly(generator):
    x = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    n = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    root, prev, next = geometric_permutation_embedding(x, n)
    assert root.shape == prev.shape == next.shape == (9, 12)
    S = permutation_scores(root, prev.expand(9, 9, 12), next.expand(9, 9, 12))
    offset = x - x[:, None]  # [i, j]: x_j - x_i
    volume = torch.einsum("ic,ijkc->ijk", n, torch.linalg.cross(offset[:, None, :], offset[:, :, None]))
    assert torch.allclose(S, volume, atol=1e-12)  # [i, j, k]: n_i · ((x_k - x_i) × (x_j - x_i))


@pytest.mark.parametrize("build", [shapes.cube, shapes.dodecahedron, shapes.tetrahedron])
def test_it_decodes_convex_solids_whose_normals_point_outward(build):
    mesh = build()
    x = mesh.vertices
    embedding = VertexEmbedding(x, x[:, :0], *geometric_permutation_embedding(x, x), x[:, :0], x[:, :0])
    assert torch.equal(decode_succ(mesh.tail, mesh.head, len(x), embedding), mesh.succ)


def test_angles_turn_clockwise_about_the_normal(dodecahedron):
    x = dodecahedron.vertices
    assert torch.equal(angular_succ(x, x, dodecahedron.tail, dodecahedron.head), dodecahedron.succ)
    assert torch.equal(angular_succ(x, -x, dodecahedron.tail, dodecahedron.head), dodecahedron.mirrored().succ)


def shuffled_edges(mesh, seed=0):
    """In any order, either way round, some twice."""
    generator = torch.Generator().manual_seed(seed)
    edges = mesh.edges[torch.randint(len(mesh.edges), (3 * len(mesh.edges),), generator=generator)]
    edges = torch.cat([edges, mesh.edges])[torch.randperm(4 * len(mesh.edges), generator=generator)]
    turn = torch.rand(len(edges), generator=generator) < 0.5
    return torch.where(turn[:, None], edges.flip(1), edges)


@pytest.mark.parametrize("build", [shapes.cube, shapes.dodecahedron, lambda: torus(9, 7, 0.4), shapes.tetrahedron])
def test_edges_in_any_order_give_the_mesh_back_faces_outward(build):
    mesh = build()
    decoded = edges_to_polygons(mesh.vertices, shuffled_edges(mesh))
    assert canonical(decoded.polygons()) == canonical(mesh.to_polygons()) and decoded.dropped_edges == 0


def test_a_torus_too_coarse_to_fit_planes_to_comes_back_with_its_normals(torus):
    """Four vertices across: at the inner ones both ways of bending are as strong, and no plane is best."""
    x = torus.vertices
    ring = torch.nn.functional.normalize(x * torch.tensor([1.0, 1, 0]), dim=1)
    decoded = edges_to_polygons(x, shuffled_edges(torus), normals=x - ring)
    assert canonical(decoded.polygons()) == canonical(torus.to_polygons())


def test_hulls_and_two_bodies_apart_come_back_too():
    hull, other = random_hull(torch.Generator().manual_seed(3)), shapes.dodecahedron()
    count = len(hull.vertices)
    edges = torch.cat([hull.edges, other.edges + count])
    decoded = edges_to_polygons(torch.cat([hull.vertices, other.vertices + 7]), edges)
    wanted = hull.to_polygons() + [[v + count for v in face] for face in other.to_polygons()]
    assert canonical(decoded.polygons()) == canonical(wanted)


def test_given_normals_decide_which_side_is_out(cube):
    inward = edges_to_polygons(cube.vertices, cube.edges, normals=-cube.vertices)
    assert canonical(inward.polygons()) == canonical([face[::-1] for face in cube.to_polygons()])


def test_estimated_normals_of_a_solid_point_outward(dodecahedron):
    x = dodecahedron.vertices.double()
    normals = estimated_normals(x, dodecahedron.tail, dodecahedron.head)
    along = (normals * x).sum(1) / math.sqrt(3)  # the radius
    assert torch.allclose(along, torch.ones(20).double(), atol=1e-6)  # positions are float32


def test_loose_ends_are_dropped_and_reported(cube):
    positions = torch.cat([cube.vertices, torch.tensor([[5.0, 5, 5], [9, 9, 9]])])
    decoded = edges_to_polygons(positions, torch.cat([cube.edges, torch.tensor([[7, 8]])]))
    assert canonical(decoded.polygons()) == canonical(cube.to_polygons())
    assert decoded.dropped_edges == 1 and decoded.dropped_vertices == 2


@pytest.mark.parametrize("edges", [torch.zeros(0, 2).long(), torch.tensor([[0, 1], [1, 2]])])
def test_no_edges_or_only_a_path_give_no_faces(edges):
    decoded = edges_to_polygons(torch.randn(4, 3), edges)
    assert decoded.polygons() == [] and decoded.dropped_vertices == 4 and decoded.dropped_edges == len(edges)


@pytest.mark.parametrize(
    ("positions", "edges", "said"),
    [
        (torch.zeros(4, 2), [[0, 1]], r"positions must be finite and \(V, 3\), got \(4, 2\)"),
        (torch.full((4, 3), float("nan")), [[0, 1]], "positions must be finite"),
        (torch.zeros(4, 3), [[0, 1, 2]], r"edges must be \(E, 2\), got \(1, 3\)"),
        (torch.zeros(4, 3), [[0, 4]], "edges name vertices 0 to 4, there are 4"),
        (torch.zeros(4, 3), [[-1, 2]], "edges name vertices -1 to 2"),
        (torch.zeros(4, 3), [[0, 1], [2, 2]], "edge 1 is a loop"),
    ],
)
def test_bad_input_is_refused(positions, edges, said):
    with pytest.raises(ValueError, match=said):
        edges_to_polygons(positions, torch.tensor(edges))
