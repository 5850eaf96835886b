"""The parameter graph of a network: one edge per parameter (Section 3 of the paper), and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .program import Program
from .values import NO_POSITION, decode
from .vocabulary import EDGE_TYPES, NODE_TYPES


class kept(cached_property):
    """A cached property whose tensors can take part in training, even if a test in inference mode asks for it first."""

    def __get__(self, instance, owner=None):
        with torch.inference_mode(False):
            return super().__get__(instance, owner)


@dataclass(frozen=True, eq=False)
class EdgeBlock:
    """Edges of one kind, in the order of their parameter tensor, as integer tensors that broadcast to one shape.

    src, dst, param, codes: ids of both ends, index of the parameter (negative: a constant) and position, each of shape
    `shape`, most of them expanded without memory. dense: axis 0 runs over targets, axis 1 over sources, axis 2 over
    parallel edges, so that layers may broadcast instead of gathering.
    """

    type: int
    layer: int
    start: int
    src: Tensor
    dst: Tensor
    param: Tensor
    codes: Tensor
    grid: int | None = None
    dense: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.src.shape)

    @property
    def stop(self) -> int:
        return self.start + self.src.numel()

    def positions(self) -> Tensor:
        """(shape, 3): kernel, row and column indices, -1 where there is no such axis; on a grid, places in [-1, 1]."""
        places = decode(self.codes)
        if self.grid is None:
            return places.float()
        span = max(self.grid - 1, 1)
        return torch.where(places < 0, 0.0, 2.0 * places / span - 1)


@dataclass(frozen=True)
class ParameterLayout:
    """Where each tensor of the state stands in the flat vector. aliases: names of tied ones. constants: ..., 1."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...]
    total: int
    parameters: int
    aliases: Mapping[str, str] = field(default_factory=dict)
    constants: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, eq=False)
