"""The automorphisms of the exact graph are the permutations that keep the function, no more and no less."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import EXACT, PAPER, RandomNet, SkipAttention, mlp, pooled, sample
from torch import nn

from graph_metanetworks import (
    EditingMetanet,
    EquivariantLinear,
    build_parameter_graph,
    collate,
    is_symmetry,
)
from graph_metanetworks.evidence import certificates
from graph_metanetworks.symmetry import edge_permutation, parameter_permutation


def changed_function(model, state, x):
    """The largest change of the output under another state."""
    with torch.no_grad():
        return float((torch.func.functional_call(model, state, (x,), strict=False) - model(x)).abs().max())


def edited(metanet, graph, flat):
    with torch.no_grad():
        return metanet(collate([(graph, flat)]))[0][0] - flat


@pytest.fixture(scope="module")
def metanet():
    """Four layers: from a weight to its head and back to another weight of the head. Random weights of some size.

    Relative values are shown beside the plain ones, so that what holds for it holds without them.
    """
    torch.manual_seed(0)
    model = EditingMetanet(width=8, depth=4, relative=True).double().eval()
    with torch.no_grad():
        model.head.scale.fill_(1.0)
        for weight in model.body.layers.parameters():
            weight.mul_(2.5)
    return model


@pytest.mark.parametrize("name", EXACT)
def test_the_exact_group_has_the_order_of_theory(name):
    model, x = sample(name)
    assert build_parameter_graph(model, x).automorphism_count() == EXACT[name][2]


@pytest.mark.parametrize("name", EXACT)
def test_every_generator_keeps_the_function_and_moves_the_metanet_outputs_along(name, metanet):
    model, x = sample(name)
    graph = build_parameter_graph(model, x)
    flat = graph.flatten(model.state_dict())
    before = edited(metanet, graph, flat)
    generators = graph.automorphism_generators()
    assert generators
    for phi in generators:
        moved = graph.permute(phi, model)
        assert changed_function(model, moved, x) < 1e-10
        after = edited(metanet, graph, graph.flatten(moved))
        assert float((after[parameter_permutation(graph, phi)] - before).abs().max()) < 1e-10


@given(st.integers(0, 10_000))
def test_generators_keep_the_function_of_random_networks(seed):
    """The paper proves it for computation graphs and conjectures it for parameter graphs."""
    torch.manual_seed(seed)
    model, x = RandomNet(seed).double(), torch.randn(2, 5, 3, dtype=torch.float64)
    graph = build_parameter_graph(model, x)
    for phi in graph.automorphism_generators():
        assert changed_function(model, graph.permute(phi, model), x) < 1e-10


def test_the_paper_style_of_attention_has_a_larger_group():
    """d! · d!, times 3! for its three alike bias nodes."""
    model, x = sample("attention")
    graph = build_parameter_graph(model, x, style="paper")
    assert graph.automorphism_count() == math.factorial(4) ** 2 * 6
    worst = max(changed_function(model, graph.permute(phi, model), x) for phi in graph.automorphism_generators())
    assert worst > 1e-3


def swap(index, a, b):
    index = index.clone()
    index[[*a, *b]] = index[[*b, *a]]
    return index


def attention_move(q=None, k=None, v=None, blocks=None):
    """A permutation of rows within q, k and v (v with the columns of the output projection), or of the three."""

    def move(state):
        for name in ("attention.in_proj_weight", "attention.in_proj_bias"):
            parts = list(state[name].chunk(3))
            for i, rows in enumerate((q, k, v)):
                parts[i] = parts[i][rows] if rows else parts[i]
            state[name] = torch.cat([parts[i] for i in blocks or (0, 1, 2)])
        if v:
            state["attention.out_proj.weight"] = state["attention.out_proj.weight"][:, v]
        return state

    return move


def channel_move(state):
    """Swap channels 0 and 3 of a convolution with a group norm of two groups."""
    for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
        state[name] = swap(state[name], [0], [3])
    state["5.weight"] = swap(state["5.weight"].T, [0], [3]).T
    return state


def set_move(state):
    """Swap the matrix of each element and the matrix of their mean."""
    state["0.identity"], state["0.pool"] = state["0.pool"], state["0.identity"]
    return state


def attention():
    return SkipAttention(), (5, 3)


def groups():
    return pooled(nn.Conv2d(1, 6, 3), nn.GroupNorm(2, 6), nn.ReLU()), (1, 6, 6)


def sets():
    return nn.Sequential(EquivariantLinear(3, 4), nn.ReLU(), EquivariantLinear(4, 2)), (5, 3)


VALID = {
    "queries with keys within a head": (attention, attention_move(q=[1, 0, 2, 3], k=[1, 0, 2, 3])),
    "values within a head": (attention, attention_move(v=[1, 0, 2, 3])),
    "whole heads": (attention, attention_move([2, 3, 0, 1], [2, 3, 0, 1], [2, 3, 0, 1])),
}
INVALID = {
    "q, k and v jointly across heads": (attention, attention_move([2, 1, 0, 3], [2, 1, 0, 3], [2, 1, 0, 3])),
    "queries with keys": (attention, attention_move(blocks=(1, 0, 2))),
    "queries with values": (attention, attention_move(blocks=(2, 1, 0))),
    "channels across groups of a group norm": (groups, channel_move),
    "the two matrices of a deep set": (sets, set_move),
}


def moved_by(make, move):
    """A network, an input for it, its state after the move, and for a graph the move as a permutation of parameters."""
    torch.manual_seed(1)
    model, shape = make()
    model = model.double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    x = torch.randn(3, *shape, dtype=torch.float64)

    def permutation(graph):
        places = graph.unflatten(torch.arange(graph.layout.total))
        pi = torch.empty(graph.layout.total, dtype=torch.long)
        pi[graph.flatten(move(dict(places)))] = torch.arange(graph.layout.total)
        return pi

    state = {name: value.clone() for name, value in model.state_dict().items()}
    return model, x, move(state), permutation


@pytest.mark.parametrize("name", VALID)
def test_valid_moves_of_attention_are_automorphisms(name):
    model, x, state, permutation = moved_by(*VALID[name])
    graph = build_parameter_graph(model, x)
    assert changed_function(model, state, x) < 1e-10
    assert is_symmetry(graph, permutation(graph))


@pytest.mark.parametrize("name", ["queries with keys within a head", "values within a head"])
def test_the_paper_style_misses_moves_of_queries_with_keys_or_of_values_alone(name):
    model, x, _, permutation = moved_by(*VALID[name])
    graph = build_parameter_graph(model, x, style="paper")
    assert not is_symmetry(graph, permutation(graph))


@pytest.mark.parametrize("name", INVALID)
def test_invalid_moves_are_no_automorphisms_of_the_exact_graph_and_change_function_and_metanet(name, metanet):
    model, x, state, permutation = moved_by(*INVALID[name])
    assert changed_function(model, state, x) > 1e-3
    graph = build_parameter_graph(model, x)
    pi = permutation(graph)
    assert not is_symmetry(graph, pi)
    before = edited(metanet, graph, graph.flatten(model.state_dict()))
    after = edited(metanet, graph, graph.flatten(state))
    assert float((after[pi] - before).abs().max()) > 1e-6


@pytest.mark.parametrize("name", INVALID)
def test_the_paper_style_accepts_the_invalid_moves_and_so_does_its_metanet(name, metanet):
    model, x, state, permutation = moved_by(*INVALID[name])
    graph = build_parameter_graph(model, x, style="paper")
    pi = permutation(graph)
    assert is_symmetry(graph, pi)
    before = edited(metanet, graph, graph.flatten(model.state_dict()))
    after = edited(metanet, graph, graph.flatten(state))
    assert float((after[pi] - before).abs().max()) < 1e-10


@pytest.mark.parametrize("name", PAPER)
def test_the_metanet_is_equivariant_to_the_paper_style_automorphisms_too(name, metanet):
    model, x = sample(name)
    graph = build_parameter_graph(model, x, style="paper")
    flat = graph.flatten(model.state_dict())
    before = edited(metanet, graph, flat)
    for phi in graph.automorphism_generators():
        after = edited(metanet, graph, graph.flatten(graph.permute(phi, model)))
        assert float((after[parameter_permutation(graph, phi)] - before).abs().max()) < 1e-10


def test_permutations_that_move_fixed_neurons_or_break_edges_are_refused():
    model = mlp(3, 4, 4, 2)
    graph = build_parameter_graph(model, torch.randn(1, 3))
    phi = torch.arange(graph.num_nodes)
    with pytest.raises(ValueError, match="moves a node to one of another type, layer, order or activation"):
        graph.permute(swap(phi, [0], [1]), model)  # inputs
    with pytest.raises(ValueError, match=f"a permutation of {graph.num_nodes} nodes expected"):
        graph.permute(torch.zeros_like(phi), model)
    block, _ = sample("group norm")
    graph = build_parameter_graph(block, torch.randn(1, 1, 6, 6))
    channels = (graph.node_index < 0).nonzero()[:, 0]
    with pytest.raises(ValueError, match="it does not keep the edges"):
        graph.permute(swap(torch.arange(graph.num_nodes), [int(channels[0])], [int(channels[3])]), block)


def test_tied_weights_must_stay_tied():
    """Permuting the second layer alone keeps all edges, but not that both carry the same parameters."""
    model, x = sample("tied")
    graph = build_parameter_graph(model, x)
    hidden = [(graph.node_layer == layer).logical_and(graph.node_type == 0).nonzero()[:, 0] for layer in (1, 2, 3)]
    phi = torch.arange(graph.num_nodes)
    phi[hidden[1][:2]] = hidden[1][:2].flip(0)
    with pytest.raises(ValueError, match="tied edges do not stay tied"):
        graph.permute(phi, model)
    for layer in hidden:
        phi[layer[:2]] = layer[:2].flip(0)
    assert changed_function(model, graph.permute(phi, model), x) < 1e-10
    with pytest.raises(ValueError, match="without tied parameters only"):
        is_symmetry(graph, torch.arange(graph.layout.total))


def test_alike_parallel_edges_keep_their_order():
    model, x = sample("deep sets")
    graph = build_parameter_graph(model, x, style="paper")
    identity = torch.arange(graph.num_nodes)
    assert torch.equal(edge_permutation(graph, identity), torch.arange(graph.num_edges))


def test_certificates_do_not_depend_on_what_was_drawn_before_nor_change_what_is_drawn_after():
    first = certificates()
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    assert certificates() == first and torch.equal(torch.rand(1), expected)
