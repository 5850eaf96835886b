"""Which neighbour follows which: Sinkhorn's limits in closed form, invariances and the loss."""

import itertools
import math

import pytest
import torch

from spacemesh.connectivity import Connectivity, Targets
from spacemesh.embedding import EmbeddingSizes, VertexEmbedding, initial_vectors
from spacemesh.neighbourhoods import buckets
from spacemesh.permutation import log_permutation, no_fixed_point, permutation_loss, permutation_scores, sinkhorn_log

CONVERGED = 500


def scores(count, degree, seed=0):
    return torch.randn(count, degree, degree, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parts(degree, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(*shape, width, generator=generator, dtype=torch.float64)
        for shape in [(5,), (5, degree), (5, degree)]
    ]


def test_scores_are_triple_products():
    root, prev, next = parts(4)
    S = permutation_scores(root, prev, next)
    for i, a, b in itertools.product(range(5), range(4), range(4)):
        assert S[i, a, b] == pytest.approx(float((root[i] * prev[i, a] * next[i, b]).sum()), abs=1e-12)


def test_sinkhorn_converges_to_a_doubly_stochastic_matrix():
    P = sinkhorn_log(scores(20, 6), CONVERGED, no_fixed_point(6)).exp()
    assert torch.allclose(P.sum(-1), torch.ones(20, 6).double(), atol=1e-12)
    assert torch.allclose(P.sum(-2), torch.ones(20, 6).double(), atol=1e-12)
    assert not P.diagonal(dim1=-2, dim2=-1).any()


def test_three_neighbours_have_a_closed_form():
    """P_01 = sigmoid((S01 + S12 + S20 - S02 - S21 - S10) / 3)."""
    S = scores(50, 3)
    P = sinkhorn_log(S, CONVERGED, no_fixed_point(3)).exp()
    one, other = S[:, 0, 1] + S[:, 1, 2] + S[:, 2, 0], S[:, 0, 2] + S[:, 2, 1] + S[:, 1, 0]
    wanted = torch.sigmoid((one - other) / 3)
    assert (P[:, 0, 1] - wanted).abs().max() < 1e-12
    assert (P[:, 2, 0] - wanted).abs().max() < 1e-12 and (P[:, 1, 0] + wanted - 1).abs().max() < 1e-12


def ring_of(count):
    """The halfedges of a cycle graph, every vertex of degree 2."""
    pairs = torch.tensor([(i, (i + 1) % count) for i in range(count)])
    tail, head = torch.cat([pairs, pairs.flip(1)]).T
    order = torch.argsort(tail * count + head)
    return tail[order], head[order]


def test_two_neighbours_leave_no_choice_loss_and_gradient_are_zero():
    tail, head = ring_of(5)
    succ = torch.arange(10).view(5, 2).flip(1).flatten()
    vectors = [torch.randn(5, 3, generator=torch.Generator().manual_seed(k), requires_grad=True) for k in range(3)]
    loss = permutation_loss(buckets(tail, head, 5), succ, *vectors, 5)
    loss.backward()
    assert loss.item() == 0
    assert all(not part.grad.any() for part in vectors)


def test_row_and_column_terms_change_nothing():
    S, u, v = scores(10, 5), scores(10, 5, 1)[:, :, :1], scores(10, 5, 2)[:, :1]
    mask = no_fixed_point(5)
    P, Q = (sinkhorn_log(x, CONVERGED, mask).exp() for x in (S, S + u + v))
    assert torch.allclose(P, Q, atol=1e-12)


def test_scales_of_the_roles_that_cancel_change_nothing():
    root, prev, next = parts(4)
    alpha, beta = 3.0, -0.7
    scaled = permutation_scores(alpha * root, beta * prev, next / (alpha * beta))
    assert torch.allclose(scaled, permutation_scores(root, prev, next), atol=1e-12)


def test_swapping_prev_and_next_transposes_the_permutation():
    root, prev, next = parts(5)
    mask = no_fixed_point(5)
    P = sinkhorn_log(permutation_scores(root, prev, next), CONVERGED, mask)
    Q = sinkhorn_log(permutation_scores(root, next, prev), CONVERGED, mask)
    off = mask.expand_as(P)
    assert torch.allclose(P.exp().mT[off], Q.exp()[off], atol=1e-12)


def test_scores_of_any_size_stay_numbers():
    huge = 1e30 * scores(3, 6).float()
    log_p = sinkhorn_log(huge, 10, no_fixed_point(6))
    assert not log_p.isnan().any() and (log_p.logsumexp(-2).abs() < 1e-5).all()  # columns come last


def test_one_neighbour_may_follow_itself():
    assert no_fixed_point(1).tolist() == [[True]]
    assert sinkhorn_log(torch.zeros(2, 1, 1), 3, no_fixed_point(1)).tolist() == [[[0.0]], [[0.0]]]


def test_equal_scores_lose_the_logarithm_of_the_choices(dodecahedron):
    """d - 1 = 2 successors are equally likely at each of 60 halfedges."""
    loss = Connectivity().face_loss(
        VertexEmbedding.of(torch.zeros(20, EmbeddingSizes().total), EmbeddingSizes()), Targets.of(dodecahedron)
    )
    assert float(loss) == pytest.approx(math.log(2), abs=1e-6)


def test_the_loss_is_the_mean_over_halfedges_of_all_degrees(genus_two):
    sizes = EmbeddingSizes()
    e = VertexEmbedding.of(initial_vectors(48, sizes, torch.Generator().manual_seed(2)).double(), sizes)
    of_degree = buckets(genus_two.tail, genus_two.head, 48)
    assert [bucket.degree for bucket in of_degree] == [3, 4, 5]
    by_hand = 0.0
    for bucket in of_degree:
        log_p = log_permutation(bucket, e.root, e.prev, e.next, 5)
        for row, halfedges in enumerate(bucket.halfedges.tolist()):
            for a, halfedge in enumerate(halfedges):
                by_hand -= float(log_p[row, a, halfedges.index(int(genus_two.succ[halfedge]))])
    loss = permutation_loss(of_degree, genus_two.succ, e.root, e.prev, e.next, 5)
    assert float(loss) == pytest.approx(by_hand / len(genus_two.tail))


def test_the_loss_has_the_gradient_of_finite_differences(cube):
    vectors = [torch.randn(8, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    of_degree = buckets(cube.tail, cube.head, 8)
    assert torch.autograd.gradcheck(lambda *v: permutation_loss(of_degree, cube.succ, *v, 5), vectors)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(5, 4\), \(5, 3, 4\) and \(5, 2, 4\)"):
        permutation_scores(torch.zeros(5, 4), torch.zeros(5, 3, 4), torch.zeros(5, 2, 4))
    with pytest.raises(ValueError, match=r"root, prev and next must be"):
        permutation_scores(torch.zeros(6, 4), torch.zeros(5, 3, 4), torch.zeros(5, 3, 4))
    with pytest.raises(ValueError, match=r"scores must be \(..., d, d\), got \(3, 4\)"):
        sinkhorn_log(torch.zeros(3, 4), 5)
    with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
        sinkhorn_log(torch.zeros(3, 3), 0)
    with pytest.raises(ValueError, match="no halfedges to compare with"):
        permutation_loss([], torch.zeros(0), *[torch.zeros(0, 3)] * 3, 5)
