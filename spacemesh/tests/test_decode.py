"""Decoding: any numbers at all become a manifold mesh, whose vertices' numbering means nothing."""

import pytest
import shapes
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacemesh.decode import Decoded, Stopwatch, decode, decode_faces, hole_logits, holes
from spacemesh.embedding import EmbeddingSizes, VertexEmbedding, initial_vectors
from spacemesh.manifold import manifold_report
from spacemesh.metrics import edge_scores, face_scores, mesh_metrics, same_mesh, scores
from spacemesh.polygons import canonical


@st.composite
def embeddings(draw):
    """Embeddings of up to 14 vertices and a threshold: ordinary, huge, tiny, all equal, or with NaN and infinities."""
    count, seed = draw(st.integers(0, 14)), draw(st.integers(0, 10**6))
    sizes = EmbeddingSizes(
        draw(st.integers(1, 3)), draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    )
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, sizes.total, generator=generator)
    vectors = vectors * draw(st.sampled_from([0.0, 1e-30, 0.3, 1.0, 1e8, 1e25]))
    odd = draw(st.sampled_from([None, None, float("nan"), float("inf"), -float("inf")]))
    if odd is not None:
        vectors[torch.rand(vectors.shape, generator=generator) < 0.1] = odd
    tau = draw(st.sampled_from([-1.0, 1e-20, 0.5, 2.0, 6.0, 1e12, float("inf"), float("nan")]))
    return VertexEmbedding.of(vectors, sizes), tau, draw(st.sampled_from([-2.0, 0.0, 0.1, 5.0]))


def component_counts(mesh):
    """Vertices, edges and closed faces of each component, counted one by one."""
    part = mesh.component
    faces = {int(f): int(part[v]) for f, v in zip(mesh.face, mesh.tail, strict=True)}
    return [
        (int((part == c).sum()), int((part[mesh.edges[:, 0]] == c).sum()), sum(own == c for own in faces.values()))
        for c in range(int(part.max()) + 1 if len(part) else 0)
    ]


@settings(max_examples=500)
@given(embeddings())
def test_any_embedding_decodes_to_a_manifold(drawn):
    embedding, tau, bias = drawn
    count = len(embedding.space)
    decoded = decode(torch.zeros(count, 3), embedding, tau, bias)
    mesh = decoded.mesh
    mesh.check()  # the rotation is one cycle at each vertex, and no two holes touch
    polygons = decoded.polygons()
    report = manifold_report(polygons, count)
    assert report.edge_manifold == report.vertex_manifold == report.oriented == (len(polygons) > 0)
    assert len(report.isolated) == decoded.dropped_vertices == count - len(mesh.vertices)
    assert report.boundary_edges == sum(map(len, mesh.boundary_loops()))
    for (vertices, edges, faces), genus in zip(component_counts(mesh), mesh.genera.tolist(), strict=True):
        assert vertices - edges + faces == 2 - 2 * genus and genus >= 0
    assert mesh.is_hole.sum() == 0 or embedding.hole_tail.shape[-1] > 0


