"""What the builder does not know is refused by name, and can be taught."""

import pytest
import torch
import torch.nn.functional as F
from samples import mlp
from torch import nn

from graph_metanetworks import UnsupportedModuleError, build_parameter_graph, register_module
from graph_metanetworks.registry import MODULES
from graph_metanetworks.rules import linear


def test_an_unknown_module_is_named_with_its_path_and_the_remedy():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.ModuleDict({"mix": nn.Bilinear(3, 3, 2)})

        def forward(self, x):
            return self.body["mix"](x, x)

    with pytest.raises(UnsupportedModuleError, match=r"body\.mix: Bilinear: no rule.*@register_module\(Bilinear\)"):
        build_parameter_graph(Net(), torch.randn(1, 3))


class Scaled(nn.Module):
    """A linear map whose forward torch.fx cannot trace."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3))

    def forward(self, x):
        return F.linear(x, self.weight) if x.sum() > -1e9 else x


def test_a_registered_rule_is_used():
    model = nn.Sequential(Scaled(), nn.ReLU())
    with pytest.raises(UnsupportedModuleError, match="cannot trace its forward pass"):
        build_parameter_graph(model, torch.randn(1, 3))

    @register_module(Scaled)
    def rule(builder, module, x):
        return linear(builder, x, builder.weight(module.weight))

    try:
        graph = build_parameter_graph(model, torch.randn(1, 3))
        x = torch.randn(4, 3)
        assert graph.num_edges == 6
        assert torch.allclose(graph.execute(x, values=graph.edge_values(model)), model(x))
    finally:
        del MODULES[Scaled]


class Holds(nn.Module):
    """A network from a function of itself and its input."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleDict(parts)
        self.weight = nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        return self.function(self, x)


@pytest.mark.parametrize(
    ("model", "shape", "said"),
    [
        (Holds(lambda m, x: torch.fft.fft(x)), (3,), "fft_fft.*no rule for this function"),
        (Holds(lambda m, x: F.linear(x, torch.ones(3, 3))), (3,), "weight is no parameter"),
        (Holds(lambda m, x: F.scaled_dot_product_attention(x, x, x, attn_mask=m.weight)), (3, 3),
         "its mask is no fixed"),
        (Holds(lambda m, x: F.scaled_dot_product_attention(*3 * [x.transpose(1, 2)])), (4, 3), "axis -2 holds neurons"),
        (Holds(lambda m, x: 1 / x), (3,), "division: by or of something"),
        (Holds(lambda m, x: m.weight @ x), (3, 3), "matmul: of something else"),
        (Holds(lambda m, x: x.mean()), (3,), "mean: over the whole batch"),
        (nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")), (1, 4, 4), "padding mode 'circular'"),
        (nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)), (3,), "keeps no running statistics"),
        (nn.Sequential(nn.InstanceNorm1d(3, track_running_stats=True)), (3, 4), "keeps running statistics"),
        (nn.Sequential(nn.Conv1d(1, 3, 1), nn.LocalResponseNorm(2)), (1, 4), "depends on the order of channels"),
        (nn.Sequential(nn.Linear(3, 4), nn.Embedding(4, 2)), (3,), "its input is no input of the net"),
        (nn.Sequential(nn.Embedding(4, 2, max_norm=1.0)), "words", "max_norm is set"),
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Unflatten(1, (8, 1)), nn.Conv1d(8, 1, 1)), (1, 6),
         "its input channels are places"),
    ],
)  # fmt: skip
def test_what_has_no_graph_is_refused(model, shape, said):
    x = torch.randint(0, 4, (1, 3)) if shape == "words" else torch.randn(1, *shape)
    with pytest.raises(UnsupportedModuleError, match=said):
        build_parameter_graph(model, x)


def attend(**options):
    inner = nn.MultiheadAttention(4, 2, batch_first=True, **options.pop("init", {}))

    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x, x, x, **{k: v(x) for k, v in options.items()})[0]

    return Attend()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (attend(init={"add_bias_kv": True}), "bias_k and add_zero_attn have no rule"),
        (attend(key_padding_mask=lambda x: x[..., 0]), "a key_padding_mask has no rule"),
        (attend(attn_mask=lambda x: x[0]), "its mask is no fixed tensor"),
        (nn.Sequential(nn.Conv1d(1, 3, 1), nn.Flatten(), nn.Unflatten(1, (1, 12)), nn.MultiheadAttention(12, 1)),
         "missing 2 required positional"),
    ],
)  # fmt: skip
def test_attention_with_unknown_options_is_refused(model, said):
    with pytest.raises((UnsupportedModuleError, TypeError), match=said):
        build_parameter_graph(model, torch.randn(1, 1 if "missing" in said else 3, 4))


def test_the_paper_style_refuses_what_the_paper_does_not_draw():
    grouped = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2))
    with pytest.raises(UnsupportedModuleError, match="the paper's style has no grouped ones"):
        build_parameter_graph(grouped, torch.randn(1, 2, 5, 5), style="paper")
    flattened = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 2))
    with pytest.raises(UnsupportedModuleError, match="global pooling before it; use style='exact'"):
        build_parameter_graph(flattened, torch.randn(1, 1, 5, 5), style="paper")
    minus = Holds(lambda m, x: m.parts["a"](x) - m.parts["b"](x), a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    with pytest.raises(UnsupportedModuleError, match="subtraction: the paper's style has none"):
        build_parameter_graph(minus, torch.randn(1, 3), style="paper")


def test_unused_parameters_and_wrong_inputs_are_named():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(ValueError, match=r"parameters without an edge: idle\.weight, idle\.bias"):
        build_parameter_graph(Unused(), torch.randn(1, 3))
    with pytest.raises(ValueError, match="a batch axis and features expected"):
        build_parameter_graph(mlp(3, 2), torch.randn(3))
    with pytest.raises(ValueError, match="whole numbers as an input can only go to an Embedding"):
        build_parameter_graph(mlp(3, 2), torch.ones(1, 3, dtype=torch.long))

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 2)

        def forward(self, x, y):
            return self.a(x) + y

    with pytest.raises(ValueError, match="takes more inputs than the 1 examples"):
        build_parameter_graph(Two(), torch.randn(1, 3))
    assert build_parameter_graph(Two(), (torch.randn(1, 3), torch.randn(1, 2))).num_parameters == 8
