"""Layers of this package that are drawn as one piece: equivariant linear layers on sets, and triplanes."""

from __future__ import annotations

import torch

from ..builder import GraphBuilder
from ..networks.equivariant import EquivariantLinear, equivariant_linear_function
from ..networks.triplane import Triplane, sample_planes
from ..registry import register_module
from ..values import Activation, encode
from .linear import bias_slot


@register_module(EquivariantLinear)
def equivariant_linear(builder: GraphBuilder, module: EquivariantLinear, x: Activation) -> Activation:
    """x W1ᵀ + mean(x) W2ᵀ + b: two parallel edges per pair, one for each element of the equivariant basis."""
    identity, pool, shift = builder.layout.set_edges
    x, source, codes = builder.neurons(x, -1)
    target = builder.nodes(module.out_features, "deepsets_neuron", builder.layer_of(source) + 1)
    slots = []
    for weight, kind in ((module.identity, identity), (module.pool, pool)):
        index = builder.weight(weight).index
        block = builder.connect(
            source[None, :, None], target[:, None, None], index[..., None], kind, codes[None, :, None], dense=True
        )
        slots.append(builder.matrix_slot(block, target, source, codes, index.shape))
    bias = bias_slot(builder, target, builder.weight(module.bias), "deepsets_bias", shift)
    sites = x.sites[..., :1].expand(*x.sites.shape[:-1], len(target))
    return Activation(target.expand(sites.shape), sites, builder.emit(equivariant_linear_function, x, *slots, bias))


@register_module(Triplane)
def triplane(builder: GraphBuilder, module: Triplane, x: Activation) -> Activation:
    """3·d·N·N parameters: an edge from each of 3 N² place nodes to each of d features, with the place in [-1, 1]³."""
    _, features, size, _ = module.planes.shape
    places = builder.nodes(3 * size * size, "triplanar", 1, indexed=True)
    target = builder.nodes(features, "neuron", 1)
    u, v = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    none = torch.full_like(u, -1)
    axes = [(u, v, none), (u, none, v), (none, u, v)]  # planes xy, xz and yz
    codes = torch.stack([encode(torch.stack(axis, -1)) for axis in axes]).reshape(-1)  # (3 N N,)
    index = builder.weight(module.planes).index.permute(1, 0, 2, 3).reshape(features, -1)
    block = builder.connect(
        places[None, :, None], target[:, None, None], index[..., None], "triplanar", codes[None, :, None], size, True
    )
    builder.layout.coordinates(builder, builder.neurons(x, -1)[1], places, size)
    slot = builder.matrix_slot(block, target, places, codes, (features, 3, size, size), transposed=True)
    ref = builder.emit(sample_planes, slot, x)
    sites = x.sites[..., :1].expand(*x.sites.shape[:-1], features)
    return Activation(target.expand(sites.shape), sites, ref)