@given(st.integers(0, 10**6))
def test_relabelled_vertices_decode_to_the_same_mesh(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = EmbeddingSizes(3, 1, 3, 1)
    embedding = VertexEmbedding.of(initial_vectors(25, sizes, generator), sizes)
    order = torch.randperm(25, generator=generator)
    one = decode(torch.zeros(25, 3), embedding, 1.5)
    other = decode(torch.zeros(25, 3), embedding.at(order), 1.5)
    assert one.polygons()
    assert canonical([[int(order[v]) for v in face] for face in other.polygons()]) == canonical(one.polygons())


def test_hanging_edges_and_lonely_vertices_are_reported():
    """A triangle with a tail of two edges, and a vertex far away, on a line of times."""
    space = torch.tensor([[0.0, 0], [1, 0], [0.5, 0.8], [2, 0], [3, 0], [50, 0]])
    sizes = EmbeddingSizes(2, 0, 1)
    embedding = VertexEmbedding.of(torch.cat([space, torch.ones(6, 3)], 1), sizes)
    decoded = decode(torch.zeros(6, 3), embedding, 1.05)
    assert decoded.source.tolist() == [0, 1, 2] and decoded.dropped_vertices == 3 and decoded.dropped_edges == 2
    assert canonical(decoded.polygons()) == {(0, 1, 2), (0, 2, 1)}


def test_nothing_decoded_is_not_called_manifold(cube):
    sizes = EmbeddingSizes()
    embedding = VertexEmbedding.of(torch.randn(8, sizes.total), sizes)
    decoded = decode(cube.vertices, embedding, tau=-1e9)
    assert decoded.polygons() == [] and decoded.mesh.genus == 0 and decoded.dropped_vertices == 8
    metrics = mesh_metrics(decoded, cube)
    assert not (metrics.edge_manifold or metrics.vertex_manifold or metrics.closed or metrics.exact)
    assert metrics.edges.f1 == metrics.faces.f1 == 0 and metrics.simple == 0 and metrics.largest_face == 0


def test_positions_and_edges_are_carried_through_and_stages_timed(torus):
    sizes = EmbeddingSizes(hole=2)
    embedding = VertexEmbedding.of(initial_vectors(24, sizes, torch.Generator().manual_seed(0)), sizes)
    decoded = decode_faces(torus.vertices, torus.edges, embedding)
    assert torch.equal(decoded.mesh.edges, torus.edges) and torch.equal(decoded.mesh.vertices, torus.vertices)
    assert list(decoded.seconds) == ["2-core and halfedges", "cycles", "faces", "holes"]
    assert next(iter(decode(torus.vertices, embedding, 1.0).seconds)) == "edges"


def test_gradients_and_rows_at_a_time_do_not_change_what_is_decoded():
    sizes = EmbeddingSizes(3, 1, 2)
    vectors = initial_vectors(40, sizes, torch.Generator().manual_seed(3)).requires_grad_()
    meshes = [
        decode(torch.zeros(40, 3), VertexEmbedding.of(vectors, sizes), 1.0, block=block) for block in (1, 7, 4096)
    ]
    assert meshes[0].polygons() == meshes[1].polygons() == meshes[2].polygons() != []


def test_the_surest_hole_comes_first_and_none_touches_another(cube):
    """All faces of a cube want to be holes; opposite ones may be, two that share a corner may not."""
    logits = 1.0 + cube.face.float()
    chosen = holes(cube, logits)
    assert bool(chosen[5]) and int(chosen.sum()) == 2
    cube.with_holes(chosen).check()
    assert not holes(cube, -logits).any() and not holes(cube, torch.full((24,), float("nan"))).any()


def test_hole_logits_are_products_of_tail_and_head_and_a_bias(cube):
    u, v = torch.randn(8, 2), torch.randn(8, 2)
    embedding = VertexEmbedding(*[torch.zeros(8, 1)] * 5, u, v)
    logits = hole_logits(embedding, cube.tail, cube.head, 0.5)
    assert logits[3] == pytest.approx(float(u[cube.tail[3]] @ v[cube.head[3]]) + 0.5, abs=1e-6)


def test_positions_and_embedding_of_different_lengths_are_refused():
    sizes = EmbeddingSizes()
    with pytest.raises(ValueError, match="4 positions and 5 embedded vertices"):
        decode(torch.zeros(4, 3), VertexEmbedding.of(torch.zeros(5, sizes.total), sizes), 1.0)


def test_a_stopwatch_adds_laps_of_one_name():
    watch = Stopwatch()
    for name in ("a", "b", "a"):
        watch.lap(name)
    assert list(watch.laps) == ["a", "b"] and min(watch.laps.values()) >= 0


def test_scores_of_sets():
    found, true = torch.tensor([[0, 1], [1, 2], [2, 3]]), torch.tensor([[0, 1], [2, 3], [0, 3], [1, 3]])
    score = edge_scores(found, true, 4)
    assert (score.precision, score.recall) == (pytest.approx(2 / 3), 0.5) and score.f1 == pytest.approx(4 / 7)
    assert scores(0, 0, 0).exact and scores(0, 0, 0).f1 == 1 and scores(0, 3, 0).precision == 0
    assert face_scores([[2, 1, 0]], [[0, 1, 2]]).f1 == 0 and face_scores([[2, 1, 0]], [[0, 1, 2]], False).f1 == 1


def test_a_mirrored_mesh_has_the_right_edges_and_unoriented_faces_only(cube):
    mirrored = Decoded(cube.mirrored(), torch.arange(8), 8, 0, 0, {})
    metrics = mesh_metrics(mirrored, cube)
    assert metrics.edges.exact and metrics.unoriented_faces.exact and metrics.faces.f1 == 0 and not metrics.exact
    assert metrics.genus and metrics.euler and metrics.components and metrics.closed and metrics.simple == 1
    assert metrics.mean_sides == metrics.largest_face == 4
    assert not same_mesh(mirrored, cube) and same_mesh(Decoded(cube, torch.arange(8), 8, 0, 0, {}), cube)


def test_holes_count_for_sameness(tube):
    closed = tube.with_holes(torch.zeros(len(tube.is_hole), dtype=torch.bool))
    assert not same_mesh(Decoded(closed, torch.arange(21), 21, 0, 0, {}), tube)
    assert shapes.open_tube().genus == closed.genus == 0
