"""Isosurfaces of signed distance (negative inside) by marching tetrahedra: watertight, and differentiable in the field.

Each cube is split in six tetrahedra, one for each order in which a path may walk its three axes (Kuhn); neighbouring
cubes then cut their common face along the same diagonal, so that no case of one tetrahedron can contradict another's.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, permutations

import torch
from torch import Tensor

OUTSIDE = 1e-6  # a value closer to zero than this counts as outside: no vertex then lies on a corner of the grid
TET_EDGES = tuple(combinations(range(4), 2))  # the six edges of a tetrahedron by their corners


def kuhn_cell() -> Tensor:
    """The six tetrahedra of the unit cube as corners (6, 4, 3) in {0, 1}, all of positive volume."""
    axes = torch.eye(3, dtype=torch.long)
    tets = []
    for order in permutations(range(3)):
        path = torch.cat([torch.zeros(1, 3, dtype=torch.long), axes[list(order)].cumsum(0)])  # (4, 3)
        odd = torch.linalg.det((path[1:] - path[0]).double()) < 0
        tets.append(path[[0, 2, 1, 3]] if odd else path)
    return torch.stack(tets)


def kuhn_tet_grid(n: int) -> tuple[Tensor, Tensor]:
    """A cube [-1, 1]³ of n³ cells, each split in six.

    Returns:
        vertices ((n+1)³, 3), the last axis running fastest; tetrahedra (6 n³, 4).
    Raises:
        ValueError: less than one cell.
    """
    if n < 1:
        raise ValueError(f"a grid needs at least one cell along each axis, got n = {n}")
    cells = torch.cartesian_prod(*[torch.arange(n)] * 3)
    return grid_vertices(n), cell_tets(cells, n)


def grid_vertices(n: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """Corners of the n³ cells of [-1, 1]³, ((n+1)³, 3)."""
    axis = torch.linspace(-1, 1, n + 1, dtype=dtype, device=device)
    return torch.cartesian_prod(axis, axis, axis)


def cell_tets(cells: Tensor, n: int) -> Tensor:
    """Tetrahedra (6 C, 4) of cells (C, 3) given by their low corners."""
    corners = cells[:, None, None] + kuhn_cell().to(cells.device)  # (C, 6, 4, 3)
    strides = torch.tensor([(n + 1) ** 2, n + 1, 1], device=cells.device)
    return (corners * strides).sum(-1).reshape(-1, 4)


@cache
def triangle_table() -> tuple[Tensor, Tensor]:
    """The 16 cases. Number of triangles (16,) and their edges (16, 2, 3) as indices of TET_EDGES, 0 where unused.

    A case has bit i set where corner i is inside. Triangles look outwards: the reference tetrahedron decides.
    """
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])  # positive volume
    middle = torch.stack([(corners[a] + corners[b]) / 2 for a, b in TET_EDGES])
    counts, table = torch.zeros(16, dtype=torch.long), torch.zeros(16, 2, 3, dtype=torch.long)
    for case in range(1, 15):
        inside = [i for i in range(4) if case >> i & 1]
        outside = [i for i in range(4) if i not in inside]
        if len(inside) == 2:  # a quad: neighbours share a corner
            (a, b), (c, d) = inside, outside
            ring = [_edge(a, c), _edge(a, d), _edge(b, d), _edge(b, c)]
        else:
            ring = [_edge(a, b) for a in inside for b in outside]
        p, q, r = middle[ring[:3]]
        outwards = corners[outside].mean(0) - corners[inside].mean(0)
        if torch.linalg.cross(q - p, r - p) @ outwards < 0:
            ring.reverse()
        counts[case] = len(ring) - 2
        for k in range(len(ring) - 2):
            table[case, k] = torch.tensor([ring[0], ring[k + 1], ring[k + 2]])
    return counts, table


def _edge(a: int, b: int) -> int:
    return TET_EDGES.index((min(a, b), max(a, b)))


def marching_tetrahedra(vertices: Tensor, tets: Tensor, sdf: Tensor) -> tuple[Tensor, Tensor]:
    """The surface sdf = 0 over positively oriented tetrahedra, its vertices where the edges' linear field is zero.

    Args:
        vertices: (V, 3). tets: (T, 4), integers. sdf: (V,), negative inside; the surface is differentiable in it.
    Returns:
        Positions (N, 3) and faces (M, 3), counter-clockwise seen from outside; (0, 3) both where nothing crosses zero.
    Raises:
        ValueError: shapes that do not fit, or a field that is not finite.
    """
    if sdf.shape != vertices.shape[:1] or tets.ndim != 2 or tets.shape[1] != 4:
        raise ValueError(
            f"expected vertices (V, 3), tets (T, 4) and sdf (V,), "
            f"got {tuple(vertices.shape)}, {tuple(tets.shape)} and {tuple(sdf.shape)}"
        )
    if not torch.isfinite(sdf).all():
        raise ValueError(f"the field is not finite at {int((~torch.isfinite(sdf)).sum())} of {len(sdf)} vertices")
    inside = sdf < -OUTSIDE
    case = (inside[tets].long() * torch.tensor([1, 2, 4, 8], device=tets.device)).sum(1)  # (T,)
    counts, table = (part.to(tets.device) for part in triangle_table())
    crossing = counts[case] > 0
    tets, case = tets[crossing], case[crossing]

    ends = tets[:, torch.tensor(TET_EDGES, device=tets.device)].sort(-1).values  # (T, 6, 2)
    keys = ends[..., 0] * len(vertices) + ends[..., 1]  # (T, 6): one number for each edge of the grid
    second = torch.nonzero(counts[case] == 2).flatten()
    used = torch.cat([table[case, 0], table[case[second], 1]])  # (M, 3)
    tet_of = torch.cat([torch.arange(len(tets), device=tets.device), second])
    edges, faces = torch.unique(keys[tet_of[:, None], used], return_inverse=True)  # (N,), (M, 3)

    low, high = edges // len(vertices), edges % len(vertices)
    value = torch.where(inside, sdf, sdf.clamp(min=OUTSIDE))
    share = (value[low] / (value[low] - value[high]))[:, None]  # (N, 1): of the way from low to high
    return vertices[low] + share * (vertices[high] - vertices[low]), faces


def isosurface(sdf: Tensor) -> tuple[Tensor, Tensor]:
    """The closed surface of a field sampled on the corners of n³ cells of [-1, 1]³; only cells that it cuts cost time.

    The field's border counts as outside, so that a shape larger than the box is cut off by its walls.

    Args:
        sdf: (n+1, n+1, n+1) in the order x, y, z; negative inside.
    Raises:
        ValueError: not a cube of at least 3 samples, or there is no surface in it.
    """
    if sdf.ndim != 3 or len(set(sdf.shape)) != 1 or len(sdf) < 3:
        raise ValueError(f"expected a field (n+1, n+1, n+1) with n >= 2, got {tuple(sdf.shape)}")
    n = len(sdf) - 1
    border = torch.ones_like(sdf, dtype=torch.bool)
    border[1:-1, 1:-1, 1:-1] = False
    closed = torch.where(border, sdf.clamp(min=OUTSIDE), sdf)
    corners = (closed.detach() < -OUTSIDE).unfold(0, 2, 1).unfold(1, 2, 1).unfold(2, 2, 1).flatten(3)  # (n, n, n, 8)
    cells = torch.nonzero(corners.any(-1) & ~corners.all(-1))
    if len(cells) == 0:
        least, most = float(sdf.detach().min()), float(sdf.detach().max())
        raise ValueError(
            f"no surface: the field lies in [{least:.3g}, {most:.3g}] and is negative at no inner sample. Raise the "
            "resolution, or train longer with eikonal regularisation: fog can look right without any surface"
        )
    vertices = grid_vertices(n, closed.dtype, closed.device)
    return marching_tetrahedra(vertices, cell_tets(cells, n), closed.flatten())
