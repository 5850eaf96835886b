"""Spacetime distances and edges: invariances, the exact theorem, and hubs that Euclidean spaces do not have."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacemesh.closed_forms import bipyramid, complete_bipartite, wheel
from spacemesh.connectivity import Connectivity, edge_loss, padded_edge_loss, pair_sqdist, sampled_edge_loss
from spacemesh.distances import euclidean_sqdist, hyperbolic_distance, negative_inner_product
from spacemesh.embedding import EmbeddingSizes, VertexEmbedding, initial_vectors
from spacemesh.spacetime import (
    best_threshold,
    decode_edges,
    decode_edges_pruned,
    exact_embedding,
    spacetime_sqdist,
    spectral_embedding,
)


def cloud(count, space, time, seed=0, spread=0.3):
    generator = torch.Generator().manual_seed(seed)
    s = torch.randn(count, space, generator=generator, dtype=torch.float64)
    return s, spread * torch.randn(count, time, generator=generator, dtype=torch.float64)


def rotation(size, generator):
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]


def test_the_distance_is_its_formula_pair_by_pair():
    s, t = cloud(7, 3, 2)
    direct = (s[:, None] - s).square().sum(-1) - (t[:, None] - t).square().sum(-1)
    assert torch.allclose(spacetime_sqdist(s, t), direct, atol=1e-13)  # rounding of a product of order 10


def test_translations_rotations_and_boosts_change_nothing(generator):
    s, t = cloud(30, 4, 3)
    before = spacetime_sqdist(s, t)
    x, y = s @ rotation(4, generator) + 2.0, t @ rotation(3, generator) - 1.0
    rapidity = 0.8  # a boost of O(4, 3) mixes the first space with the first time axis
    boosted_x = math.cosh(rapidity) * x[:, 0] + math.sinh(rapidity) * y[:, 0]
    boosted_y = math.sinh(rapidity) * x[:, 0] + math.cosh(rapidity) * y[:, 0]
    x[:, 0], y[:, 0] = boosted_x, boosted_y
    assert torch.allclose(spacetime_sqdist(x, y), before, atol=1e-11)  # rounding of squares of order 100


def test_the_distance_is_no_metric():
    """0 to a hub and 4 between its neighbours, or below zero."""
    s, t = torch.tensor([[-1.0], [1], [0]]), torch.tensor([[0.0], [0], [1]])
    D = spacetime_sqdist(s, t)
    assert D[0, 1] == 4 and D[0, 2] == D[1, 2] == 0
    assert spacetime_sqdist(0 * s, t)[0, 2] == -1


@given(st.integers(0, 60), st.integers(1, 70), st.integers(0, 3), st.integers(0, 1000))
def test_scans_by_blocks_pruned_and_dense_find_the_same_edges(count, block, time, seed):
    s, t = cloud(count, 3, time, seed)
    dense = (spacetime_sqdist(s, t) < 1.0).triu(1).nonzero()
    assert torch.equal(decode_edges(s, t, 1.0, block), dense)
    assert torch.equal(decode_edges_pruned(s, t, 1.0, most=1e9), dense)
    assert torch.equal(decode_edges_pruned(s, t, 1.0, most=0.0), dense)  # the tree would not pay: the scan


def test_pruning_loses_no_edge_between_distant_points_of_distant_times():
    """Space 3 apart, time 3 apart: D = 0."""
    s, t = torch.tensor([[0.0, 0], [3, 0], [9, 9]]), torch.tensor([[0.0], [3], [0]])
    assert decode_edges_pruned(s, t, 0.5, most=1e9).tolist() == [[0, 1]]


@pytest.mark.parametrize("scan", [decode_edges, decode_edges_pruned])
def test_where_the_distance_is_no_number_there_is_no_edge(scan):
    s, t = torch.zeros(4, 2), torch.zeros(4, 1)
    s[1, 0], t[2, 0] = float("nan"), float("inf")
    assert scan(s, t, 1.0).tolist() == [[0, 3]]
    assert len(scan(s, t, float("nan"))) == 0


@pytest.mark.parametrize("scan", [decode_edges, decode_edges_pruned])
def test_a_threshold_below_every_distance_finds_nothing(scan):
    s, t = cloud(20, 3, 2)
    assert scan(s, t, -1e9).shape == (0, 2)


def test_gradients_are_those_of_finite_differences():
    s, t = cloud(5, 3, 2)
    edges = torch.tensor([[0, 1], [1, 3], [2, 4]])

    def loss(s, t):
        return edge_loss(6 * (1 - spacetime_sqdist(s, t)), edges)

    assert torch.autograd.gradcheck(loss, (s.requires_grad_(), t.requires_grad_()))


@pytest.mark.parametrize("seed", range(50))
def test_every_graph_is_exact_in_fewer_dimensions_than_vertices(seed):
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(2, 40, (), generator=generator))
    edges = (torch.rand(count, count, generator=generator) < torch.rand((), generator=generator)).triu(1).nonzero()
    space, time, tau = exact_embedding(edges, count)
    assert space.shape[1] + time.shape[1] <= count - 1
    D = spacetime_sqdist(space, time)
    wanted = torch.full((count, count), 2.0, dtype=torch.float64).fill_diagonal_(0)
    wanted[edges[:, 0], edges[:, 1]] = wanted[edges[:, 1], edges[:, 0]] = 0
    assert torch.allclose(D, wanted, atol=1e-9)  # eigenvalues below 1e-10 V are left out
    assert torch.equal(decode_edges(space, time, tau), edges)


def as_graph(pairs, count):
    graph = torch.zeros(count, count, dtype=torch.bool)
    graph[pairs[:, 0], pairs[:, 1]] = graph[pairs[:, 1], pairs[:, 0]] = True
    return graph.triu(1).nonzero()


def rim_pairs(m):
    corner = torch.arange(m)
    return torch.stack([corner, (corner + 1) % m], 1)


def spokes(m, hub):
    return torch.stack([torch.arange(m), torch.full((m,), hub)], 1)


@pytest.mark.parametrize("m", [8, 64, 500])
def test_a_wheel_of_any_size_needs_two_space_and_one_time_dimension(m):
    space, time, tau = wheel(m)
    assert (space.shape, time.shape) == ((m + 1, 2), (m + 1, 1))
    assert torch.equal(decode_edges(space, time, tau), as_graph(torch.cat([rim_pairs(m), spokes(m, m)]), m + 1))


@pytest.mark.parametrize("m", [8, 64, 500])
def test_a_bipyramid_of_any_size_needs_three_space_and_one_time_dimension(m):
    space, time, tau = bipyramid(m)
    assert (space.shape, time.shape) == ((m + 2, 3), (m + 2, 1))
    wanted = as_graph(torch.cat([rim_pairs(m), spokes(m, m), spokes(m, m + 1)]), m + 2)
    assert torch.equal(decode_edges(space, time, tau), wanted)


@pytest.mark.parametrize("m", [8, 64, 500])
def test_k_m_m_of_any_size_needs_four_space_and_one_time_dimension(m):
    space, time, tau = complete_bipartite(m)
    assert (space.shape, time.shape) == ((2 * m, 4), (2 * m, 1))
    wanted = torch.cartesian_prod(torch.arange(m), torch.arange(m, 2 * m))
    assert torch.equal(decode_edges(space, time, tau), wanted)


def test_without_time_the_hub_of_a_wheel_is_lost():
    """The closed form's rim alone fixes D to the apex at 1 > τ."""
    space, time, tau = wheel(64)
    assert torch.equal(decode_edges(space, time[:, :0], tau), as_graph(rim_pairs(64), 65))


