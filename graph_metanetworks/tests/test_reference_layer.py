"""Proposition 3: a graph metanet layer with hand-set weights is the NP-NFN layer, and knows StatNN's statistics."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from graph_metanetworks import ReferenceLayer, build_parameter_graph
from graph_metanetworks.connectivity import IndexConnectivity
from graph_metanetworks.npnfn import np_linear

BIG = 1e3  # closes a gate: far above all weights


def hand_set(mlp, rows):
    """Makes an MLP of one hidden layer compute gated linear forms.

    rows: (output, coefficients by input, input of the gate or None); a form reaches its output where the gate is 1.
    """
    first, last = mlp[0], mlp[2]
    for parameter in mlp.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        for n, (output, coefficients, gate) in enumerate(rows):
            for unit, sign in ((2 * n, 1.0), (2 * n + 1, -1.0)):  # ReLU(x) - ReLU(-x) = x
                for column, value in coefficients.items():
                    first.weight[unit, column] = sign * value
                if gate is not None:
                    first.weight[unit, gate] += BIG
                    first.bias[unit] = -BIG
                last.weight[output, unit] = sign


def np_layer(sizes, a1, a):
    """The hand-set layer. Edge features: (w, which layer as one-hot); node features: (mean incoming, mean outgoing)."""
    L = len(sizes) - 1
    edges = [m * n for m, n in itertools.pairwise(sizes)]
    layer = ReferenceLayer(node=(1, 2), edge=(1 + L, 1), world=(1, L), message=L, hidden=2 * max(L, 3) + 2).double()
    w = 2  # where e starts in (v_i, v_j, e, u)
    hand_set(layer.incoming, [(0, {w: 1.0}, None)])
    hand_set(layer.outgoing, [(0, {w: 1.0}, None)])
    hand_set(layer.node, [(0, {1: 1.0}, None), (1, {1 + L: 1.0}, None)])
    hand_set(layer.summary, [(s, {0: 1.0}, 1 + s) for s in range(L)])
    hand_set(layer.world, [(s, {2 + s: sum(edges) / edges[s]}, None) for s in range(L)])
    forms = []
    for i in range(L):
        form = {0: a[i, 1], 1: a[i, 0], 2: a[i, 2], 3: a[i, 3], 4: a[i, 4]}  # source in, out; target in, out; w
        form |= {5 + L + s: a1[i, s] for s in range(L)}
        forms.append((0, form, 5 + i))
    hand_set(layer.edge, forms)
    return layer


def parts(sizes, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(*[nn.Linear(m, n, bias=False) for m, n in itertools.pairwise(sizes)]).double()
    graph = build_parameter_graph(model, torch.randn(1, sizes[0], dtype=torch.float64))
    wires = IndexConnectivity(graph.edge_src.long(), graph.edge_dst.long(), graph.num_nodes)
    depth = graph.edge_layer.long() - 1
    e = torch.cat([graph.edge_values(model).detach()[:, None], torch.eye(len(sizes) - 1).double()[depth]], 1)
    return model, wires, e, torch.zeros(graph.num_nodes, 1).double()


@given(st.lists(st.integers(1, 5), min_size=3, max_size=5), st.integers(0, 1000))
def test_one_layer_is_any_np_nfn_layer(sizes, seed):
    model, wires, e, v = parts(sizes, seed)
    L = len(sizes) - 1
    a1, a = torch.randn(L, L).double(), torch.randn(L, 5).double()
    layer = np_layer(sizes, a1, a)
    with torch.no_grad():
        _, after, _ = layer(v, e, torch.zeros(1).double(), wires)
        expected = torch.cat([H.flatten() for H in np_linear([m.weight for m in model], a1, a)])
    assert float((after[:, 0] - expected).abs().max()) < 1e-5


def test_a_layer_without_u_or_without_outgoing_messages_is_not_enough():
    """With a1 and a3' the map reads what only u, and only outgoing edges, can tell: without them the layer differs."""
    sizes = [3, 4, 2]
    model, wires, e, v = parts(sizes, 0)
    a1, a = torch.ones(2, 2).double(), torch.ones(2, 5).double()
    expected = torch.cat([H.flatten() for H in np_linear([m.weight for m in model], a1, a)])
    for broken in ("world", "outgoing"):
        layer = np_layer(sizes, a1, a)
        hand_set(getattr(layer, broken), [])
        with torch.no_grad():
            _, after, _ = layer(v, e, torch.zeros(1).double(), wires)
        assert float((after[:, 0] - expected).detach().abs().max()) > 1e-3


def test_statistics_of_each_layer_reach_the_global_feature():
    """StatNN's means and second moments by layer: gates pick the layer; squares are given as features."""
    sizes = [3, 5, 4, 2]
    model, wires, e, v = parts(sizes, 1)
    L = len(sizes) - 1
    squared = torch.cat([e[:, :1].square(), e[:, 1:]], 1)
    for features, statistic in ((e, torch.mean), (squared, lambda W: W.square().mean())):
        layer = np_layer(sizes, torch.zeros(L, L).double(), torch.zeros(L, 5).double())
        with torch.no_grad():
            _, _, u = layer(v, features, torch.zeros(1).double(), wires)
        assert torch.allclose(u, torch.stack([statistic(m.weight) for m in model]), atol=1e-5)


def test_the_reference_layer_is_equivariant():
    from samples import sample

    model, x = sample("mlp")
    graph = build_parameter_graph(model, x)
    torch.manual_seed(0)
    layer = ReferenceLayer((3, 4), (1, 2), (2, 5), 6, 7).double()
    wires = IndexConnectivity(graph.edge_src.long(), graph.edge_dst.long(), graph.num_nodes)
    v, u = torch.randn(graph.num_nodes, 3).double(), torch.randn(2).double()
    v = v[:1].expand(graph.num_nodes, -1) + graph.node_index[:, None]  # inputs and outputs apart, hidden alike
    from graph_metanetworks.symmetry import edge_permutation

    with torch.no_grad():
        before = layer(v, graph.edge_values(model)[:, None], u, wires)
        for phi in graph.automorphism_generators():
            image = edge_permutation(graph, phi)
            moved = graph.edge_values(graph.permute(phi, model))[:, None]
            after = layer(v, moved, u, wires)
            assert float((after[1][image] - before[1]).abs().max()) < 1e-12
            assert float((after[0][phi] - before[0]).abs().max()) < 1e-12
            assert float((after[2] - before[2]).abs().max()) < 1e-12
