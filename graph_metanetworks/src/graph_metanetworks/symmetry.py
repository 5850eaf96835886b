"""Automorphisms of a parameter graph: counted, generated, checked, and applied to parameters.

Φ(θ)_φ(e) = θ_e: a permutation φ of nodes that keeps labels, edges and ties moves the parameters along with the edges.
"""

from __future__ import annotations

from collections.abc import Mapping

import igraph
import torch
from torch import Tensor, nn

from .parameter_graph import ParameterGraph


def node_labels(graph: ParameterGraph) -> Tensor:
    """One number per node for what an automorphism must keep: type, layer, order, elementwise functions."""
    parts = [graph.node_type, graph.node_layer, graph.node_index, graph.node_operation]
    return torch.unique(torch.stack([p.long() for p in parts]), dim=1, return_inverse=True)[1]


def edge_labels(graph: ParameterGraph) -> Tensor:
    """One number per edge for type, layer, position and the value of a constant edge."""
    constant = torch.where(graph.edge_param < 0, graph.edge_param, 0)
    parts = [graph.edge_type.long(), graph.edge_layer.long(), graph.edge_code, constant.long()]
    return torch.unique(torch.stack(parts), dim=1, return_inverse=True)[1]


def coloured_graph(graph: ParameterGraph) -> tuple[igraph.Graph, list[int]]:
    """Node labels as colours; every edge a vertex of its own, coloured by its label, between a tail and a head vertex.

    Parallel edges are one vertex coloured by all their labels, unless parameters are tied: then each edge has its own,
    and tied ones are joined to a vertex.
    """
    source, target = graph.edge_src.long(), graph.edge_dst.long()
    labels, param = edge_labels(graph), graph.edge_param.long()
    tied = _tied(param)
    bundles = torch.arange(len(source)) if len(tied) else None
    if bundles is None:
        bundles = torch.unique(source * graph.num_nodes + target, return_inverse=True)[1]
    count = int(bundles.max()) + 1
    order = torch.argsort(labels, stable=True)
    members: list[list[int]] = [[] for _ in range(count)]
    for bundle, label in zip(bundles[order].tolist(), labels[order].tolist(), strict=True):
        members[bundle].append(label)
    kinds: dict[tuple, int] = {}
    colours = node_labels(graph).tolist()
    base = max(colours) + 1
    bundle_colour = [base + 2 * kinds.setdefault(tuple(found), len(kinds)) for found in members]
    nodes = graph.num_nodes
    pairs = torch.unique(torch.stack([bundles, source, target]), dim=1)
    tail, head = nodes + pairs[0], nodes + count + pairs[0]
    edges = torch.cat([torch.stack([pairs[1], tail]), torch.stack([tail, head]), torch.stack([head, pairs[2]])], 1)
    colours += bundle_colour + [colour + 1 for colour in bundle_colour]
    last = base + 2 * len(kinds)
    for number, edges_of_param in enumerate(tied):
        vertex = nodes + 2 * count + number
        edges = torch.cat([edges, torch.stack([torch.full_like(edges_of_param, vertex), nodes + edges_of_param])], 1)
        colours.append(last)
    return igraph.Graph(n=len(colours), edges=edges.T.tolist()), colours


def _tied(param: Tensor) -> list[Tensor]:
    """For every parameter with several edges: their numbers."""
    carried = param[param >= 0]
    counts = torch.bincount(carried) if len(carried) else torch.zeros(0)
    return [(param == p).nonzero()[:, 0] for p in (counts > 1).nonzero()[:, 0].tolist()]


def automorphism_count(graph: ParameterGraph) -> int:
    """The order of the group of node permutations that keep labels, edges and ties."""
    drawn, colours = coloured_graph(graph)
    return int(drawn.count_automorphisms(color=colours))


def automorphism_generators(graph: ParameterGraph) -> list[Tensor]:
    """Permutations φ (N,), φ[v] the image of v, that generate the group."""
    drawn, colours = coloured_graph(graph)
    found = drawn.automorphism_group(color=colours)
    kept = (torch.tensor(phi[: graph.num_nodes]) for phi in found)
    identity = torch.arange(graph.num_nodes)
    return [phi for phi in kept if not torch.equal(phi, identity)]