@pytest.mark.parametrize(("form", "least"), [(wheel, 4), (bipyramid, 4), (complete_bipartite, 2)])
def test_closed_forms_have_a_smallest_size(form, least):
    form(least)
    with pytest.raises(ValueError, match=f"expected at least {least} vertices, got {least - 1}"):
        form(least - 1)


def test_the_truncated_embedding_of_full_rank_is_the_exact_one(torus):
    """24 vertices: 22 largest of a sign are all of it."""
    space, time, tau = spectral_embedding(torus.edges, 24, 22, 22)
    assert torch.equal(decode_edges(space, time, tau), torus.edges)
    few, early, _ = spectral_embedding(torus.edges, 24, 5, 2)
    assert few.shape == (24, 5) and early.shape == (24, 2)


def test_a_graph_of_few_vertices_is_padded_with_zeros():
    space, time, _ = spectral_embedding(torch.tensor([[0, 1], [1, 2], [0, 2]]), 3, 6, 4)
    assert space.shape == (3, 6) and time.shape == (3, 4) and not space[:, 1:].any()


def test_the_best_threshold_lies_between_edges_and_the_rest():
    space = torch.arange(6.0)[:, None]
    edges = torch.stack([torch.arange(5), torch.arange(1, 6)], 1)
    assert best_threshold(space, space[:, :0], edges) == pytest.approx(2.5)  # between 1 and 4
    complete = torch.combinations(torch.arange(4))
    assert best_threshold(space[:4], space[:4, :0], complete) == pytest.approx(9 + 1)


