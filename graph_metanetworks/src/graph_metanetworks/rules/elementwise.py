"""Functions without parameters that act on every entry, or on places only: nodes are passed on, with the name noted."""

from __future__ import annotations

import operator
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import nn

from ..builder import GraphBuilder
from ..registry import UnsupportedModuleError, register_function, register_module
from ..values import Activation, grid_codes
from .sums import attach, negate

SAME = {  # function or method name -> what it is called on nodes
    torch.relu: "relu", F.relu: "relu", "relu": "relu", F.gelu: "gelu", torch.sin: "sin", "sin": "sin",
    torch.cos: "cos", "cos": "cos", torch.tanh: "tanh", F.tanh: "tanh", "tanh": "tanh", torch.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid", "sigmoid": "sigmoid", F.silu: "silu", F.leaky_relu: "leaky_relu", F.elu: "elu",
    F.softplus: "softplus", F.relu6: "relu6", F.hardtanh: "hardtanh", F.mish: "mish", F.selu: "selu",
    torch.exp: "exp", "exp": "exp", torch.abs: "abs", "abs": "abs", torch.square: "square", "square": "square",
    torch.sqrt: "sqrt", "sqrt": "sqrt", torch.pow: "pow", "pow": "pow", operator.pow: "pow",
    torch.clamp: "clamp", "clamp": "clamp", torch.erf: "erf", "erf": "erf",
}  # fmt: skip
SAME_MODULES = {
    nn.ReLU: "relu", nn.GELU: "gelu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.SiLU: "silu",
    nn.LeakyReLU: "leaky_relu", nn.ELU: "elu", nn.Softplus: "softplus", nn.ReLU6: "relu6", nn.Hardtanh: "hardtanh",
    nn.Mish: "mish", nn.SELU: "selu", nn.Hardswish: "hardswish", nn.Hardsigmoid: "hardsigmoid",
}  # fmt: skip
PLACES = (  # pooling, padding and resizing: they change places, never neurons
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.Upsample, nn.ZeroPad1d, nn.ZeroPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad2d,
)  # fmt: skip
PLACE_FUNCTIONS = (
    F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.interpolate,
)  # fmt: skip


def elementwise(builder: GraphBuilder, x: Activation, function, name: str, *args, **kwargs) -> Activation:
    """The same nodes, which from here on are known to go through `name`."""
    detail = [a for a in args if isinstance(a, int | float)]
    detail += [f"{k}={v}" for k, v in sorted(kwargs.items()) if isinstance(v, int | float | str) and k != "inplace"]
    x = builder.operate(x, name)
    if detail:
        builder.operate(x, f"({', '.join(map(str, detail))})", copied=True)
    return Activation(x.ids, x.sites, builder.emit(function, x, *args, **kwargs))


def over_places(builder: GraphBuilder, x: Activation, function, name: str, *args, **kwargs) -> Activation:
    """Channels stay, the grid becomes another one."""
    x, channels, _ = builder.neurons(builder.operate(x, name), 1)
    shape = function(torch.empty(x.ids.shape, device="meta"), *args, **kwargs).shape
    ids = channels.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)
    return Activation(ids, grid_codes(tuple(shape[2:])).expand(shape), builder.emit(function, x, *args, **kwargs))


def _function_rule(function, name: str):
    called = getattr(torch.Tensor, function) if isinstance(function, str) else function

    def rule(builder, x, *args, **kwargs):
        return elementwise(builder, x, called, name, *args, **kwargs)

    return rule


def _module_rule(name: str):
    def rule(builder, module, x):
        settings = module.extra_repr().replace("inplace=True", "")
        label = name if name in PLAIN else f"{name} {settings}".strip()
        return elementwise(builder, x, _own(module), label)

    return rule


PLAIN = ("relu", "tanh", "sigmoid", "silu")


def _own(module: nn.Module) -> nn.Module:
    """A copy of a module without parameters, never in place, for the program to keep."""
    copied = deepcopy(module)
    if getattr(copied, "inplace", False):
        copied.inplace = False
    return copied


for _key, _name in SAME.items():
    register_function(_key)(_function_rule(_key, _name))
for _cls, _name in SAME_MODULES.items():
    register_module(_cls)(_module_rule(_name))


def _places_module(builder, module, x):
    return over_places(builder, x, _own(module), f"{type(module).__name__} {module.extra_repr()}")


def _places_function(function):
    def rule(builder, x, *args, **kwargs):
        return over_places(builder, x, function, f"{function.__name__} {args} {kwargs}", *args, **kwargs)

    return rule


for _cls in PLACES:
    register_module(_cls)(_places_module)
for _function in PLACE_FUNCTIONS:
    register_function(_function)(_places_function(_function))


@register_module(nn.Identity)
@register_module(nn.Dropout)
@register_module(nn.Dropout1d)
@register_module(nn.Dropout2d)
@register_module(nn.AlphaDropout)
def same(builder, module, x):
    return x


@register_function(F.dropout, "contiguous", "clone", "detach", "float", torch.clone)
def same_function(builder, x, *_, **__):
    return x


register_function(operator.neg, torch.neg, "neg")(negate)


@register_module(nn.PReLU)
def prelu(builder: GraphBuilder, module: nn.PReLU, x: Activation) -> Activation:
    """A slope per channel, or one for all: then every channel has an edge, and all are tied."""
    x, channels, _ = builder.neurons(builder.operate(x, "prelu"), 1)
    index = builder.weight(module.weight).index
    slot, _ = attach(builder, channels, index, "learned", "scale")
    return Activation(x.ids, x.sites, builder.emit(F.prelu, x, slot))


@register_module(nn.Softmax2d)
@register_module(nn.LocalResponseNorm)
def order_of_channels(builder, module, x):
    raise UnsupportedModuleError(builder.path, type(module).__name__, "it depends on the order of channels")
