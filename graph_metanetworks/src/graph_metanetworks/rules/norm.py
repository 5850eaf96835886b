"""Normalisations: a γ node and a β node, with an edge to each neuron that they scale and shift."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..builder import GraphBuilder, compact
from ..registry import UnsupportedModuleError, register_function, register_module
from ..values import Activation, Constant, Weight
from .sums import attach, couple

BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def norm(builder: GraphBuilder, x: Activation, tensors: dict[str, tuple[Weight | Constant | None, str]], shape) -> dict:
    """Edges for the tensors of a normalisation: name -> slot. shape: how a tensor broadcasts against the activation.

    tensors: argument name -> (weight, type of its node and edges).
    """
    slots = {}
    for name, (weight, kind) in tensors.items():
        if weight is None:
            slots[name] = None
        elif isinstance(weight, Constant):
            slots[name] = weight.tensor
        else:
            slot, _ = attach(builder, x.ids, weight.index.reshape(shape), kind, kind)
            flat = [t.reshape(weight.index.shape) for t in (slot.sources, slot.targets, slot.codes)]
            slots[name] = type(slot)(slot.block, *flat)
    return slots


def _channel_shape(x: Activation) -> list[int]:
    return [1, -1, *[1] * (x.ids.ndim - 2)]


def batch_norm_module(builder: GraphBuilder, module: nn.BatchNorm2d, x: Activation) -> Activation:
    """In evaluation mode: running statistics are edges of their own where buffers are included."""
    if module.running_mean is None:
        raise UnsupportedModuleError(builder.path, type(module).__name__, "it keeps no running statistics")
    x = builder.layout.before_tensor(builder, x)
    tensors = {
        "weight": (builder.weight(module.weight), "bn_gamma"),
        "bias": (builder.weight(module.bias), "bn_beta"),
        "running_mean": (builder.weight(module.running_mean), "bn_mean"),
        "running_var": (builder.weight(module.running_var), "bn_var"),
    }
    slots = norm(builder, x, tensors, _channel_shape(x))
    builder.operate(x, "batch_norm", copied=True)
    return Activation(x.ids, x.sites, builder.emit(batch_norm, x, **slots, eps=module.eps))


def batch_norm(x, weight, bias, running_mean, running_var, eps: float):
    """Evaluation mode, differentiable in the statistics too, which are edges like the others."""
    shape = [1, -1, *[1] * (x.ndim - 2)]
    y = (x - running_mean.view(shape)) / (running_var.view(shape) + eps).sqrt()
    y = y if weight is None else y * weight.view(shape)
    return y if bias is None else y + bias.view(shape)


def layer_norm(builder: GraphBuilder, x: Activation, shape, weight=None, bias=None, eps: float = 1e-5) -> Activation:
    """Over the last axes. Where several groups of neurons are normalised each by itself, nodes tell them apart."""
    axes = tuple(range(-len(shape), 0))
    x = builder.layout.before_tensor(builder, x)
    couple(builder, x.ids, axes)
    slots = norm(builder, x, {"weight": (weight, "ln_gamma"), "bias": (bias, "ln_beta")}, list(shape))
    builder.operate(x, "layer_norm", copied=True)
    return Activation(x.ids, x.sites, builder.emit(F.layer_norm, x, list(shape), **slots, eps=eps))


@register_module(nn.LayerNorm)
def layer_norm_module(builder: GraphBuilder, module: nn.LayerNorm, x: Activation) -> Activation:
    weights = builder.weight(module.weight), builder.weight(module.bias)
    return layer_norm(builder, x, module.normalized_shape, *weights, module.eps)


@register_function(F.layer_norm)
def layer_norm_function(builder, x, shape, weight=None, bias=None, eps=1e-5):
    return layer_norm(builder, x, tuple(shape), weight, bias, eps)


@register_module(nn.GroupNorm)
def group_norm_module(builder: GraphBuilder, module: nn.GroupNorm, x: Activation) -> Activation:
    """In the exact style a node per group tells which channels are normalised together."""
    x = builder.layout.before_tensor(builder, x)
    channels = _channels(compact(x.ids), 1, module.num_channels)
    if module.num_groups > 1:
        builder.layout.group(builder, channels.view(module.num_groups, -1))
    tensors = {"weight": (builder.weight(module.weight), "gn_gamma"), "bias": (builder.weight(module.bias), "gn_beta")}
    slots = norm(builder, x, tensors, _channel_shape(x))
    builder.operate(x, "group_norm", copied=True)
    return Activation(x.ids, x.sites, builder.emit(F.group_norm, x, module.num_groups, **slots, eps=module.eps))


def instance_norm_module(builder: GraphBuilder, module: nn.InstanceNorm2d, x: Activation) -> Activation:
    if module.track_running_stats:
        raise UnsupportedModuleError(builder.path, type(module).__name__, "it keeps running statistics")
    x = builder.layout.before_tensor(builder, x)
    tensors = {"weight": (builder.weight(module.weight), "in_gamma"), "bias": (builder.weight(module.bias), "in_beta")}
    slots = norm(builder, x, tensors, _channel_shape(x))
    builder.operate(x, "instance_norm", copied=True)
    return Activation(x.ids, x.sites, builder.emit(F.instance_norm, x, **slots, eps=module.eps))


for _cls in BATCH:
    register_module(_cls)(batch_norm_module)
for _cls in INSTANCE:
    register_module(_cls)(instance_norm_module)

if hasattr(nn, "RMSNorm"):

    @register_module(nn.RMSNorm)
    def rms_norm_module(builder: GraphBuilder, module: nn.RMSNorm, x: Activation) -> Activation:
        x = builder.layout.before_tensor(builder, x)
        couple(builder, x.ids, tuple(range(-len(module.normalized_shape), 0)))
        tensors = {"weight": (builder.weight(module.weight), "rms_gamma")}
        slots = norm(builder, x, tensors, list(module.normalized_shape))
        builder.operate(x, "rms_norm", copied=True)
        ref = builder.emit(F.rms_norm, x, list(module.normalized_shape), **slots, eps=module.eps)
        return Activation(x.ids, x.sites, ref)


def _channels(ids: Tensor, axis: int, size: int) -> Tensor:
    first = tuple(slice(None) if a == axis else 0 for a in range(ids.ndim))
    return ids[first].expand(size) if ids.shape[axis] == 1 else ids[first]
