"""Sums, products and contractions of activations, and parameters that are added or multiplied entry by entry."""

from __future__ import annotations

import math
import operator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..builder import GraphBuilder, compact
from ..program import EntrySlot
from ..registry import UnsupportedModuleError, register_function, register_module
from ..values import Activation, Constant, Runtime, Weight, encode
from .linear import linear


def combine(builder: GraphBuilder, ids: list[Tensor], kind: str, edges: list[tuple[str, float]]):
    """A new node for every distinct tuple of nodes that meets somewhere, with an edge from each of the tuple.

    ids: broadcastable. edges: type and value of the edge from each. Returns the new ids and a slot per part.
    """
    parts = torch.broadcast_tensors(*[compact(i) for i in ids])
    tuples = torch.stack([p.reshape(-1).long() for p in parts])
    unique, inverse = torch.unique(tuples, dim=1, return_inverse=True)
    new = builder.nodes(unique.shape[1], kind, builder.layer_of(*ids))
    result = new[inverse].view(parts[0].shape)
    slots = []
    for part, sources, (edge, value) in zip(parts, unique, edges, strict=True):
        block = builder.connect(sources, new, value, edge)
        slots.append(builder.entries(block, part, result))
    return result, slots


def attach(
    builder: GraphBuilder, ids: Tensor, index: Tensor, node: str, edge: str, indexed: bool = False
) -> tuple[EntrySlot, Tensor]:
    """Edges of a parameter that meets the neurons `ids` entry by entry (both broadcast): gains, biases, positions.

    Every node gets an edge for each parameter that it meets. They come from one node with their number as position, or
    from `indexed` nodes, one for each number. Returns the slot, shaped like `index`, and the source nodes.
    """
    ids, met = torch.broadcast_tensors(compact(ids), index)
    scale = int(index.max()) + 1
    pairs = torch.unique(ids.reshape(-1).long() * scale + met.reshape(-1).long())
    target, param = pairs // scale, pairs % scale
    counts = torch.unique_consecutive(target, return_counts=True)[1]
    rank = torch.arange(len(target)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    width = int(counts.max())
    sources = builder.nodes(width if indexed else 1, node, builder.layer_of(ids), indexed=indexed and width > 1)
    codes = torch.zeros_like(rank)
    if not indexed and width > 1:
        codes = encode(torch.stack([rank, *[torch.full_like(rank, -1)] * 2], -1))
    source = sources[rank] if indexed else sources.expand(len(rank))
    if bool((counts == width).all()):
        shape = (-1, width, 1) if indexed else (-1, 1, width)
        first = sources.view(1, -1, 1)
        args = first, target.view(-1, width)[:, 0].view(-1, 1, 1), param.view(shape), edge
        block = builder.connect(*args, codes=codes.view(shape), dense=True)
    else:
        block = builder.connect(source, target, param, edge, codes=codes)
    order = torch.argsort(param, stable=True)
    place = order[torch.searchsorted(param[order], index.reshape(-1).long())].view(index.shape)
    return EntrySlot(block, source[place], target[place], codes[place]), sources


def attach_constant(builder: GraphBuilder, ids: Tensor, tensor: Tensor) -> None:
    """Edges that tell neurons apart to which a fixed tensor does different things, by its values."""
    ids, met = torch.broadcast_tensors(compact(ids), tensor.double())
    if bool((met == met.reshape(-1)[0]).all()):
        return
    flat, values = ids.reshape(-1).long(), met.reshape(-1)
    order = torch.argsort(flat, stable=True)
    target, values = flat[order], values[order]
    counts = torch.unique_consecutive(target, return_counts=True)[1]
    rank = torch.arange(len(target)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    source = builder.nodes(1, "constant", builder.layer_of(ids))
    index = torch.tensor([builder.constant(float(v)) for v in values.tolist()], dtype=torch.int32)
    codes = encode(torch.stack([rank, *[torch.full_like(rank, -1)] * 2], -1))
    builder.connect(source.expand(len(target)), target, index, "constant", codes=codes)


def add(builder: GraphBuilder, a, b, sign: float = 1.0) -> Activation:
    """a + sign·b of activations, parameters, fixed tensors and numbers."""
    if not isinstance(a, Activation):
        return add(builder, b, a) if sign == 1.0 else add(builder, negate(builder, b), a)
    if isinstance(b, int | float | Runtime) or (isinstance(b, Constant) and b.tensor.numel() == 1):
        a = builder.operate(a, f"add {sign} {_number(b)}")
        return Activation(a.ids, a.sites, builder.emit(torch.add, a, b, alpha=sign))
    if isinstance(b, Weight | Constant):
        return add_tensor(builder, a, b, sign)
    return builder.layout.add(builder, a, b, sign)


def negate(builder: GraphBuilder, x: Activation) -> Activation:
    x = builder.operate(x, "neg")
    return Activation(x.ids, x.sites, builder.emit(torch.neg, x))


def as_activation(builder: GraphBuilder, weight: Weight | Constant) -> Activation:
    """A parameter that stands beside activations (a class token): neurons on its last axis, their values its edges."""
    shape = weight.index.shape if isinstance(weight, Weight) else weight.tensor.shape
    ids = builder.nodes(shape[-1], "neuron", 0).expand(shape)
    if isinstance(weight, Constant):
        attach_constant(builder, ids, weight.tensor)
        return Activation(ids, torch.zeros(shape).long(), builder.emit(torch.clone, weight.tensor))
    slot, _ = attach(builder, ids, weight.index, "token", "token", indexed=True)
    return Activation(ids, torch.zeros(shape).long(), builder.emit(torch.clone, slot))


def add_tensor(builder: GraphBuilder, x: Activation, b: Weight | Constant, sign: float) -> Activation:
    """x + a parameter (learned positions: indexed nodes with an edge to each neuron) or a fixed tensor."""
    x = builder.layout.before_tensor(builder, x)
    if isinstance(b, Constant):
        attach_constant(builder, x.ids, sign * b.tensor)
        tensor = b.tensor
    else:
        tensor, _ = attach(builder, x.ids, b.index, "token", "token", indexed=True)
        if sign != 1.0:
            builder.operate(x, f"minus a parameter {sign}", copied=True)
    shape = torch.broadcast_shapes(x.ids.shape, (b.tensor if isinstance(b, Constant) else b.index).shape)
    ref = builder.emit(torch.add, x, tensor, alpha=sign)
    return Activation(x.ids.expand(shape), x.sites.expand(shape), ref)


def scaled_sum(a: Tensor, scale_a: Tensor, b: Tensor, scale_b: Tensor) -> Tensor:
    """What a node computes that gets two residual edges."""
    return a * scale_a + b * scale_b


def multiply(builder: GraphBuilder, a, b) -> Activation:
    """a·b of activations (product nodes), of a parameter (gain edges) or a number."""
    if not isinstance(a, Activation):
        a, b = b, a
    if isinstance(b, int | float | Runtime) or (isinstance(b, Constant) and b.tensor.numel() == 1):
        a = builder.operate(a, f"times {_number(b)}")
        return Activation(a.ids, a.sites, builder.emit(torch.mul, a, b))
    if isinstance(b, Weight):
        a = builder.layout.before_tensor(builder, a)
        slot, _ = attach(builder, a.ids, b.index, "learned", "scale")
        shape = torch.broadcast_shapes(a.ids.shape, b.index.shape)
        return Activation(a.ids.expand(shape), a.sites.expand(shape), builder.emit(torch.mul, a, slot))
    if isinstance(b, Constant):
        a = builder.layout.before_tensor(builder, a)
        builder.operate(a, "times a fixed tensor", copied=True)
        attach_constant(builder, a.ids, b.tensor)
        return Activation(a.ids, a.sites, builder.emit(torch.mul, a, b))
    ids, _ = combine(builder, [a.ids, b.ids], "product", [("left", 1.0), ("left", 1.0)])
    shape = torch.broadcast_shapes(a.ids.shape, b.ids.shape)
    return Activation(ids.expand(shape), a.sites.expand(shape), builder.emit(torch.mul, a, b))


def divide(builder: GraphBuilder, a, b) -> Activation:
    if isinstance(a, Activation) and isinstance(b, int | float | Runtime):
        a = builder.operate(a, f"over {_number(b)}")
        return Activation(a.ids, a.sites, builder.emit(torch.div, a, b))
    if not (isinstance(a, Activation) and isinstance(b, Activation)):
        raise UnsupportedModuleError(
            builder.path, "division", "by or of something that is neither activation nor number"
        )
    ids, _ = combine(builder, [a.ids, b.ids], "product", [("left", 1.0), ("right", 1.0)])
    shape = torch.broadcast_shapes(a.ids.shape, b.ids.shape)
    return Activation(ids.expand(shape), a.sites.expand(shape), builder.emit(torch.div, a, b))


def contract(builder: GraphBuilder, a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Σ_j a_j b_j over the last axis of two id tensors: a node for each pair, a node for each distinct set of pairs."""
    pairs, _ = combine(builder, [a, b], "product", [("left", 1.0), ("right", 1.0)])
    return gather_rows(builder, pairs, kind, "contraction", 1.0)


def gather_rows(builder: GraphBuilder, rows: Tensor, kind: str, edge: str, value: float) -> Tensor:
    """A new node for every distinct row (last axis) of ids, with an edge from each of its nodes."""
    flat = rows.reshape(-1, rows.shape[-1]).long()
    unique, inverse = torch.unique(flat, dim=0, return_inverse=True)
    new = builder.nodes(len(unique), kind, builder.layer_of(rows))
    builder.connect(unique.reshape(-1), new.repeat_interleave(flat.shape[1]), value, edge)
    return new[inverse].view(rows.shape[:-1])


def matmul(builder: GraphBuilder, a, b) -> Activation:
    """a @ b: with a parameter a linear map; over neurons a contraction; over places (attention weights) products."""
    if isinstance(a, Activation) and isinstance(b, Weight) and b.index.ndim == 2:
        return linear(builder, a, Weight(b.index.T))
    if not (isinstance(a, Activation) and isinstance(b, Activation)) or min(a.ids.ndim, b.ids.ndim) < 2:
        raise UnsupportedModuleError(
            builder.path, "matmul", "of something else than activations, or one times a parameter"
        )
    meta = [torch.empty(x.ids.shape, device="meta") for x in (a, b)]
    shape = torch.matmul(*meta).shape
    left, right = compact(a.ids), compact(b.ids)
    if left.shape[-1] == right.shape[-2] == 1:
        ids, _ = combine(builder, [left, right], "product", [("left", 1.0), ("right", 1.0)])
    else:
        size = a.ids.shape[-1]
        left = left.expand(*left.shape[:-1], size)[..., :, None, :]
        right = right.transpose(-1, -2)
        ids = contract(builder, left, right.expand(*right.shape[:-1], size)[..., None, :, :], "head")
    sites = a.sites[..., :1].expand(shape) if a.sites[..., :1].ndim == len(shape) else torch.zeros(shape).long()
    return Activation(ids.expand(shape), sites, builder.emit(torch.matmul, a, b))


def couple(builder: GraphBuilder, ids: Tensor, axes: tuple[int, ...]) -> None:
    """Where several groups of neurons are normalised each by itself, a node joined to each group's neurons."""
    axes = tuple(axis % ids.ndim for axis in axes)
    ids = compact(ids)
    rest = [a for a in range(ids.ndim) if a not in axes]
    rows = ids.permute(*rest, *axes).reshape(math.prod(ids.shape[a] for a in rest), -1).long()
    groups = torch.unique(rows.sort(1).values, dim=0)
    if rows.shape[1] > 1 and len(groups) > 1:
        builder.layout.group(builder, groups)


def reduce(builder: GraphBuilder, x: Activation, function, dim=None, keepdim: bool = False, **options) -> Activation:
    """mean, sum, max over places: nodes are passed on; over neurons: new nodes that gather them."""
    axes = tuple(range(x.ids.ndim)) if dim is None else ((dim,) if isinstance(dim, int) else tuple(dim))
    axes = sorted(a % x.ids.ndim for a in axes)
    if 0 in axes and x.ids.ndim > 1 and dim is None:
        raise UnsupportedModuleError(builder.path, function.__name__, "over the whole batch")
    x = builder.operate(x, f"{function.__name__} over {axes}")
    ids = compact(x.ids)
    over = [a for a in axes if ids.shape[a] > 1]
    first = tuple(slice(0, 1) if a in axes else slice(None) for a in range(x.ids.ndim))
    if over:
        rest = [a for a in range(ids.ndim) if a not in over]
        rows = ids.permute(*rest, *over).flatten(len(rest))
        small = [ids.shape[a] for a in rest]
        new = gather_rows(builder, rows, "reduction", "reduction", 1.0).view(small)
        for a in over:
            new = new.unsqueeze(a)
        ids = new
    ids = ids.expand([1 if a in axes else n for a, n in enumerate(x.ids.shape)])
    sites = x.sites[first]
    if not keepdim:
        for a in reversed(axes):
            ids, sites = ids.squeeze(a), sites.squeeze(a)
    arguments = {"keepdim": keepdim, **options} | ({} if dim is None else {"dim": dim})
    return Activation(ids, sites, builder.emit(function, x, **arguments))


def _number(b) -> float:
    if isinstance(b, Constant):
        return float(b.tensor)
    return b.value if isinstance(b, Runtime) else b


def _reduction(function):
    def rule(builder, x, dim=None, keepdim=False, **options):
        return reduce(builder, x, function, dim, keepdim, **options)

    return rule


for _function in (torch.mean, torch.sum, torch.amax, torch.amin):
    register_function(_function, _function.__name__)(_reduction(_function))


@register_function(operator.add, operator.iadd, torch.add, "add", "add_")
def add_function(builder, a, b, alpha=1.0):
    return add(builder, a, b, float(alpha))


@register_function(operator.sub, operator.isub, torch.sub, "sub")
def subtract_function(builder, a, b):
    return add(builder, a, b, -1.0)


register_function(operator.mul, operator.imul, torch.mul, "mul", "mul_")(multiply)
register_function(operator.truediv, torch.div, "div", "div_")(divide)
register_function(operator.matmul, torch.matmul, torch.bmm, "matmul", "bmm")(matmul)


def _softmax(function):
    def rule(builder, x, dim=-1, **_):
        x = builder.operate(x, "softmax" if function is torch.softmax else function.__name__)
        couple(builder, x.ids, (dim,))
        return Activation(x.ids, x.sites, builder.emit(function, x, dim=dim))

    return rule


for _function, _names in (
    (torch.softmax, (F.softmax, torch.softmax, "softmax")),
    (torch.log_softmax, (F.log_softmax, torch.log_softmax, "log_softmax")),
):
    register_function(*_names)(_softmax(_function))


@register_module(nn.Softmax)
def softmax_module(builder, module, x):
    return _softmax(torch.softmax)(builder, x, module.dim)


@register_module(nn.LogSoftmax)
def log_softmax_module(builder, module, x):
    return _softmax(torch.log_softmax)(builder, x, module.dim)
