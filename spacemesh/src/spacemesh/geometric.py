"""Faces from positions and normals, without a network: neighbours in the order of their angles about the normal.

Also `edges_to_polygons`, for a mesh of which only vertices and edges are left.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from torch import Tensor

from .core import two_core
from .decode import Decoded, Stopwatch
from .halfedge import HalfedgeMesh
from .neighbourhoods import buckets, halfedges_of


def geometric_permutation_embedding(positions: Tensor, normals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """r, p and n, 12 dimensions each, whose triple product is the signed volume n_i · ((x_k - x_i) × (x_j - x_i)).

    It is positive when k follows j clockwise about the normal by less than half a turn, as σ does seen from outside,
    and equals n·(x_k × x_j) - n·(x_k × x_i) - n·(x_i × x_j): 6 + 3 + 3 products of one number from each vertex. The
    best cycle encloses the largest area: the order of angles where the neighbours are in convex position.

    Args:
        positions: (V, 3). normals: outward, (V, 3).
    """
    a, b = (0, 0, 1, 1, 2, 2), (1, 2, 0, 2, 0, 1)
    c, sign = (2, 1, 2, 0, 1, 0), positions.new_tensor([1, -1, -1, 1, 1, -1])  # Levi-Civita
    a, b, c = torch.tensor(a), torch.tensor(b), torch.tensor(c)
    one = torch.ones_like(positions)
    against = torch.linalg.cross(positions, normals)  # n·(x_k × x_i) = x_k·(x_i × n)
    along = torch.linalg.cross(normals, positions)  # n·(x_i × x_j) = x_j·(n × x_i)
    root = torch.cat([normals[:, a] * sign, -against, -along], 1)
    prev = torch.cat([positions[:, c], one, positions], 1)
    next = torch.cat([positions[:, b], positions, one], 1)
    return root, prev, next


def angular_succ(positions: Tensor, normals: Tensor, tail: Tensor, head: Tensor) -> Tensor:
    """The halfedge that follows each clockwise about the normal of its tail, (H,)."""
    normals = torch.nn.functional.normalize(normals, dim=-1)
    helper = torch.eye(3, dtype=normals.dtype)[normals.abs().argmin(-1)]
    across = torch.nn.functional.normalize(torch.linalg.cross(normals, helper), dim=-1)
    up = torch.linalg.cross(normals, across)
    offset = positions[head] - positions[tail]
    angle = torch.atan2((offset * up[tail]).sum(-1), (offset * across[tail]).sum(-1))
    succ = torch.empty_like(tail)
    for bucket in buckets(tail, head, len(positions)):
        order = bucket.halfedges.gather(1, torch.argsort(-angle[bucket.halfedges], dim=1, stable=True))
        succ.scatter_(0, order.flatten(), order.roll(-1, 1).flatten())
    return succ


def edges_to_polygons(positions: Tensor, edges: Tensor, normals: Tensor | None = None) -> Decoded:
    """The closed manifold polygon mesh on these edges, its neighbours ordered by angle about the normals.

    Without normals they are estimated: the direction in which a vertex's neighbours vary least, away from the middle of
    the neighbours, made to agree from neighbour to neighbour.

    Args:
        positions: (V, 3). edges: pairs, (E, 2), in any order. normals: outward, (V, 3).
    Raises:
        ValueError: wrong shapes, an index out of range, a loop, or positions or normals that are not finite.
    """
    if positions.ndim != 2 or positions.shape[1] != 3 or not bool(positions.isfinite().all()):
        raise ValueError(f"positions must be finite and (V, 3), got {tuple(positions.shape)}")
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"edges must be (E, 2), got {tuple(edges.shape)}")
    if len(edges) and (int(edges.min()) < 0 or int(edges.max()) >= len(positions)):
        raise ValueError(f"edges name vertices {int(edges.min())} to {int(edges.max())}, there are {len(positions)}")
    if bool((edges[:, 0] == edges[:, 1]).any()):
        raise ValueError(f"edge {int((edges[:, 0] == edges[:, 1]).nonzero()[0])} is a loop")
    if normals is not None and (normals.shape != positions.shape or not bool(normals.isfinite().all())):
        raise ValueError(f"normals must be finite and (V, 3) as positions, got {tuple(normals.shape)}")
    edges = torch.unique(torch.sort(edges.long(), dim=1)[0], dim=0)
    watch = Stopwatch()
    core, dropped = two_core(edges, len(positions))
    source = torch.unique(core)
    renumber = torch.full((len(positions),), -1)
    renumber[source] = torch.arange(len(source))
    tail, head = halfedges_of(renumber[core], len(source))
    x = positions[source].double()
    n = estimated_normals(x, tail, head) if normals is None else normals[source].double()
    mesh = HalfedgeMesh.from_rotation(positions[source], tail, head, angular_succ(x, n, tail, head))
    watch.lap("all")
    return Decoded(mesh, source, len(positions), len(positions) - len(source), dropped, watch.laps)


def estimated_normals(positions: Tensor, tail: Tensor, head: Tensor) -> Tensor:
    """Outward unit normals from neighbours alone, (V, 3).

    Normal to the plane that fits best through the unit offsets to the neighbours (through the vertex too where it has
    but two); signs agree along a spanning tree of the smoothest edges, and the highest vertex of each component
    points up.
    """
    count = len(positions)
    offset = torch.nn.functional.normalize(positions[head] - positions[tail], dim=-1)
    degree = torch.bincount(tail, minlength=count)[:, None]
    mean = torch.zeros_like(positions).index_add_(0, tail, offset) / (degree + (degree == 2))
    spread = positions.new_zeros(count, 3, 3).index_add_(0, tail, offset[:, :, None] * offset[:, None, :])
    spread = spread - (degree + (degree == 2))[:, :, None] * mean[:, :, None] * mean[:, None, :]
    normals = torch.linalg.eigh(spread)[1][..., 0]
    # along an arc of a circle the normal at one end of a chord is the other's mirror image: right at sharp corners too
    along = [(normals[end] * offset).sum(-1) for end in (tail, head)]
    agreement = (normals[tail] * normals[head]).sum(-1) - 2 * along[0] * along[1]
    bend = 1 - agreement.abs() + 1e-6  # zero weights would be no edges
    graph = coo_array((bend.numpy(), (tail.numpy(), head.numpy())), shape=(count, count)).tocsr()
    tree = minimum_spanning_tree(graph)
    component = connected_components(graph, directed=False)[1]
    order = np.lexsort((positions[:, 2].numpy(), component))
    tops = order[np.append(np.flatnonzero(np.diff(component[order])), count - 1)] if count else order
    pairs = zip(tail.tolist(), head.tolist(), strict=True)
    turned = dict(zip(pairs, torch.where(agreement < 0, -1.0, 1.0).tolist(), strict=True))
    sign = [1.0] * count
    for top in tops:
        reached, before = breadth_first_order(tree, int(top), directed=False)
        sign[top] = -1.0 if normals[top, 2] < 0 else 1.0
        for vertex in reached[1:].tolist():
            sign[vertex] = sign[before[vertex]] * turned[int(before[vertex]), vertex]
    return normals * positions.new_tensor(sign)[:, None]
