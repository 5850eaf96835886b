"""Layers, heads and batches of the metanets, and what they are compared with."""

import pytest
import torch
from samples import EXACT, mlp, sample
from torch import nn

from graph_metanetworks import (
    DMC,
    NPNFN,
    DeepSetsMetanet,
    EditingFlatMLP,
    EditingMetanet,
    FlatMLP,
    InvariantMetanet,
    StatNN,
    build_parameter_graph,
    collate,
    edge_budget_batches,
    scatter_mean,
    statnn_features,
)
from graph_metanetworks.batch import NetBatch, block_connectivity
from graph_metanetworks.connectivity import BlockConnectivity, IndexConnectivity
from graph_metanetworks.layer import GraphMetanetLayer
from graph_metanetworks.scatter import BACKENDS


def nets(*names):
    """(graph, flat parameters) of samples."""
    found = []
    for name in names:
        model, x = sample(name)
        graph = build_parameter_graph(model, x)
        found.append((graph, graph.flatten(model.state_dict())))
    return found


def metanet(kind=InvariantMetanet, **options):
    torch.manual_seed(0)
    return kind(width=8, depth=2, **options).double().eval()


@pytest.mark.parametrize("name", EXACT)
def test_dense_blocks_and_index_arrays_compute_the_same(name):
    ((graph, flat),) = nets(name)
    torch.manual_seed(0)
    v = torch.randn(2, graph.num_nodes, 3, dtype=torch.float64)
    e = torch.randn(2, graph.num_edges, 3, dtype=torch.float64)
    dense = BlockConnectivity(graph)
    index = IndexConnectivity(graph.edge_src.long(), graph.edge_dst.long(), graph.num_nodes)
    assert float((dense.combine(v, 2 * v, e) - index.combine(v, 2 * v, e)).abs().max()) < 1e-12
    assert float((dense.to_targets(e) - index.to_targets(e)).abs().max()) < 1e-12
    assert float((dense.to_sources(e) - index.to_sources(e)).abs().max()) < 1e-12
    batch = collate([(graph, flat), (graph, flat + 1)])
    outputs = [metanet(EditingMetanet, dense_from=size)(batch)[0].detach() for size in (0, 10**9)]
    assert float((outputs[0] - outputs[1]).abs().max()) < 1e-10


def test_relative_values_are_those_of_the_net_alone_in_units_of_its_layers():
    """Scaling one net's layer changes no relative value, and none of its neighbour in the batch."""
    ((graph, flat),) = nets("mlp")
    values = graph.edge_values(torch.stack([flat, 3 * flat]))
    scales = graph.kind_scales(values)
    for block in graph.blocks:
        own = slice(block.start, block.stop)
        rms = values[:, own].square().mean(1, keepdim=True).sqrt()
        assert torch.allclose(scales[:, own], rms.expand_as(scales[:, own]))
    louder = values.clone()
    louder[0, : graph.blocks[0].stop] *= 7
    assert torch.allclose((louder / graph.kind_scales(louder))[0], (values / scales)[0])
    assert torch.equal(graph.kind_scales(louder)[1], scales[1])


def test_a_split_linear_map_is_the_linear_map_of_the_concatenation():
    """A v_source + B v_target + C e, as one matrix (A B C) on (v_source, v_target, e)."""
    layer = GraphMetanetLayer(4).double()
    v, e = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    wires = IndexConnectivity(torch.tensor([0, 0, 1, 2, 1]), torch.tensor([1, 2, 2, 0, 0]), 3)
    together = torch.cat([layer.source.weight, layer.target.weight, layer.edge.weight], 1)
    ends = torch.cat([v[wires.source], v[wires.target], e], 1)
    split = wires.combine(layer.source(v), layer.target(v), layer.edge(e))
    assert float((split - ends @ together.T - layer.edge.bias).detach().abs().max()) < 1e-12


@pytest.mark.parametrize("kind", ["gmn", "deepsets", "dmc", "statnn"])
def test_a_batch_of_several_architectures_is_each_net_alone(kind):
    found = nets("mlp", "cnn", "mlp", "vit", "attention", "cnn")
    found = [(found[0][0] if i == 2 else found[1][0] if i == 5 else g, f + 0.1 * i) for i, (g, f) in enumerate(found)]
    torch.manual_seed(0)
    model = {
        "gmn": lambda: InvariantMetanet(2, 8, 2),
        "deepsets": lambda: DeepSetsMetanet(2, 8),
        "dmc": lambda: DMC(2, 8),
        "statnn": lambda: StatNN(2, 40),
    }[kind]()
    model = model.double().eval()
    batch = collate(found)
    assert len(batch.groups) == 4 and len(batch) == 6
    assert batch.num_edges == sum(graph.num_edges for graph, _ in found)
    with torch.no_grad():
        together = model(batch)
        alone = torch.cat([model(collate([net])) for net in found])
    assert float((together - alone).abs().max()) < 1e-10


