"""The 2-core: what hangs on a vertex by one edge goes, again and again."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from spacemesh.core import two_core


def peeled(edges, count):
    """One leaf at a time."""
    edges = [tuple(edge) for edge in edges.tolist()]
    while True:
        degree = [sum(v in edge for edge in edges) for v in range(count)]
        left = [edge for edge in edges if degree[edge[0]] > 1 and degree[edge[1]] > 1]
        if len(left) == len(edges):
            return [list(edge) for edge in left]
        edges = left


@given(st.integers(0, 14), st.floats(0, 0.4), st.integers(0, 1000))
def test_the_core_is_what_peeling_leaves(count, share, seed):
    generator = torch.Generator().manual_seed(seed)
    edges = (torch.rand(count, count, generator=generator) < share).triu(1).nonzero()
    core, dropped = two_core(edges, count)
    assert core.tolist() == peeled(edges, count) and dropped == len(edges) - len(core)


def test_a_tree_has_no_core_and_a_long_tail_goes_whole():
    path = torch.stack([torch.arange(50), torch.arange(1, 51)], 1)
    assert two_core(path, 51)[0].shape == (0, 2)
    lasso = torch.cat([path, torch.tensor([[0, 2]])])
    core, dropped = two_core(lasso, 51)
    assert core.tolist() == [[0, 1], [1, 2], [0, 2]] and dropped == 48
