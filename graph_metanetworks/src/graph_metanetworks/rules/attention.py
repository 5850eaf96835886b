"""Attention: queries and keys of a head share nodes, since only their products over the head's axis matter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..builder import GraphBuilder, compact
from ..registry import UnsupportedModuleError, register_function, register_module
from ..values import Activation, Constant, Weight
from .elementwise import elementwise
from .linear import linear
from .norm import layer_norm_module
from .sums import add, combine, contract


def attention(builder: GraphBuilder, query: Activation, key: Activation, value: Activation, module, mask=None):
    """softmax(q kᵀ / √d_k) v by heads, then the output projection; nodes and types are the layout's choice."""
    width = module.embed_dim
    if module.bias_k is not None or module.add_zero_attn:
        raise UnsupportedModuleError(builder.path, "MultiheadAttention", "bias_k and add_zero_attn have no rule")
    if module.in_proj_weight is not None:
        rows = builder.weight(module.in_proj_weight).index.chunk(3)
    else:
        rows = [builder.weight(w).index for w in (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)]
    biases = [None] * 3
    if module.in_proj_bias is not None:
        biases = builder.weight(module.in_proj_bias).index.chunk(3)
    sources = []
    for x in (query, key, value):
        _, ids, codes = builder.neurons(x, -1)
        if bool((codes != 0).any()):
            raise UnsupportedModuleError(builder.path, "MultiheadAttention", "its input holds places, not neurons")
        sources.append(ids)
    drawn = builder.layout.attention(builder, sources, rows, biases, module.num_heads)
    options = {"heads": module.num_heads, "batch_first": module.batch_first, "mask": _mask(builder, mask)}
    ref = builder.emit(attend, query, key, value, drawn.weights, drawn.biases, **options)
    sites = query.sites[..., :1].expand(*query.sites.shape[:-1], width)
    mixed = Activation(drawn.values.expand(sites.shape), sites, ref)
    output = builder.weight(module.out_proj.weight), builder.weight(module.out_proj.bias)
    return linear(builder, mixed, *output, nodes=drawn.nodes, edges=drawn.edges)


def _mask(builder: GraphBuilder, mask):
    if mask is None:
        return None
    if not isinstance(mask, Constant):
        raise UnsupportedModuleError(builder.path, "MultiheadAttention", "its mask is no fixed tensor")
    return mask.tensor


def attend(query, key, value, weights, biases, heads: int, batch_first: bool, mask=None):
    """Heads side by side, before the output projection: (B, T, heads · d_v)."""
    if not batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    parts = [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in parts)  # (B, heads, T, d_k)
    if mask is not None and mask.dtype == torch.bool:
        mask = ~mask  # nn.MultiheadAttention marks what is left out, F.scaled_dot_product_attention what is kept
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
    return mixed if batch_first else mixed.transpose(0, 1)


@register_module(nn.MultiheadAttention)
def attention_module(builder, module, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, **_):
    if key_padding_mask is not None:
        raise UnsupportedModuleError(builder.path, "MultiheadAttention", "a key_padding_mask has no rule")
    return attention(builder, query, key, value, module, attn_mask), None


@register_module(nn.TransformerEncoderLayer)
def encoder_layer(
    builder: GraphBuilder, module: nn.TransformerEncoderLayer, src, src_mask=None, *_, **__
) -> Activation:
    """Attention and a feed-forward net, each on a residual stream, with the norm before or after."""
    first, second = module.norm_first, not module.norm_first

    def normalised(norm_module, x, shared: bool):
        with builder.sharing(shared):
            return layer_norm_module(builder, norm_module, x)

    def feed_forward(x):
        x = linear(builder, x, builder.weight(module.linear1.weight), builder.weight(module.linear1.bias))
        name = getattr(module.activation, "__name__", type(module.activation).__name__).lower()
        x = elementwise(builder, x, module.activation, name)
        return linear(builder, x, builder.weight(module.linear2.weight), builder.weight(module.linear2.bias))

    def attended(x):
        return attention(builder, x, x, x, module.self_attn, src_mask)

    x = src
    for inner, norm_module in ((attended, module.norm1), (feed_forward, module.norm2)):
        x = add(builder, x, inner(normalised(norm_module, x, True) if first else x))
        if second:
            x = normalised(norm_module, x, False)
    return x


@register_module(nn.TransformerEncoder)
def encoder(builder: GraphBuilder, module: nn.TransformerEncoder, src, mask=None, *_, **__) -> Activation:
    for layer in module.layers:
        src = encoder_layer(builder, layer, src, mask)
    return src if module.norm is None else layer_norm_module(builder, module.norm, src)


@register_function(F.scaled_dot_product_attention)
def scaled_dot_product_attention(
    builder: GraphBuilder,
    query: Activation,
    key: Activation,
    value: Activation,
    attn_mask=None,
    dropout_p=0.0,
    **options,
) -> Activation:
    """Written-out attention: pairs of a query's and a key's neuron, a node for each head, products with its values."""
    if isinstance(attn_mask, Activation | Weight):
        raise UnsupportedModuleError(builder.path, "scaled_dot_product_attention", "its mask is no fixed tensor")
    width = query.ids.shape[-1]
    q, k, v = (compact(x.ids) for x in (query, key, value))
    q, k = (x.expand(*x.shape[:-1], width) for x in (q, k))
    if q.shape[-2] != 1 or k.shape[-2] != 1 or v.shape[-2] != 1:
        raise UnsupportedModuleError(
            builder.path, "scaled_dot_product_attention", "its axis -2 holds neurons, not places"
        )
    heads = contract(builder, q, k, "head")[..., None]
    builder.operate(Activation(heads, heads, query.ref), "softmax", copied=True)
    ids, _ = combine(builder, [heads, v], "product", [("left", 1.0), ("right", 1.0)])
    shape = (*query.ids.shape[:-1], value.ids.shape[-1])
    ref = builder.emit(F.scaled_dot_product_attention, query, key, value, attn_mask=attn_mask, **options)
    return Activation(ids.expand(shape), query.sites[..., :1].expand(shape), ref)
