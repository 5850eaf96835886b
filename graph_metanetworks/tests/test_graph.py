"""Counts, values and the network run from its graph alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import EXACT, PAPER, BasicBlock, RandomNet, mlp, sample
from torch import nn

from graph_metanetworks import build_parameter_graph, to_networkx
from graph_metanetworks.values import decode, encode, grid_codes
from graph_metanetworks.vocabulary import EDGE_TYPE, NODE_TYPE


@pytest.mark.parametrize(
    ("model", "shape", "counts"),
    [
        (BasicBlock(1), (1, 4, 4), (7, 22, 23)),
        (nn.Sequential(nn.Linear(2, 3, bias=False), nn.LayerNorm(3), nn.Linear(3, 1)), (2,), (9, 16, 16)),
        (
            nn.Sequential(
                nn.Conv1d(1, 3, 2, bias=False),
                nn.BatchNorm1d(3),
                nn.AdaptiveAvgPool1d(1),
                nn.Flatten(),
                nn.Linear(3, 2),
            ),
            (1, 5),
            (9, 20, 20),
        ),
    ],
)
def test_nodes_parameters_and_edges_of_the_paper_style(model, shape, counts):
    graph = build_parameter_graph(model, torch.randn(2, *shape), style="paper")
    assert (graph.num_nodes, graph.num_parameters, graph.num_edges) == counts


def test_edges_are_parameters_and_residual_and_structural_ones():
    model, x = sample("vit")
    graph = build_parameter_graph(model, x, include_buffers=False)
    constant = int((graph.edge_param < 0).sum())
    assert graph.num_edges == sum(p.numel() for p in model.parameters()) + constant
    kinds = {name for name, n in EDGE_TYPE.items() if (graph.edge_type[graph.edge_param < 0] == n).any()}
    assert kinds == {"residual", "copy", "head"}
    carried = graph.edge_param[graph.edge_param >= 0]
    assert torch.equal(carried.sort().values, torch.arange(len(carried)).int())


def test_weight_edges_run_from_input_to_output_in_the_order_of_the_weight():
    model = mlp(2, 3)
    graph = build_parameter_graph(model, torch.randn(1, 2))
    assert graph.edge_src[:6].tolist() == [0, 1, 0, 1, 0, 1] and graph.edge_dst[:6].tolist() == [2, 2, 3, 3, 4, 4]
    assert torch.equal(graph.edge_values(model)[:6], model[0].weight.flatten())
    assert graph.node_type.tolist() == [NODE_TYPE["neuron"]] * 5 + [NODE_TYPE["bias"]]
    assert graph.node_index.tolist() == [0, 1, 0, 1, 2, -1]


def test_kernel_positions_and_flattened_maps_are_on_edges():
    model, x = sample("flattened maps")
    graph = build_parameter_graph(model, x)
    kernels = graph.edge_pos[graph.edge_type == EDGE_TYPE["conv_weight"]]
    assert kernels[:9].tolist() == [[float(i), float(j), -1.0] for i in range(3) for j in range(3)]
    flat = graph.edge_pos[graph.edge_type == EDGE_TYPE["lin_weight"]]
    assert flat[:4].tolist() == [[0, 0, -1], [0, 1, -1], [1, 0, -1], [1, 1, -1]]


@pytest.mark.parametrize("style", ["paper", "exact"])
def test_triplane_edges_carry_places_in_minus_one_to_one(style):
    model, x = sample("triplane")
    graph = build_parameter_graph(model, x, style=style)
    places = graph.edge_pos[graph.edge_type == EDGE_TYPE["triplanar"]]
    assert int((graph.node_type == NODE_TYPE["triplanar"]).sum()) == 3 * 9 and len(places) == 4 * 27
    assert places.unique().tolist() == [-1.0, 0.0, 1.0]
    assert (places[:9, 2] == 0).all()  # the plane xy has no z


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("style", ["paper", "exact"])
def test_the_graph_alone_runs_the_network(name, style):
    if style == "paper" and name not in PAPER:
        pytest.skip("the paper's style does not draw it")
    model, x = sample(name)
    graph = build_parameter_graph(model, x, style=style, include_buffers=True)
    with torch.no_grad():
        assert float((graph.execute(x, values=graph.edge_values(model)) - model(x)).abs().max()) < 1e-10
        more = torch.cat([x, x, x])  # another batch size than that of the example
        assert float((graph.execute(more, values=graph.edge_values(model)) - model(more)).abs().max()) < 1e-10


@given(st.integers(0, 10_000), st.sampled_from(["exact", "exact", "exact"]))
def test_the_graph_alone_runs_random_networks(seed, style):
    torch.manual_seed(seed)
    model, x = RandomNet(seed).double(), torch.randn(2, 5, 3, dtype=torch.float64)
    graph = build_parameter_graph(model, x, style=style)
    with torch.no_grad():
        assert float((graph.execute(x, values=graph.edge_values(model)) - model(x)).abs().max()) < 1e-10


def test_execution_reads_the_edges_ends_not_their_order():
    """Two edges whose targets are exchanged give the network with the two weights exchanged."""
    model = mlp(3, 4, 2).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    graph = build_parameter_graph(model, x)
    values = graph.edge_values(model).detach()
    dst = graph.edge_dst.clone()
    dst[[0, 3]] = dst[[3, 0]]  # both come from input 0
    graph.__dict__["edge_dst"] = dst
    with torch.no_grad():
        weight = model[0].weight
        weight[[0, 1], 0] = weight[[1, 0], 0].clone()
        assert float((graph.execute(x, values=values) - model(x)).abs().max()) < 1e-12


def test_a_network_is_differentiable_through_its_graph():
    model, x = sample("attention")
    graph = build_parameter_graph(model, x)
    graph.execute(x, values=graph.edge_values(model)).square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model(x).square().sum().backward()
    for name, p in model.named_parameters():
        assert float((p.grad - gradients[name]).abs().max()) < 1e-10


@pytest.mark.parametrize("name", EXACT)
def test_write_back_of_changed_values_is_the_network_with_changed_weights(name):
    model, x = sample(name)
    graph = build_parameter_graph(model, x)
    values = graph.edge_values(model).detach()
    state = graph.write_back(values + 1)
    for key, tensor in {**dict(model.named_parameters()), **dict(model.named_buffers())}.items():
        if key in state:
            assert torch.equal(state[key], tensor.detach() + 1)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("num_batches" in key for key in missing)
    with torch.no_grad():
        after = graph.execute(x, values=graph.edge_values(model))
        assert torch.allclose(after, model(x), atol=1e-8, equal_nan=True)


def test_a_state_dict_survives_the_round_trip_to_the_bit():
    model, x = sample("vit")
    graph = build_parameter_graph(model, x)
    state = graph.write_back(graph.edge_values(model.state_dict()))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_tied_weights_have_two_edges_and_are_averaged():
    model, x = sample("tied")
    graph = build_parameter_graph(model, x)
    assert graph.num_edges == graph.num_parameters + 20  # a 4x4 matrix and its bias once more
    values = graph.edge_values(model).detach()
    first, second = ((graph.edge_param == 20).nonzero()[:, 0]).tolist()
    values[first], values[second] = 1.0, 3.0
    assert graph.write_back(values)["middle.weight"].flatten()[20 - 16] == 2.0

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.tanh(self.a(x)))

    model = Shared()
    graph = build_parameter_graph(model, torch.randn(1, 3))
    model.load_state_dict(graph.write_back(graph.edge_values(model).detach()))  # both names are there


def test_zero_weights_keep_their_edges():
    model = mlp(4, 8, 3)
    graph = build_parameter_graph(model, torch.randn(1, 4))
    for p in model.parameters():
        p.data[torch.rand_like(p) < 0.9] = 0
    pruned = build_parameter_graph(model, torch.randn(1, 4))
    assert pruned.num_edges == graph.num_edges == sum(p.numel() for p in model.parameters())


def test_stacked_networks_are_one_gather():
    models = [mlp(3, 4, 2) for _ in range(5)]
    graph = build_parameter_graph(models[0], torch.randn(1, 3))
    stacked = {name: torch.stack([m.state_dict()[name] for m in models]) for name in models[0].state_dict()}
    values = graph.edge_values(stacked)
    for row, model in zip(values, models, strict=True):
        assert torch.equal(row, graph.edge_values(model))
    assert torch.equal(graph.write_back(values)["0.weight"], stacked["0.weight"])


def test_building_leaves_the_module_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.ReLU(inplace=True)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = build_parameter_graph(model, torch.randn(2, 1, 5, 5))
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    x = torch.randn(2, 1, 5, 5)
    graph.execute(x, values=graph.edge_values(model))
    assert model.training


def test_activations_are_on_nodes():
    graph = build_parameter_graph(mlp(2, 3, 1), torch.randn(1, 2))
    assert graph.node_activation.tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    model, x = sample("siren")
    assert build_parameter_graph(model, x).node_activation[2:7].tolist() == [3] * 5  # sin(30 x)


def test_position_codes_round_trip():
    places = torch.tensor([[-1, -1, -1], [0, 5, -1], [1000, 0, 3], [65_535, -1, -1]])
    assert torch.equal(decode(encode(places)), places) and encode(places)[0] == 0
    assert decode(grid_codes((2, 3)))[1, 2].tolist() == [1, 2, -1]
    with pytest.raises(ValueError, match="positions have one to three axes"):
        grid_codes((2, 2, 2, 2))


def test_networkx_and_the_description_name_the_types():
    graph = build_parameter_graph(BasicBlock(2), torch.randn(1, 2, 4, 4))
    drawn = to_networkx(graph)
    assert drawn.number_of_edges() == graph.num_edges and drawn.number_of_nodes() == graph.num_nodes
    assert "residual 4" in graph.describe() and f"{graph.num_nodes} nodes" in repr(graph)


def test_pyg_data_has_all_features():
    pytest.importorskip("torch_geometric")
    model, x = sample("cnn")
    graph = build_parameter_graph(model, x)
    data = graph.to_pyg(graph.edge_values(model).detach())
    assert data.num_nodes == graph.num_nodes and data.num_edges == graph.num_edges
    assert torch.equal(data.edge_attr[:, 0], graph.edge_values(model).detach()) and data.edge_attr.shape[1] == 6


def test_wrong_states_values_and_styles_are_refused():
    model = mlp(3, 4, 2)
    graph = build_parameter_graph(model, torch.randn(1, 3))
    state = model.state_dict()
    with pytest.raises(ValueError, match=r"the state has no '0\.weight'"):
        graph.edge_values({})
    with pytest.raises(ValueError, match=r"0\.weight: shape \(4, 3\).*expected, got \(3, 4\)"):
        graph.edge_values({**state, "0.weight": state["0.weight"].T})
    with pytest.raises(ValueError, match="some tensors of the state are stacked"):
        graph.edge_values({**state, "0.weight": state["0.weight"][None]})
    with pytest.raises(ValueError, match="26 parameters and buffers expected, got 3"):
        graph.edge_values(torch.zeros(3))
    with pytest.raises(ValueError, match="26 edge values expected, got 3"):
        graph.write_back(torch.zeros(3))
    with pytest.raises(ValueError, match="the values of 26 edges expected"):
        graph.execute(torch.randn(1, 3), values=torch.zeros(3))
    with pytest.raises(ValueError, match="the network takes 1 inputs, got 2"):
        graph.execute(torch.randn(1, 3), torch.randn(1, 3), values=torch.zeros(26))
    with pytest.raises(ValueError, match="unknown style 'pretty', choose from paper, exact"):
        build_parameter_graph(model, torch.randn(1, 3), style="pretty")
