"""Linear maps: a complete bipartite block between neurons, with parallel edges for the taps of a kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..builder import GraphBuilder
from ..registry import UnsupportedModuleError, register_function, register_module
from ..values import Activation, Constant, Weight, grid_codes


def bias_slot(builder: GraphBuilder, target: Tensor, bias: Weight | None, node: str, edge: str):
    """One bias node with an edge to each output: the biases of a layer can speak to each other."""
    if bias is None:
        return None
    source = builder.nodes(1, node, builder.layer_of(target))
    block = builder.connect(source.view(1, 1, 1), target.view(-1, 1, 1), bias.index.view(-1, 1, 1), edge, dense=True)
    return builder.vector(block, target, source)


def learned(builder: GraphBuilder, *weights: Weight | Constant | None) -> None:
    """Raises UnsupportedModuleError where a linear map's weight is not a parameter."""
    for weight in weights:
        if weight is not None and not isinstance(weight, Weight):
            raise UnsupportedModuleError(
                builder.path, type(weight).__name__, "a linear map whose weight is no parameter"
            )


def linear(
    builder: GraphBuilder,
    x: Activation,
    weight: Weight,
    bias: Weight | None = None,
    nodes: tuple[str, str] = ("neuron", "bias"),
    edges: tuple[str, str] = ("lin_weight", "lin_bias"),
) -> Activation:
    """y = x Wᵀ + b on the last axis. W: (out, in). Flattened maps give parallel edges that carry (row, column)."""
    learned(builder, weight, bias)
    x, source, codes = builder.neurons(x, -1)
    builder.layout.check_linear(builder, codes)
    target = builder.nodes(len(weight.index), nodes[0], builder.layer_of(source) + 1)
    block = builder.connect(
        source[None, :, None],
        target[:, None, None],
        weight.index[:, :, None],
        edges[0],
        codes[None, :, None],
        dense=True,
    )
    slot = builder.matrix_slot(block, target, source, codes, weight.index.shape)
    ref = builder.emit(F.linear, x, slot, bias_slot(builder, target, bias, nodes[1], edges[1]))
    sites = x.sites[..., :1].expand(*x.sites.shape[:-1], len(target))
    return Activation(target.expand(sites.shape), sites, ref)


def convolution(
    builder: GraphBuilder,
    x: Activation,
    weight: Weight,
    bias: Weight | None,
    function,
    transposed: bool = False,
    groups: int = 1,
    **options,
) -> Activation:
    """A node per channel, prod(kernel) parallel edges per pair that carry the place in the kernel.

    weight: (out, in / groups, *kernel), or (in, out / groups, *kernel) if transposed. function: F.conv1d ...; the graph
    runs a grouped convolution as a full one whose other weights are zero.
    """
    learned(builder, weight, bias)
    builder.layout.check_groups(builder, groups)
    x, source, codes = builder.neurons(x, 1)
    if bool((codes != 0).any()):
        raise UnsupportedModuleError(builder.path, "convolution", "its input channels are places of one neuron")
    kernel = weight.index.shape[2:]
    shape = _output_shape(x, weight, function, groups, options)
    target = builder.nodes(shape[1], "channel", builder.layer_of(source) + 1)
    taps = grid_codes(tuple(kernel)).reshape(-1)
    block = _kernel_edges(builder, source, target, weight.index, taps, transposed, groups)
    columns = source.repeat_interleave(len(taps))
    full = (len(target), len(source), *kernel)
    slot = builder.matrix_slot(block, target, columns, taps.repeat(len(source)), full, transposed)
    ref = builder.emit(function, x, slot, bias_slot(builder, target, bias, "channel_bias", "conv_bias"), **options)
    return spread(target, shape, ref)


def _kernel_edges(builder, source, target, index, taps, transposed, groups) -> int:
    if groups == 1:
        index = index.transpose(0, 1) if transposed else index
        index = index.reshape(len(target), len(source), len(taps))
        return builder.connect(
            source[None, :, None], target[:, None, None], index, "conv_weight", taps.view(1, 1, -1), dense=True
        )
    source, target = source.view(groups, -1), target.view(groups, -1)
    index = index.reshape(groups, -1, index.shape[1], len(taps))
    index = index.transpose(1, 2) if transposed else index  # (groups, out, in, taps)
    return builder.connect(
        source[:, None, :, None], target[:, :, None, None], index, "conv_weight", taps.view(1, 1, 1, -1)
    )