def test_losses_on_padded_batches_are_means_weighted_by_edges():
    generator = torch.Generator().manual_seed(0)
    sizes, logits = torch.tensor([3, 5, 4]), torch.randn(3, 5, 5, generator=generator, dtype=torch.float64)
    logits = logits + logits.mT
    edges = [torch.tensor([[0, 1], [1, 2]]), torch.tensor([[0, 4], [2, 3], [1, 2]]), torch.tensor([[0, 3]])]
    mesh = torch.tensor([0, 0, 1, 1, 1, 2])
    single = [edge_loss(logits[b, :n, :n], e) for b, (n, e) in enumerate(zip(sizes.tolist(), edges, strict=True))]
    together = padded_edge_loss(logits, sizes, torch.cat(edges), mesh)
    assert torch.allclose(together, sum(len(e) * one for e, one in zip(edges, single, strict=True)) / 6)


def test_the_loss_of_all_other_pairs_as_negatives_is_the_whole_loss(torus):
    sizes, count = EmbeddingSizes(), len(torus.vertices)
    embedding = VertexEmbedding.of(initial_vectors(count, sizes, torch.Generator().manual_seed(1)).double(), sizes)
    connectivity = Connectivity().double()
    D = spacetime_sqdist(embedding.space, embedding.time)
    others = torch.ones(count, count, dtype=torch.bool)
    others[torus.edges[:, 0], torus.edges[:, 1]] = False
    others = others.triu(1).nonzero()
    assert torch.allclose(pair_sqdist(embedding, others), D[others[:, 0], others[:, 1]])
    whole = edge_loss(connectivity.edge_logits(D), torus.edges)
    sampled = sampled_edge_loss(connectivity, embedding, torus.edges, others, 1.0, others[:0])
    mined = sampled_edge_loss(connectivity, embedding, torus.edges, others[:7], 1.0, others[7:])
    assert torch.allclose(sampled, whole) and torch.allclose(mined, whole)


def test_the_rivals_are_their_formulas():
    x = cloud(9, 3, 0)[0]
    assert torch.allclose(euclidean_sqdist(x), torch.cdist(x, x).square(), atol=1e-12)
    assert torch.allclose(euclidean_sqdist(x), spacetime_sqdist(x, x[:, :0]), atol=1e-12)
    assert torch.allclose(negative_inner_product(x), -x @ x.T)
    along = torch.tensor([[0.0, 0], [math.sinh(1.5), 0]], dtype=torch.float64)
    assert hyperbolic_distance(along)[0, 1] == pytest.approx(1.5)  # arc length along a geodesic through the origin


def test_different_vertex_counts_are_refused_by_shape():
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(4, 1\)"):
        spacetime_sqdist(torch.zeros(3, 2), torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"got \(3,\) and \(3,\)"):
        decode_edges(torch.zeros(3), torch.zeros(3), 1.0)


@pytest.mark.parametrize("sizes", [{"space": 0}, {"permutation": 0}, {"time": -1}, {"hole": -1}])
def test_sizes_out_of_range_are_refused(sizes):
    with pytest.raises(ValueError, match="space and permutation must be at least 1, time and hole at least 0"):
        EmbeddingSizes(**sizes)


def test_vectors_are_cut_into_parts_and_put_together():
    sizes = EmbeddingSizes(5, 2, 3, 1)
    vectors = torch.randn(4, sizes.total)
    assert sizes.total == 5 + 2 + 9 + 2 and torch.equal(VertexEmbedding.of(vectors, sizes).vectors(), vectors)
    with pytest.raises(ValueError, match=r"expected vectors of 18 numbers .*, got \(4, 17\)"):
        VertexEmbedding.of(vectors[:, 1:], sizes)


def test_times_begin_small():
    sizes = EmbeddingSizes(12, 4, 8, 2)
    start = VertexEmbedding.of(initial_vectors(4000, sizes, torch.Generator().manual_seed(0)), sizes)
    spread = {"space": 1.0, "time": 0.1, "root": 1.0, "hole_head": 0.1}
    for part, wanted in spread.items():
        assert float(getattr(start, part).std()) == pytest.approx(wanted, rel=0.03)  # of 8,000 numbers or more