def test_node_labels_do_not_matter():
    """The same graph with its nodes named in another order gives the same edge features."""
    ((graph, flat),) = nets("attention")
    model = metanet(EditingMetanet)
    batch = NetBatch([(graph, flat[None])])
    before = model.body(batch)[1][0]
    sigma = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(0))
    wires = IndexConnectivity(sigma[graph.edge_src.long()], sigma[graph.edge_dst.long()], graph.num_nodes)
    nodes = torch.empty(graph.num_nodes, 8, dtype=torch.float64)
    nodes[sigma] = model.body.encoder.nodes(graph)
    edges = model.body.encoder.edges(graph) + model.body.encoder.edge_values(graph, graph.edge_values(flat))
    _, after = model.body._layers(nodes, edges, wires)
    assert float((after - before[0]).abs().max()) < 1e-12


@pytest.mark.parametrize("name", ["mlp", "cnn", "residual", "vit", "deep sets"])
def test_the_metanet_is_not_blind_to_weights(name):
    """Shuffling one weight matrix must change the output of an invariant metanet."""
    model, x = sample(name)
    graph = build_parameter_graph(model, x)
    reader = metanet()
    before = reader(collate([(graph, graph.flatten(model.state_dict()))]))
    weight = max(model.parameters(), key=lambda p: p.numel())
    torch.manual_seed(0)
    weight.data = weight.flatten()[torch.randperm(weight.numel())].view_as(weight).detach()
    after = reader(collate([(graph, graph.flatten(model.state_dict()))]))
    assert float((after - before).abs().max()) > 1e-6


def test_invariant_baselines_are_invariant_and_the_others_are_not():
    ((graph, flat),) = nets("mlp")
    model, _ = sample("mlp")
    moved = graph.flatten(graph.permute(graph.automorphism_generators()[0], model))
    torch.manual_seed(0)
    change = {}
    for reader in (InvariantMetanet(1, 8, 2), DeepSetsMetanet(1, 8), StatNN(1, 6), DMC(1, 8), FlatMLP(len(flat), 1)):
        reader = reader.double().eval()
        outputs = [reader(collate([(graph, x)])) for x in (flat, moved)]
        change[type(reader).__name__] = float((outputs[0] - outputs[1]).detach().abs().max())
    assert max(change[name] for name in ("InvariantMetanet", "DeepSetsMetanet", "StatNN")) < 1e-10
    assert min(change[name] for name in ("DMC", "FlatMLP")) > 1e-6


def test_np_nfn_is_equivariant_to_hidden_neurons_and_not_to_inputs():
    model = mlp(3, 4, 5, 2).double()
    graph = build_parameter_graph(model, torch.randn(1, 3, dtype=torch.float64))
    torch.manual_seed(0)
    reader = NPNFN([3, 4, 5, 2], 6).double()
    flat = graph.flatten(model.state_dict())
    with torch.no_grad():
        before = reader(collate([(graph, flat)]))[0][0]
        for phi in graph.automorphism_generators():
            after = reader(collate([(graph, graph.flatten(graph.permute(phi, model)))]))[0][0]
            moved = graph.flatten(graph.permute(phi, graph.unflatten(before)))
            assert float((after - moved).abs().max()) < 1e-12
        state = model.state_dict()
        inputs = torch.tensor([1, 0, 2])
        swapped = graph.flatten({**state, "0.weight": state["0.weight"][:, inputs]})
        after = graph.unflatten(reader(collate([(graph, swapped)]))[0][0])
        assert float((after["0.weight"][:, inputs] - graph.unflatten(before)["0.weight"]).abs().max()) > 1e-6
    with pytest.raises(ValueError, match=r"an MLP \[3, 4, 2\] has 26 parameters, got 53"):
        NPNFN([3, 4, 2]).double()(collate([(graph, flat)]))


