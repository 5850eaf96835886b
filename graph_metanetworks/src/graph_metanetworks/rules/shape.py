"""Views, permutations, chunks and the like: the network's own calls, on ids and places instead of values."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_map

from ..builder import GraphBuilder, compact
from ..registry import register_function, register_module
from ..values import Activation, Constant, Runtime, Weight, grid_codes
from .sums import as_activation

FUNCTIONS = (
    torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.unsqueeze, torch.squeeze, torch.chunk,
    torch.split, torch.unbind, torch.movedim, torch.swapaxes, torch.roll, torch.flip, torch.narrow,
    F.pixel_shuffle, F.pixel_unshuffle, torch.repeat_interleave, torch.t,
)  # fmt: skip
METHODS = (
    "flatten", "reshape", "view", "permute", "transpose", "unsqueeze", "squeeze", "chunk", "split", "unbind",
    "movedim", "swapaxes", "roll", "flip", "narrow", "expand", "repeat", "unflatten", "t", "expand_as", "view_as",
)  # fmt: skip


def structural(builder: GraphBuilder, function, x, *args, **kwargs):
    """`function` moves entries about: it is applied to ids and places alike. On a parameter, to its indices."""
    plain = [tree_map(_value, a) for a in args], {k: tree_map(_value, v) for k, v in kwargs.items()}
    if isinstance(x, Weight):
        return tree_map(Weight, function(x.index, *plain[0], **plain[1]))
    if isinstance(x, Constant):
        return tree_map(Constant, function(x.tensor, *plain[0], **plain[1]))
    if isinstance(x, Runtime | tuple | list):
        return function(x.value if isinstance(x, Runtime) else x, *plain[0], **plain[1])
    x = builder.operate(x, f"{_name(function)} {plain}")
    ids, sites = (function(part, *plain[0], **plain[1]) for part in (x.ids, x.sites))
    ref = builder.emit(function, x, *args, **kwargs)
    if isinstance(ids, torch.Tensor):
        return Activation(ids, sites, ref)
    parts = [
        Activation(i, s, builder.emit(operator.getitem, ref, n))
        for n, (i, s) in enumerate(zip(ids, sites, strict=True))
    ]
    if len(parts) > 1 and torch.equal(compact(parts[0].ids), compact(parts[1].ids)):  # the same neurons, other places
        with builder.sharing(True):
            parts = [builder.operate(part, f"part {n}") for n, part in enumerate(parts)]
    return tuple(parts)


def _name(function) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _value(item):
    return item.value if isinstance(item, Runtime) else (item.ids if isinstance(item, Activation) else item)


def _rule(function):
    called = getattr(torch.Tensor, function) if isinstance(function, str) else function

    def rule(builder, x, *args, **kwargs):
        return structural(builder, called, x, *args, **kwargs)

    return rule


for _function in (*FUNCTIONS, *METHODS):
    register_function(_function)(_rule(_function))


@register_function(operator.getitem)
def getitem(builder: GraphBuilder, x, index):
    if isinstance(x, tuple | list):
        return x[_value(index)]
    if isinstance(x, Runtime):
        return Runtime(x.value[_value(index)], builder.emit(operator.getitem, x, index))
    return structural(builder, operator.getitem, x, index)


def concatenate(tensors, dim: int):
    """`torch.cat` of tensors that may have a batch of one where others have more: a class token beside patches."""
    dim %= tensors[0].ndim
    sizes = [max(t.shape[a] for t in tensors) for a in range(tensors[0].ndim)]
    return torch.cat([t.expand(*[t.shape[a] if a == dim else n for a, n in enumerate(sizes)]) for t in tensors], dim)


def side_by_side(builder: GraphBuilder, tensors, dim: int) -> tuple[Activation, list[Activation]]:
    """The concatenation, every entry with the node that it had, and its parts."""
    parts = [x if isinstance(x, Activation) else as_activation(builder, x) for x in tensors]
    ids, sites = torch.cat([x.ids for x in parts], dim), torch.cat([x.sites for x in parts], dim)
    return Activation(ids, sites, builder.emit(concatenate, parts, dim)), parts


@register_function(torch.cat, torch.concat)
def cat(builder: GraphBuilder, tensors, dim: int = 0):
    """Neurons side by side keep their nodes. Places side by side (a class token and patches) are joined."""
    result, parts = side_by_side(builder, tensors, dim)
    dim %= result.ids.ndim
    varying = [a for a in range(result.ids.ndim) if a != dim and any(compact(x.ids).shape[a] > 1 for x in parts)]
    if not varying or any(compact(x.ids).shape[dim] > 1 for x in parts) or compact(result.ids).shape[dim] == 1:
        return result
    shape = [result.ids.shape[dim] if a == dim else 1 for a in range(result.ids.ndim)]
    places = grid_codes((result.ids.shape[dim],)).view(shape).expand(result.ids.shape)
    return builder.join(Activation(result.ids, places, result.ref), varying[-1])


@register_function(torch.stack)
def stack(builder: GraphBuilder, tensors, dim: int = 0):
    """Every entry keeps its node, whatever axis they are stacked on."""
    return side_by_side(builder, [structural(builder, torch.unsqueeze, x, dim) for x in tensors], dim)[0]


@register_function(getattr, "size", "dim")
def size(builder: GraphBuilder, x, *args):
    """x.shape, x.size(k): a number that may be another one when the graph is executed."""
    if args and isinstance(args[0], str):
        name, value = args[0], x.ids if isinstance(x, Activation) else x
        if name == "T" and isinstance(x, Activation | Weight | Constant):
            return structural(builder, torch.t, x)
        if isinstance(x, Weight | Constant) and name in ("shape", "ndim"):
            return getattr(x.index if isinstance(x, Weight) else x.tensor, name)
        if not isinstance(x, Activation):
            return getattr(x.value if isinstance(x, Runtime) else x, name)
        if name not in ("shape", "ndim"):
            return getattr(value, name)
        return _runtime(builder, getattr, x, name)
    return _runtime(builder, torch.Tensor.size, x, *args)


def _runtime(builder: GraphBuilder, function, x, *args):
    if isinstance(x, Weight | Constant):
        return function(x.index if isinstance(x, Weight) else x.tensor, *args)
    return Runtime(function(x.ids, *args), builder.emit(function, x, *args))


@register_module(nn.Flatten)
@register_module(nn.Unflatten)
@register_module(nn.PixelShuffle)
@register_module(nn.PixelUnshuffle)
def structural_module(builder: GraphBuilder, module: nn.Module, x: Activation) -> Activation:
    return structural(builder, module, x)


def arithmetic(builder: GraphBuilder, function, *args):
    """Arithmetic of runtime numbers: x.shape[1] // 2."""
    return Runtime(function(*[tree_map(_value, a) for a in args]), builder.emit(function, *args))
