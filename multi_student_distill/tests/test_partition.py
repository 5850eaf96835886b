"""Parts are disjoint, cover the conditions, and are of equal size; routers give what the partition says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multi_student_distill import ClassRouter, EmbeddingRouter, Partition, route

counts = st.integers(1, 40).flatmap(lambda c: st.tuples(st.just(c), st.integers(1, c)))


def check(partition, conditions, students):
    parts = [partition.part(k) for k in range(students)]
    assert sorted(torch.cat(parts).tolist()) == list(range(conditions))
    sizes = [len(p) for p in parts]
    assert max(sizes) - min(sizes) <= 1


@given(counts)
def test_contiguous_and_random_parts_are_disjoint_covering_and_of_equal_size(pair):
    conditions, students = pair
    check(Partition.contiguous(conditions, students), conditions, students)
    check(Partition.random(conditions, students, torch.Generator().manual_seed(conditions)), conditions, students)


def test_the_papers_imagenet_parts_are_250_consecutive_classes():
    assert Partition.contiguous(1000, 4).part(2).tolist() == list(range(500, 750))


@given(st.integers(4, 60), st.integers(0, 5))
def test_quadrants_are_equal_cells(conditions, seed):
    embeddings = torch.randn(conditions, 5, generator=torch.Generator().manual_seed(seed))
    sizes = torch.bincount(Partition.quadrants(embeddings).assignment, minlength=4)
    assert int(sizes.max() - sizes.min()) <= 1 + (conditions % 4 == 3)
    assert int(sizes.sum()) == conditions


def test_quadrants_of_four_corners_are_the_corners():
    corners = torch.tensor([[-3.0, -1], [-3, 1], [3, -1], [3, 1]])
    x = corners.repeat_interleave(10, 0) + 0.1 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    assert Partition.quadrants(x).assignment.reshape(4, 10).unique(dim=1).flatten().sort().values.tolist() == [
        0,
        1,
        2,
        3,
    ]


@given(st.integers(4, 30), st.integers(1, 4), st.booleans())
def test_kmeans_leaves_no_student_without_conditions(conditions, students, balanced):
    generator = torch.Generator().manual_seed(conditions)
    found = Partition.kmeans(torch.randn(conditions, 3, generator=generator), students, generator, balanced)
    assert found.students == students
    if balanced:
        check(found, conditions, students)


def test_balanced_kmeans_finds_two_clusters_of_unequal_spread(generator):
    x = torch.cat([torch.randn(8, 2, generator=generator) * 0.1, 5 + torch.randn(8, 2, generator=generator)])
    found = Partition.kmeans(x, 2, generator).assignment
    assert len(found[:8].unique()) == len(found[8:].unique()) == 1 and found[0] != found[8]


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        (torch.tensor([0, 2]), r"students \[1\] have no condition"),
        (torch.tensor([-1, 0]), "students from 0, got -1"),
        (torch.tensor([0.0]), "int64 vector, got torch.float32"),
    ],
)
def test_an_assignment_that_is_none_is_refused(assignment, said):
    with pytest.raises(ValueError, match=said):
        Partition(assignment)


def test_impossible_requests_are_refused(generator):
    with pytest.raises(ValueError, match="got 5 students for 4 conditions"):
        Partition.contiguous(4, 5)
    with pytest.raises(ValueError, match=r"students 0 \.\.\. 1, got 2"):
        Partition.contiguous(4, 2).part(2)
    with pytest.raises(ValueError, match=r"got \(3, 2\)"):
        Partition.quadrants(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="finite"):
        Partition.kmeans(torch.full((4, 2), float("nan")), 2, generator)


@given(st.integers(4, 50))
def test_the_quadrant_router_answers_like_the_partition(conditions):
    embeddings = torch.randn(conditions, 6, generator=torch.Generator().manual_seed(conditions))
    assert torch.equal(EmbeddingRouter.quadrants(embeddings)(embeddings), Partition.quadrants(embeddings).assignment)


class Spy:
    def __init__(self, student):
        self.student, self.calls = student, []

    def __call__(self, x, y):
        self.calls.append(y.tolist())
        return x * 10 + self.student


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_a_mixed_batch_runs_each_needed_student_once_and_keeps_its_order(labels):
    router = ClassRouter(Partition.contiguous(10, 3))
    spies = [Spy(k) for k in range(3)]
    y = torch.tensor(labels)
    chosen = router(y)
    x = torch.arange(len(y), dtype=torch.float32)
    assert torch.equal(route(spies, chosen, x, y), x * 10 + chosen)
    for k, spy in enumerate(spies):
        assert len(spy.calls) == int((chosen == k).any())


def test_requests_for_nobody_are_refused():
    router = ClassRouter(Partition.contiguous(4, 2))
    with pytest.raises(ValueError, match=r"labels must be in 0 \.\.\. 3, got 1 \.\.\. 4"):
        router(torch.tensor([1, 4]))
    with pytest.raises(ValueError, match="int64 vector"):
        router(torch.tensor([1.0]))
    with pytest.raises(ValueError, match="at least one request"):
        route([], torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="got 3"):
        route([lambda x: x], torch.tensor([3]), torch.zeros(1))
    with pytest.raises(ValueError, match=r"axes must be \(d, 2\)"):
        EmbeddingRouter(torch.zeros(3, 3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"embeddings must be \(N, 3\)"):
        EmbeddingRouter(torch.zeros(3, 2), torch.zeros(3))(torch.zeros(2, 4))