class ParameterGraph:
    """node_*: (N,). edge_*: (E,). Values of parameters are not part of it: all nets of an architecture share a graph.

    node_index: order of input and output neurons (and of tokens), else -1. node_operation: number of the chain of
    elementwise functions that a node goes through. edge_param: index into the flat parameter vector; -1 - k for the
    k-th constant.
    """

    style: str
    node_type: Tensor
    node_layer: Tensor
    node_index: Tensor
    node_activation: Tensor
    node_operation: Tensor
    blocks: tuple[EdgeBlock, ...]
    layout: ParameterLayout
    program: Program

    @property
    def num_nodes(self) -> int:
        return len(self.node_type)

    @property
    def num_edges(self) -> int:
        return self.blocks[-1].stop if self.blocks else 0

    @property
    def num_parameters(self) -> int:
        return self.layout.parameters

    @kept
    def edge_src(self) -> Tensor:
        return self._gathered("src")

    @kept
    def edge_dst(self) -> Tensor:
        return self._gathered("dst")

    @kept
    def edge_param(self) -> Tensor:
        return self._gathered("param")

    def _gathered(self, name: str) -> Tensor:
        """One attribute of all blocks, (E,) int32, written in place: nothing is as large as the result."""
        result = torch.empty(self.num_edges, dtype=torch.int32)
        for block in self.blocks:
            result[block.start : block.stop].view(block.shape).copy_(getattr(block, name))
        return result

    @property
    def edge_type(self) -> Tensor:
        return self._per_block([block.type for block in self.blocks], torch.int8)

    @property
    def edge_layer(self) -> Tensor:
        return self._per_block([block.layer for block in self.blocks], torch.int16)

    @property
    def edge_code(self) -> Tensor:
        """Position codes, (E,) int64: what `edge_pos` decodes."""
        return torch.cat([block.codes.reshape(-1) for block in self.blocks])

    @property
    def edge_pos(self) -> Tensor:
        """(E, 3) float32."""
        return torch.cat([block.positions().reshape(-1, 3) for block in self.blocks])

    def _per_block(self, numbers: Sequence[int], dtype: torch.dtype) -> Tensor:
        sizes = torch.tensor([block.stop - block.start for block in self.blocks])
        return torch.tensor(numbers, dtype=dtype).repeat_interleave(sizes)

    def edges_of(self, block: int) -> slice:
        return slice(self.blocks[block].start, self.blocks[block].stop)

    def block_codes(self, block: int) -> Tensor:
        return self.blocks[block].codes.reshape(-1)

    @kept
    def edge_fan_in(self) -> Tensor:
        """For every edge the number of edges of its type that its target gets, (E,) float32."""
        fan = []
        for block in self.blocks:
            target = block.dst.reshape(-1).long()
            counts = torch.zeros(self.num_nodes).index_add_(0, target, torch.ones(len(target)))
            fan.append(counts[target])
        return torch.cat(fan)

    @kept
    def edge_kind(self) -> Tensor:
        """The number of every edge's type and layer, (E,) int64. Automorphisms keep it."""
        pairs = self.edge_layer.long() * len(EDGE_TYPES) + self.edge_type.long()
        return torch.unique(pairs, return_inverse=True)[1]

    # ---- values

    def flatten(self, state: Mapping[str, Tensor] | nn.Module) -> Tensor:
        """The parameters of one network as a vector (P,), or of B stacked ones as (B, P).

        Raises:
            ValueError: a name is missing or a shape is another one.
        """
        if isinstance(state, nn.Module):
            state = state.state_dict(keep_vars=True)
        layout, parts, stacked = self.layout, [], set()
        for name, shape in zip(layout.names, layout.shapes, strict=True):
            if name not in state:
                raise ValueError(f"the state has no {name!r}, which this graph was built with: {tuple(shape)} expected")
            value = state[name]
            if tuple(value.shape) == shape:
                stacked.add(False)
            elif tuple(value.shape[1:]) == shape:
                stacked.add(True)
            else:
                raise ValueError(
                    f"{name}: shape {shape} (or stacked, (B, *{shape})) expected, got {tuple(value.shape)}"
                )
            parts.append(value.reshape(-1) if tuple(value.shape) == shape else value.reshape(len(value), -1))
        if len(stacked) > 1:
            raise ValueError("some tensors of the state are stacked and some are not")
        return torch.cat(parts, -1)

    def edge_values(self, state: Mapping[str, Tensor] | nn.Module | Tensor) -> Tensor:
        """The value of every edge, (E,) or (B, E): parameters, and constants where there is no parameter.

        Args:
            state: a module, a state dict, the same stacked, or the flat vector(s) of `flatten`.
        """
        flat = state if isinstance(state, Tensor) else self.flatten(state)
        if flat.shape[-1] != self.layout.total:
            raise ValueError(f"{self.layout.total} parameters and buffers expected, got {flat.shape[-1]}")
        constants = flat.new_tensor(self.layout.constants).expand(*flat.shape[:-1], -1)
        return torch.cat([flat, constants], -1)[..., self.gather_index]

    @kept
    def gather_index(self) -> Tensor:
        """`edge_param` with constants counted from the end, as an index into (parameters, constants)."""
        size = self.layout.total + len(self.layout.constants)
        param = self.edge_param.long()
        return torch.where(param < 0, param + size, param)

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """The state dict of (P,) or (B, P), tied names included."""
        state = {}
        for name, shape, offset in zip(self.layout.names, self.layout.shapes, self.layout.offsets, strict=True):
            size = torch.Size(shape).numel()
            state[name] = flat[..., offset : offset + size].reshape(*flat.shape[:-1], *shape)
        return state | {alias: state[name] for alias, name in self.layout.aliases.items()}

    def mean_of_edges(self, values: Tensor) -> Tensor:
        """(..., E) -> (..., P): the mean over the edges of each parameter, one almost always. Differentiable."""
        chosen = self.edge_param >= 0
        index = self.edge_param[chosen].long()
        sums = values.new_zeros(*values.shape[:-1], self.layout.total).index_add(-1, index, values[..., chosen])
        counts = torch.bincount(index, minlength=self.layout.total).to(values)
        return sums / counts

    def kind_scales(self, values: Tensor) -> Tensor:
        """(B, E) -> (B, E): the root mean square of all values of the edge's type and layer, net by net."""
        kind = self.edge_kind.to(values.device)
        sums = values.new_zeros(len(values), int(kind.max()) + 1).index_add(1, kind, values.square())
        return (sums / torch.bincount(kind)).sqrt()[:, kind]

    def write_back(self, values: Tensor) -> dict[str, Tensor]:
        """The state dict that has these edge values, (E,) or (B, E); tied edges are averaged, constants are left alone.

        Raises:
            ValueError: another number of edges.
        """
        if values.shape[-1] != self.num_edges:
            raise ValueError(f"{self.num_edges} edge values expected, got {values.shape[-1]}")
        return self.unflatten(self.mean_of_edges(values))

    # ---- the network

    def execute(self, *inputs: Tensor, values: Tensor) -> Any:
        """What the network computes, from the graph alone (see `program.py`), in evaluation mode.

        Args:
            inputs: as the network takes them, any batch size.
            values: of the edges, (E,), from `edge_values`.
        """
        if values.shape != (self.num_edges,):
            raise ValueError(f"the values of {self.num_edges} edges expected, got {tuple(values.shape)}")
        return self.program.run(self, inputs, values)

    # ---- symmetries: the work is in symmetry.py

    def automorphism_count(self) -> int:
        from .symmetry import automorphism_count

        return automorphism_count(self)

    def automorphism_generators(self) -> list[Tensor]:
        from .symmetry import automorphism_generators

        return automorphism_generators(self)

    def permute(self, phi: Tensor, state: Mapping[str, Tensor] | nn.Module) -> dict[str, Tensor]:
        from .symmetry import permute

        return permute(self, phi, state)

    def to_pyg(self, values: Tensor):
        from .interop import to_pyg

        return to_pyg(self, values)

    def describe(self) -> str:
        """Counts of nodes and edges by type, for people."""
        lines = [
            f"style {self.style}: {self.num_nodes} nodes, {self.num_edges} edges, {self.num_parameters} parameters"
        ]
        for title, numbers, names in (("nodes", self.node_type, NODE_TYPES), ("edges", self.edge_type, EDGE_TYPES)):
            kinds, counts = torch.unique(numbers, return_counts=True)
            found = (f"{names[k]} {c}" for k, c in zip(kinds.tolist(), counts.tolist(), strict=True))
            lines.append(f"{title}: " + ", ".join(found))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"ParameterGraph({self.describe().splitlines()[0]})"


def no_positions(shape: Sequence[int]) -> Tensor:
    return torch.full((1,), NO_POSITION).expand(*shape)