def test_statnn_features_are_the_statistics_of_each_tensor():
    model = mlp(2, 3, 1)
    graph = build_parameter_graph(model, torch.randn(1, 2))
    features = statnn_features(graph, graph.flatten(model.state_dict())[None])
    weight = model[0].weight.detach().flatten()
    expected = torch.stack([weight.mean(), weight.var(correction=0), *torch.quantile(weight, torch.linspace(0, 1, 5))])
    assert features.shape == (1, 28) and torch.allclose(features[0, :7], expected)
    with pytest.raises(ValueError, match="at most 3 tensors expected, this architecture has 4"):
        statnn_features(graph, torch.zeros(1, graph.layout.total), 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_scatter_backends_compute_the_same_mean(backend):
    if backend == "pyg":
        pytest.importorskip("torch_geometric", reason="the extra `pyg` is not installed")
    if backend == "compiled":
        pytest.importorskip("torch_scatter", reason="the extra `compiled` is not installed")
    rows = torch.randn(2, 50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    index = torch.randint(0, 7, (50,), generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(2, 8, 3, dtype=torch.float64)
    for i in range(7):
        expected[:, i] = rows[:, index == i].mean(1)
    assert float((scatter_mean(rows, index, 8, backend) - expected).abs().max()) < 1e-12
    ((graph, flat),) = nets("cnn")
    outputs = [metanet(backend=name)(collate([(graph, flat)])) for name in ("native", backend)]
    assert float((outputs[0] - outputs[1]).abs().max()) < 1e-10


def test_scatter_refuses_unknown_backends_and_shapes():
    with pytest.raises(ValueError, match="unknown scatter backend 'fast', choose from native, pyg, compiled"):
        scatter_mean(torch.zeros(2, 1), torch.zeros(2).long(), 1, "fast")
    with pytest.raises(ValueError, match=r"got \(2, 1\) and \(3,\)"):
        scatter_mean(torch.zeros(2, 1), torch.zeros(3).long(), 1)


@pytest.mark.parametrize("dense_from", [0, 10**9])
def test_gradients_of_the_metanet_are_right(dense_from):
    model = mlp(2, 3, 1).double()
    graph = build_parameter_graph(model, torch.randn(1, 2, dtype=torch.float64))
    reader = metanet(EditingMetanet, dense_from=dense_from)
    flat = graph.flatten(model.state_dict())[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: reader(NetBatch([(graph, x)]))[0], flat)


def test_checkpointing_changes_memory_not_gradients():
    ((graph, flat),) = nets("cnn")
    gradients = []
    for checkpointing in (False, True):
        model = metanet(checkpointing=checkpointing).train()
        model(collate([(graph, flat)])).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.equal(*gradients)


def test_topology_is_made_once_for_an_architecture():
    ((graph, _),) = nets("mlp")
    assert block_connectivity(graph, torch.device("cpu")) is block_connectivity(graph, torch.device("cpu"))


def test_the_edited_parameters_start_close_to_the_old_ones():
    ((graph, flat),) = nets("mlp")
    for model in (EditingMetanet(8, 2), EditingFlatMLP(len(flat))):
        edited = model.double()(collate([(graph, flat)]))[0][0]
        assert 0 < float((edited - flat).abs().max()) < 0.2


def test_batches_keep_to_their_budget_of_edges():
    edges = [10, 20, 30, 100, 5, 5]
    batches = list(edge_budget_batches(edges, 40, [5, 0, 1, 2, 3, 4]))
    assert batches == [[5, 0, 1], [2], [3], [4]]
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    with pytest.raises(ValueError, match="an edge budget of at least 1 expected, got 0"):
        list(edge_budget_batches(edges, 0, [0]))


def test_batches_of_nothing_and_flat_mlps_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="a batch needs at least one network"):
        collate([])
    found = nets("mlp", "siren")
    with pytest.raises(ValueError, match=r"reads one architecture of 5 parameters, got \[139\]"):
        FlatMLP(5, 1)(collate(found[:1]))
    with pytest.raises(ValueError, match="a flat MLP reads one architecture"):
        FlatMLP(139, 1)(collate(found))


def test_a_batch_moves_its_tensors_only():
    found = nets("mlp", "siren")
    batch = collate(found)
    moved = batch.to("meta")
    assert all(flat.device.type == "meta" for _, flat in moved.groups) and moved.groups[0][0] is batch.groups[0][0]


def test_the_encoder_sees_the_activation():
    """Two nets alike but for their activation are told apart."""
    reader = metanet()
    weights = mlp(2, 3, 1).double()
    outputs = []
    for activation in (nn.ReLU, nn.Tanh):
        model = mlp(2, 3, 1, activation=activation).double()
        model.load_state_dict(weights.state_dict())
        graph = build_parameter_graph(model, torch.randn(1, 2, dtype=torch.float64))
        outputs.append(reader(collate([(graph, graph.flatten(model.state_dict()))])))
    assert float((outputs[0] - outputs[1]).detach().abs().max()) > 1e-6
