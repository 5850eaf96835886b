"""Genus of every rotation system of small graphs, against published counts."""

import itertools
from collections import Counter

import pytest
import shapes
import torch

from spacemesh.halfedge import HalfedgeMesh
from spacemesh.manifold import manifold_report

K4 = list(itertools.combinations(range(4), 2))
K33 = [(i, j) for i in range(3) for j in range(3, 6)]
CUBE = [(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit]


@pytest.mark.parametrize(
    ("edges", "count", "genera"),
    [(K4, 4, {0: 2, 1: 14}), (K33, 6, {1: 40, 2: 24}), (CUBE, 8, {0: 2, 1: 54, 2: 200})],
    ids=["K4", "K3,3", "cube"],
)
def test_genera_of_all_rotation_systems(edges, count, genera):
    found = Counter()
    for rotation in shapes.rotation_systems(edges, count):
        mesh = HalfedgeMesh.from_rotation(torch.zeros(count, 3), *rotation)
        report = manifold_report(mesh.to_polygons(), count)
        assert report.closed and report.oriented and report.vertex_manifold
        assert report.vertices - report.edges + report.faces == 2 - 2 * mesh.genus
        found[mesh.genus] += 1
    assert found == genera