def edge_permutation(graph: ParameterGraph, phi: Tensor) -> Tensor:
    """Where φ sends each edge, (E,); parallel edges that are alike keep their order.

    Raises:
        ValueError: φ is no permutation, or no automorphism: some label or edge is not kept.
    """
    phi = phi.long()
    if phi.shape != (graph.num_nodes,) or not torch.equal(phi.sort().values, torch.arange(graph.num_nodes)):
        raise ValueError(f"a permutation of {graph.num_nodes} nodes expected, got {tuple(phi.shape)}")
    labels = node_labels(graph)
    if not torch.equal(labels[phi], labels):
        raise ValueError("not an automorphism: it moves a node to one of another type, layer, order or activation")
    source, target, kind = graph.edge_src.long(), graph.edge_dst.long(), edge_labels(graph)
    old = torch.stack([source, target, kind])
    moved = torch.stack([phi[source], phi[target], kind])
    from_order, to_order = _lexicographic(moved), _lexicographic(old)
    if not torch.equal(moved[:, from_order], old[:, to_order]):
        raise ValueError("not an automorphism: it does not keep the edges")
    image = torch.empty_like(source)
    image[from_order] = to_order
    return image


def _lexicographic(columns: Tensor) -> Tensor:
    order = torch.arange(columns.shape[1])
    for row in columns.flip(0):
        order = order[torch.argsort(row[order], stable=True)]
    return order


def parameter_permutation(graph: ParameterGraph, phi: Tensor) -> Tensor:
    """π (P,): parameter p of θ becomes parameter π[p] of Φ(θ).

    Raises:
        ValueError: φ is no automorphism, or tied edges do not stay tied.
    """
    image = edge_permutation(graph, phi)
    param = graph.edge_param.long()
    carried = param >= 0
    pi = torch.full((graph.layout.total,), -1)
    pi[param[carried]] = param[image][carried]
    if not torch.equal(pi[param[carried]], param[image][carried]):
        raise ValueError("not an automorphism: tied edges do not stay tied")
    return pi


def permute(graph: ParameterGraph, phi: Tensor, state: Mapping[str, Tensor] | nn.Module) -> dict[str, Tensor]:
    """Φ(θ), as a state dict."""
    pi = parameter_permutation(graph, phi)
    flat = graph.flatten(state.state_dict() if isinstance(state, nn.Module) else state)
    moved = torch.empty_like(flat)
    moved[..., pi] = flat
    return graph.unflatten(moved)


def is_symmetry(graph: ParameterGraph, pi: Tensor) -> bool:
    """Whether some automorphism of the graph moves the parameters by π (P,).

    Raises:
        ValueError: the graph has tied parameters.
    """
    param = graph.edge_param.long()
    owner = torch.full((graph.layout.total,), -1)
    owner[param[param >= 0]] = (param >= 0).nonzero()[:, 0]
    if len(_tied(param)):
        raise ValueError("is_symmetry knows graphs without tied parameters only")
    carried = (param >= 0).nonzero()[:, 0]
    image = owner[pi[param[carried]]]
    labels = edge_labels(graph)
    if not torch.equal(labels[carried], labels[image]):
        return False
    phi = torch.full((graph.num_nodes,), -1)
    for end in (graph.edge_src.long(), graph.edge_dst.long()):
        phi[end[carried]] = end[image]
    for end in (graph.edge_src.long(), graph.edge_dst.long()):
        if not torch.equal(phi[end[carried]], end[image]):
            return False
    phi = _extend(graph, phi)
    if phi is None:
        return False
    try:
        edge_permutation(graph, phi)
    except ValueError:
        return False
    return True


def _extend(graph: ParameterGraph, phi: Tensor) -> Tensor | None:
    """Images of the nodes that only constant edges reach, from their neighbours'; None if there are none."""
    free = (graph.edge_param < 0).nonzero()[:, 0]
    source, target = graph.edge_src.long()[free].tolist(), graph.edge_dst.long()[free].tolist()
    neighbours: dict[int, set[int]] = {}
    for a, b in zip(source, target, strict=True):
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    labels, images = node_labels(graph).tolist(), phi.tolist()
    pending = [v for v, image in enumerate(images) if image < 0]
    while pending:
        left = []
        for v in pending:
            known = [images[u] for u in neighbours.get(v, ()) if images[u] >= 0]
            candidates = set.intersection(*[neighbours.get(u, set()) for u in known]) if known else set()
            candidates = {u for u in candidates if labels[u] == labels[v]} - set(images)
            if candidates:
                images[v] = min(candidates)
            else:
                left.append(v)
        if len(left) == len(pending):
            return None
        pending = left
    return torch.tensor(images)
