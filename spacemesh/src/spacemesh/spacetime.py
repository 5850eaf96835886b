"""Edges from spacetime distances: vertices i and j are neighbours iff D_ij < τ (the paper's adjacency).

D_ij = |s_i - s_j|² - |t_i - t_j|² is the squared interval of Law & Lucas (ICLR 2023, eq. 5). It is no metric and may be
negative, so a hub can be near everybody while its neighbours are far from one another.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.linalg import LinearOperator, eigsh
from scipy.spatial import KDTree
from torch import Tensor

SMALL = 64  # vertices, up to which all eigenvectors are had at once: the iteration fails where few are not zero


def spacetime_sqdist(space: Tensor, time: Tensor) -> Tensor:
    """D_ij = |s_i - s_j|² - |t_i - t_j|² for all pairs.

    Args:
        space: s, shape (..., V, ks). time: t, shape (..., V, kt); kt = 0 gives the squared Euclidean distance.
    Returns:
        D, shape (..., V, V), with memory O(V²): (V, V, k) is never built.
    Raises:
        ValueError: the two do not describe the same vertices.
    """
    refuse_unlike(space, time)
    left, right = interval_factors(space, time)
    return left @ right.mT


def interval_factors(space: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """A and B, (..., V, k + 2) each, with D = A Bᵀ: one matrix product is the whole distance."""
    q = (space.square().sum(-1) - time.square().sum(-1)).unsqueeze(-1)
    one = torch.ones_like(q)
    return torch.cat([-2 * space, 2 * time, q, one], -1), torch.cat([space, time, one, q], -1)


def decode_edges(space: Tensor, time: Tensor, tau: float, block: int = 256) -> Tensor:
    """All pairs i < j with D_ij < τ; memory O(V · block).

    Each pair is computed once, so rounding cannot make an edge one-sided; where D is not a number there is no edge.

    Args:
        space: (V, ks). time: (V, kt). tau: τ. block: rows at a time.
    Returns:
        int64, shape (E, 2), sorted.
    Raises:
        ValueError: the two do not describe the same vertices.
    """
    refuse_unlike(space, time)
    left, right = interval_factors(space.detach(), time.detach())
    found = []
    for start in range(0, len(space), block):
        rows = left[start : start + block]
        near = rows @ right[start:].T < tau
        near[:, : len(rows)] = near[:, : len(rows)].triu(1)
        at = torch.from_numpy(np.flatnonzero(near.cpu().numpy()))  # torch's own takes as long as the product
        found.append(torch.stack([at // near.shape[1], at % near.shape[1]], 1) + start)
    return torch.cat(found).to(space.device) if found else torch.zeros(0, 2, dtype=torch.long)


def decode_edges_pruned(space: Tensor, time: Tensor, tau: float, most: float = 200.0) -> Tensor:
    """The same pairs by a k-d tree: D < τ implies |s_i - s_j|² < τ + w², w the diameter of the cloud of t.

    No edge is lost. Where the ball holds more than `most` vertices on average the scan over all pairs is used instead.

    Args:
        space: (V, ks). time: (V, kt). tau: τ.
    Returns:
        int64, shape (E, 2), sorted.
    Raises:
        ValueError: the two do not describe the same vertices.
    """
    refuse_unlike(space, time)
    if len(space) < 2:
        return decode_edges(space, time, tau)
    spread = time.amax(0) - time.amin(0) if time.shape[1] else time.new_zeros(1)
    reach = float(tau) + float(spread.square().sum())  # the box of t holds its diameter
    if reach <= 0 or not bool(space.isfinite().all()) or not np.isfinite(reach):
        return decode_edges(space, time, tau)
    tree = KDTree(space.double().numpy())
    radius = reach**0.5 * (1 + 1e-6)
    sample = tree.query_ball_point(tree.data[:: max(len(space) // 200, 1)], radius, return_length=True)
    if float(np.mean(sample)) > most:
        return decode_edges(space, time, tau)
    pairs = torch.from_numpy(tree.query_pairs(radius, output_type="ndarray")).long().reshape(-1, 2)
    left, right = interval_factors(space, time)
    pairs = pairs[(left[pairs[:, 0]] * right[pairs[:, 1]]).sum(1) < tau]
    return pairs[torch.argsort(pairs[:, 0] * len(space) + pairs[:, 1])]


def exact_embedding(edges: Tensor, num_vertices: int) -> tuple[Tensor, Tensor, float]:
    """An embedding that reproduces any graph exactly: D = 0 on edges, 2τ off them, with τ = 1.

    Eigenvectors of -½ J D J, J = I - 11ᵀ/V: space from positive eigenvalues, time from negative ones, ks + kt < V.

    Args:
        edges: pairs, shape (E, 2).
    Returns:
        space (V, ks), time (V, kt), both float64, and τ.
    """
    distance = 2.0 * (1 - torch.eye(num_vertices, dtype=torch.float64))
    distance[edges[:, 0], edges[:, 1]] = distance[edges[:, 1], edges[:, 0]] = 0.0
    centred = distance - distance.mean(0) - distance.mean(1, keepdim=True) + distance.mean()
    values, vectors = torch.linalg.eigh(-0.5 * centred)
    scaled = vectors * values.abs().sqrt()
    noise = 1e-10 * max(num_vertices, 1)
    return scaled[:, values > noise], scaled[:, values < -noise], 1.0


def spectral_embedding(edges: Tensor, num_vertices: int, space_dim: int, time_dim: int) -> tuple[Tensor, Tensor, float]:
    """The exact embedding cut to its largest `space_dim` positive and `time_dim` negative eigenvalues.

    -½ J D J = J (I + A) J for D = 2 (1 - A) off the diagonal, a sparse operator. Padded with zeros where the graph has
    fewer eigenvalues of a sign; τ is `best_threshold`.

    Returns:
        space (V, space_dim), time (V, time_dim), float32, and τ.
    """
    ends = edges.numpy().T
    values = np.ones(edges.shape[0])
    upper = coo_array((values, (ends[0], ends[1])), shape=(num_vertices, num_vertices))
    adjacency = (upper + upper.T).tocsr()

    def apply(x: np.ndarray) -> np.ndarray:
        x = x - x.mean(0)
        x = x + adjacency @ x
        return x - x.mean(0)

    operator = LinearOperator((num_vertices, num_vertices), matvec=apply, matmat=apply, dtype=np.float64)

    small = np.linalg.eigh(apply(np.eye(num_vertices))) if num_vertices <= SMALL else None

    def largest(count: int, which: str, sign: int) -> Tensor:
        wanted = min(count, num_vertices - 2)
        found = torch.zeros(num_vertices, count)
        if wanted < 1:
            return found
        if small is not None:
            chosen = slice(-wanted, None) if sign > 0 else slice(wanted)
            eigenvalues, vectors = small[0][chosen], small[1][:, chosen]
        else:
            start = np.random.default_rng(0).standard_normal(num_vertices)
            eigenvalues, vectors = eigsh(operator, k=wanted, which=which, v0=start, tol=1e-4)
        strength = np.clip(sign * eigenvalues, 0, None)
        found[:, :wanted] = torch.from_numpy(vectors * np.sqrt(strength)).float()
        return found

    space, time = largest(space_dim, "LA", 1), largest(time_dim, "SA", -1)
    return space, time, best_threshold(space, time, edges)


def best_threshold(space: Tensor, time: Tensor, edges: Tensor, samples: int = 200_000) -> float:
    """The τ with the fewest missed and false edges, the latter counted on random pairs that are none."""
    left, right = interval_factors(space, time)
    count = len(space)
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(count, (samples, 2), generator=generator)
    keys = edges[:, 0] * count + edges[:, 1]
    low, high = pairs.amin(1), pairs.amax(1)
    pairs = pairs[(low < high) & ~torch.isin(low * count + high, keys)]
    on = (left[edges[:, 0]] * right[edges[:, 1]]).sum(1)
    if not len(pairs):
        return float(on.max()) + 1.0
    off = (left[pairs[:, 0]] * right[pairs[:, 1]]).sum(1)
    weight = (count * (count - 1) / 2 - len(edges)) / len(pairs)
    value, order = torch.sort(torch.cat([on, off]))
    gain = torch.cat([torch.ones(len(on)), torch.full((len(off),), -weight)])[order].cumsum(0)
    at = int(gain.argmax())
    after = value[at + 1] if at + 1 < len(value) else value[at] + 1.0
    return float((value[at] + after) / 2)


def refuse_unlike(space: Tensor, time: Tensor) -> None:
    """Raise ValueError when the two do not describe the same vertices."""
    if space.ndim < 2 or time.ndim != space.ndim or space.shape[:-1] != time.shape[:-1]:
        raise ValueError(
            f"space and time must be (V, ks) and (V, kt) with one V, got {tuple(space.shape)} and {tuple(time.shape)}"
        )