def _output_shape(x: Activation, weight: Weight, function, groups: int, options) -> torch.Size:
    image = torch.empty(x.ids.shape, device="meta")
    return function(image, torch.empty(weight.index.shape, device="meta"), None, groups=groups, **options).shape


def spread(channels: Tensor, shape: torch.Size, ref) -> Activation:
    """Channels (C,) at all places of an activation of shape (1, C, *space)."""
    space = shape[2:]
    ids = channels.view(1, -1, *[1] * len(space)).expand(1, len(channels), *space)
    return Activation(ids, grid_codes(tuple(space)).expand(ids.shape), ref)


@register_module(nn.Linear)
def linear_module(builder: GraphBuilder, module: nn.Linear, x: Activation) -> Activation:
    return linear(builder, x, builder.weight(module.weight), builder.weight(module.bias))


@register_function(F.linear)
def linear_function(builder: GraphBuilder, x: Activation, weight: Weight, bias: Weight | None = None) -> Activation:
    return linear(builder, x, weight, bias)


CONVOLUTIONS = {
    nn.Conv1d: F.conv1d,
    nn.Conv2d: F.conv2d,
    nn.Conv3d: F.conv3d,
    nn.ConvTranspose1d: F.conv_transpose1d,
    nn.ConvTranspose2d: F.conv_transpose2d,
    nn.ConvTranspose3d: F.conv_transpose3d,
}


def convolution_module(builder: GraphBuilder, module: nn.modules.conv._ConvNd, x: Activation) -> Activation:
    if module.padding_mode != "zeros":
        raise UnsupportedModuleError(builder.path, type(module).__name__, f"padding mode {module.padding_mode!r}")
    function = next(f for cls, f in CONVOLUTIONS.items() if isinstance(module, cls))
    options = {"stride": module.stride, "padding": module.padding, "dilation": module.dilation}
    if module.transposed:
        options["output_padding"] = module.output_padding
    weight, bias = builder.weight(module.weight), builder.weight(module.bias)
    return convolution(builder, x, weight, bias, function, module.transposed, module.groups, **options)


def _convolution_function(function, transposed: bool):
    names = ("stride", "padding", *(["output_padding", "groups", "dilation"] if transposed else ["dilation", "groups"]))

    def rule(builder: GraphBuilder, input, weight, bias=None, *rest, **options) -> Activation:
        options = {**dict(zip(names, rest, strict=False)), **options}
        return convolution(builder, input, weight, bias, function, transposed, options.pop("groups", 1), **options)

    return rule


for _cls, _function in CONVOLUTIONS.items():
    register_module(_cls)(convolution_module)
    register_function(_function)(_convolution_function(_function, "Transpose" in _cls.__name__))


@register_module(nn.Embedding)
def embedding(builder: GraphBuilder, module: nn.Embedding, x: Activation) -> Activation:
    """A vocabulary of V indexed nodes with an edge to each of d neurons."""
    if module.max_norm is not None or bool((x.ids >= 0).any()):
        raise UnsupportedModuleError(builder.path, "Embedding", "max_norm is set, or its input is no input of the net")
    weight = builder.weight(module.weight)
    tokens = builder.nodes(module.num_embeddings, "token", 0, indexed=True)
    target = builder.nodes(module.embedding_dim, "neuron", 1)
    block = builder.connect(
        tokens[None, :, None], target[:, None, None], weight.index.T[:, :, None], "token", dense=True
    )
    columns = torch.zeros(len(tokens)).long()
    slot = builder.matrix_slot(block, target, tokens, columns, (len(target), len(tokens)), transposed=True)
    ref = builder.emit(F.embedding, x, slot)
    sites = x.sites[..., None].expand(*x.sites.shape, len(target))
    return Activation(target.expand(sites.shape), sites, ref)
