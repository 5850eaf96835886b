"""One edge a parameter, one node a neuron."""

import pytest
import torch
from torch import nn

from forecasting_model_search import model_to_graph
from forecasting_model_search.digits import DeepSet, cnn, mlp


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.body, self.norm = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x).relu()
        x = x + self.norm(self.body(x))
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 1)

    def forward(self, x):
        return self.attention(x, x, x)[0]


def test_the_mlp_of_the_digits_has_1482_edges_and_109_nodes():
    graph = model_to_graph(mlp())
    assert (graph.edges, graph.nodes) == (1482, 109)


def test_the_small_cnn_of_the_zoo_has_4970_edges_and_63_nodes():
    layers = [nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()]
    graph = model_to_graph(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)))
    assert (graph.edges, graph.nodes) == (4970, 63)


@pytest.mark.parametrize("network", [mlp, cnn, DeepSet, Residual])
def test_every_parameter_is_one_edge(network):
    model = network()
    assert model_to_graph(model).parameters == sum(p.numel() for p in model.parameters())


def test_sums_and_norms_have_their_nodes_and_edges():
    graph = model_to_graph(Residual())
    assert graph.edges == sum(p.numel() for p in Residual().parameters()) + 4  # of value 1, one a channel
    assert graph.nodes == (1 + 4 + 4 + 2) + 3 + 2  # channels, three biases, γ and β


def edge_ends(graph, joint):
    """Source and target node of every edge of a joint, each (edges,), in the order of its values."""
    source, target = graph.node_sets[joint.source], graph.node_sets[joint.target]
    rows, columns, places = torch.meshgrid(*(torch.arange(n) for n in joint.shape), indexing="ij")
    first = rows if joint.one_to_one else columns
    return (source.start + first).flatten(), (target.start + rows).flatten() + 0 * places.flatten()


def test_edges_end_where_the_tensor_says():
    graph = model_to_graph(nn.Sequential(nn.Linear(2, 3)))
    weight, bias = graph.joints
    source, target = edge_ends(graph, weight)
    assert list(zip(source.tolist(), target.tolist(), strict=True)) == [(0, 2), (1, 2), (0, 3), (1, 3), (0, 4), (1, 4)]
    assert [t.tolist() for t in edge_ends(graph, bias)] == [[5, 5, 5], [2, 3, 4]]


def test_a_flattened_map_is_one_edge_for_each_place_of_its_channel():
    graph = model_to_graph(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 5)))
    assert graph.joints[2].shape == (5, 2, 9)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Attention(), "MultiheadAttention is not supported"),
        (nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(10, 2)), "10 inputs do not divide among 3 channels"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "grouped convolutions"),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(2)), "expected 4 channels, got 2"),
        (nn.Sequential(nn.ReLU()), "has no parameters"),
        (nn.Linear(2, 2), "put it into nn.Sequential"),
    ],
)
def test_what_has_no_graph_is_refused_by_name(model, said):
    with pytest.raises(ValueError, match=said):
        model_to_graph(model)


def test_more_refusals():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(2, 1)

        def forward(self, x):
            return self.a(x) + self.b(x)

    class Loop(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 2)

        def forward(self, x):
            return torch.fft.fft(self.a(x))

    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(2, 1)

        def forward(self, x):
            return self.a(x)

    for model, said in [
        (Wide(), "a sum of"),
        (Loop(), "cannot be traced"),
        (Odd(), "'fft_fft'"),
        (Unused(), "no edge"),
    ]:
        with pytest.raises(ValueError, match=said):
            model_to_graph(model)


def test_a_state_of_another_shape_is_refused():
    graph = model_to_graph(nn.Sequential(nn.Linear(2, 3)))
    with pytest.raises(ValueError, match=r"expected '0.weight' of shape \(3, 2\), got \(3, 1\)"):
        graph.check({"0.weight": torch.zeros(3, 1), "0.bias": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"expected a tensor '0\.bias'"):
        graph.check({"0.weight": torch.zeros(3, 2)})
