"""Collects the nodes, edge blocks and program steps of a parameter graph; rules talk to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .parameter_graph import EdgeBlock, ParameterGraph, ParameterLayout, no_positions
from .program import EntrySlot, MatrixSlot, Program, Step
from .values import NO_POSITION, Activation, Constant, Ref, Runtime, Weight, encode
from .vocabulary import ACTIVATION, EDGE_TYPE, NODE_TYPE


class GraphBuilder:
    """One graph in the making.

    layout: the style's own choices (`layouts.py`). include_buffers: whether buffers that change the function in
    evaluation mode (running statistics, fixed encodings) get edges.
    """

    def __init__(self, model: nn.Module, layout, include_buffers: bool):
        self.layout, self.include_buffers = layout, include_buffers
        self.path = ""  # of the module that is being read, for messages
        self.shared = False  # whether others see what it reads
        self.blocks: list[EdgeBlock] = []
        self.steps: list[Step] = []
        self._refs = 0
        self._edges = 0
        self._nodes: dict[str, list[Tensor]] = {"type": [], "layer": [], "index": [], "operation": []}
        self._count = 0
        self._chains: list[tuple[str, ...]] = [()]  # elementwise functions that nodes go through, by number
        self._chain_number: dict[tuple[str, ...], int] = {(): 0}
        self.constants: list[float] = [1.0]
        self._register_tensors(model)

    # ---- parameters

    def _register_tensors(self, model: nn.Module) -> None:
        self._names, self._shapes, self._offsets, self._aliases = [], [], [], {}
        self._offset_of: dict[int, tuple[int, str]] = {}
        self._total = 0
        for name, tensor in model.named_parameters(remove_duplicate=False):
            self._register(name, tensor)
        self._parameters = self._total
        self._buffers = {id(b): (name, b) for name, b in model.named_buffers(remove_duplicate=False)}

    def _register(self, name: str, tensor: Tensor) -> None:
        if id(tensor) in self._offset_of:
            self._aliases[name] = self._offset_of[id(tensor)][1]
            return
        self._offset_of[id(tensor)] = (self._total, name)
        self._names.append(name)
        self._shapes.append(tuple(tensor.shape))
        self._offsets.append(self._total)
        self._total += tensor.numel()

    def weight(self, tensor: Tensor | None) -> Weight | Constant | None:
        """A parameter as indices into the flat vector; a buffer likewise if buffers get edges, else a constant."""
        if tensor is None:
            return None
        if id(tensor) not in self._offset_of:
            name, _ = self._buffers.get(id(tensor), (None, None))
            if name is None or not self.include_buffers or not tensor.is_floating_point():
                return Constant(tensor.detach())
            self._register(name, tensor)
        offset, _ = self._offset_of[id(tensor)]
        index = torch.arange(offset, offset + tensor.numel(), dtype=torch.int32)
        return Weight(index.view(tensor.shape))

    # ---- nodes

    def nodes(self, count: int, kind: str, layer: int, indexed: bool = False) -> Tensor:
        """Ids (count,) of new nodes; `indexed` ones are told apart by their order."""
        ids = torch.arange(self._count, self._count + count, dtype=torch.int32)
        self._count += count
        index = torch.arange(count) if indexed else torch.full((count,), -1)
        for name, value in (("type", NODE_TYPE[kind]), ("layer", layer), ("operation", 0)):
            self._nodes[name].append(torch.full((count,), value, dtype=torch.int32))
        self._nodes["index"].append(index.int())
        return ids

    def _attribute(self, name: str) -> Tensor:
        chunks = self._nodes[name]
        if len(chunks) > 1:
            self._nodes[name] = chunks = [torch.cat(chunks)]
        return chunks[0]

    def layer_of(self, *ids: Tensor) -> int:
        """The deepest layer among some nodes."""
        return max(int(self._attribute("layer")[compact(i).reshape(-1).long()].max()) for i in ids)

    def operate(self, x: Activation, name: str, copied: bool = False) -> Activation:
        """Note that neurons go through a function without parameters: part of what tells nodes apart.

        Where others see the neurons as they were, the exact style notes it on copies, unless `x` is a copy already.
        """
        if self.shared and not copied:
            x = self.layout.copy(self, x)
        chosen = torch.unique(compact(x.ids)).long()
        chosen = chosen[chosen >= 0]
        numbers = self._attribute("operation")
        for before in torch.unique(numbers[chosen]).tolist():
            chain = (*self._chains[before], name)
            if chain not in self._chain_number:
                self._chain_number[chain] = len(self._chains)
                self._chains.append(chain)
            members = chosen[numbers[chosen] == before]
            numbers[members] = self._chain_number[chain]
        return x

    # ---- edges

    def connect(
        self,
        sources: Tensor,
        targets: Tensor,
        params: Tensor | float,
        kind: str,
        codes: Tensor | None = None,
        grid: int | None = None,
        dense: bool = False,
        layer: int | None = None,
    ) -> int:
        """A block of edges; ids, parameters and positions broadcast to one shape. Returns the block's number.

        params: indices of parameters, or one number: the constant that all these edges carry.
        """
        if not isinstance(params, Tensor):
            params = torch.tensor(self.constant(float(params)), dtype=torch.int32)
        shapes = [sources.shape, targets.shape, params.shape, *([] if codes is None else [codes.shape])]
        shape = torch.broadcast_shapes(*shapes)
        self.blocks.append(
            EdgeBlock(
                type=EDGE_TYPE[kind],
                layer=self.layer_of(targets) if layer is None else layer,
                start=self._edges,
                src=sources.int().expand(shape),
                dst=targets.int().expand(shape),
                param=params.int().expand(shape),
                codes=no_positions(shape) if codes is None else codes.expand(shape),
                grid=grid,
                dense=dense,
            )
        )
        self._edges = self.blocks[-1].stop
        return len(self.blocks) - 1

    def constant(self, value: float) -> int:
        """The negative index of a constant edge value."""
        if value not in self.constants:
            self.constants.append(value)
        return -1 - self.constants.index(value)

    @contextmanager
    def sharing(self, shared: bool) -> Iterator[None]:
        """For a while, what is read is (or is not) seen by others too."""
        before, self.shared = self.shared, shared
        yield
        self.shared = before

    # ---- program

    def emit(self, function: Callable, *args: Any, **kwargs: Any) -> Ref:
        """A step of the program; activations and runtime numbers among the arguments become references."""
        ref = self.new_ref()
        self.steps.append(Step(ref, function, tree_map(_reference, args), tree_map(_reference, kwargs)))
        return ref

    def new_ref(self) -> Ref:
        self._refs += 1
        return Ref(self._refs)

    # ---- neurons of an activation

    def neurons(self, x: Activation, axis: int) -> tuple[Activation, Tensor, Tensor]:
        """The nodes along one axis, (M,), which must be the same at all other places, and their position codes, (M,).

        Where they differ from place to place (a class token beside patches), new nodes join them. Codes are given only
        where one node stands at several of the M places (flattened feature maps).
        """
        if (x.ids[(0,) * x.ids.ndim] if x.ids.ndim else x.ids) < 0:
            raise ValueError(f"{self.path}: whole numbers as an input can only go to an Embedding")
        axis %= x.ids.ndim
        others = [a for a in range(x.ids.ndim) if a != axis]
        ids = compact(x.ids)
        if any(ids.shape[a] > 1 for a in others):
            x = self.join(x, axis)
            ids = compact(x.ids)
        first = tuple(slice(None) if a == axis else 0 for a in range(x.ids.ndim))
        ids = ids.expand(*[x.ids.shape[a] if a == axis else 1 for a in range(x.ids.ndim)])[first]
        codes = x.sites[first]
        if len(torch.unique(ids)) == len(ids):
            codes = torch.zeros_like(codes)
        return x, ids, codes

    def join(self, x: Activation, axis: int) -> Activation:
        """New nodes along `axis`, each with an edge of value 1 from every node that stands there somewhere."""
        moved = x.ids.movedim(axis, -1)
        size = moved.shape[-1]
        flat = moved.reshape(-1, size).long()
        feature = torch.arange(size).expand_as(flat)
        place = torch.arange(len(flat))[:, None].expand_as(flat)
        pairs, inverse = torch.unique(torch.stack([feature.reshape(-1), flat.reshape(-1)]), dim=1, return_inverse=True)
        first = torch.full((pairs.shape[1],), flat.numel()).scatter_reduce(0, inverse, place.reshape(-1), "amin")
        new = self.nodes(size, "neuron", self.layer_of(x.ids))
        none = torch.full_like(first, -1)
        self.connect(pairs[1], new[pairs[0]], 1.0, "copy", codes=encode(torch.stack([first, none, none], -1)))
        shape = [1] * x.ids.ndim
        shape[axis] = size
        return Activation(new.view(shape).expand(x.ids.shape), x.sites, x.ref)

    # ---- slots

    def matrix_slot(
        self, blocks: int | tuple[int, ...], rows: Tensor, columns: Tensor, codes: Tensor, shape, transposed=False
    ) -> MatrixSlot:
        blocks = (blocks,) if isinstance(blocks, int) else blocks
        return MatrixSlot(blocks, rows, columns, codes, tuple(shape), transposed)

    def vector(self, block: int, rows: Tensor, source: Tensor, shape=None) -> MatrixSlot:
        """One edge from a single node to each of `rows`, as a vector."""
        return MatrixSlot((block,), rows, source.reshape(1), torch.zeros(1).long(), tuple(shape or (len(rows),)))

    def entries(self, block: int, sources: Tensor, targets: Tensor, codes: Tensor | None = None) -> EntrySlot:
        sources, targets = torch.broadcast_tensors(sources, targets)
        codes = torch.full(sources.shape, NO_POSITION) if codes is None else codes
        return EntrySlot(block, sources, targets, codes)

    # ---- the end

    def finish(self, inputs: tuple[Ref, ...], output: Any) -> ParameterGraph:
        """The graph; output nodes are numbered in the order of the output.

        Raises:
            ValueError: some parameter has no edge.
        """
        index = self._attribute("index")
        number = 0
        for x in flat_activations(output):
            ids = compact(x.ids).reshape(-1).long()
            unique, inverse = torch.unique(ids, return_inverse=True)
            first = torch.full((len(unique),), len(ids)).scatter_reduce(0, inverse, torch.arange(len(ids)), "amin")
            ordered = unique[torch.argsort(first)]
            fresh = ordered[index[ordered] < 0]
            index[fresh] = torch.arange(number, number + len(fresh), dtype=torch.int32)
            number += len(fresh)
        self._check_complete()
        layout = ParameterLayout(
            tuple(self._names), tuple(self._shapes), tuple(self._offsets), self._total, self._parameters,
            dict(self._aliases), tuple(reversed(self.constants)),
        )  # fmt: skip
        return ParameterGraph(
            style=self.layout.name,
            node_type=self._attribute("type"),
            node_layer=self._attribute("layer"),
            node_index=index,
            node_activation=self._activations(),
            node_operation=self._attribute("operation"),
            blocks=tuple(self.blocks),
            layout=layout,
            program=Program(inputs, tuple(self.steps), tree_map(_reference, output)),
        )

    def _activations(self) -> Tensor:
        first_words = [[name.partition(" ")[0] for name in chain] for chain in self._chains]
        known = [[ACTIVATION[word] for word in words if word in ACTIVATION] for words in first_words]
        return torch.tensor([found[-1] if found else 0 for found in known])[self._attribute("operation").long()]

    def _check_complete(self) -> None:
        seen = torch.zeros(self._total, dtype=torch.bool)
        for block in self.blocks:
            index = block.param.reshape(-1)
            seen[index[index >= 0].long()] = True
        missing = [
            name
            for name, shape, offset in zip(self._names, self._shapes, self._offsets, strict=True)
            if not seen[offset : offset + torch.Size(shape).numel()].all()
        ]
        if missing:
            raise ValueError(f"parameters without an edge: {', '.join(missing)}; does the forward pass use them?")


def compact(ids: Tensor) -> Tensor:
    """`ids` with every axis along which it is constant narrowed to one entry."""
    for axis in range(ids.ndim):
        if ids.shape[axis] > 1:
            narrow = ids.narrow(axis, 0, 1)
            if ids.stride(axis) == 0 or bool((ids == narrow).all()):
                ids = narrow
    return ids


def flat_activations(output: Any) -> list[Activation]:
    if isinstance(output, Activation):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    return [x for item in output for x in flat_activations(item)] if isinstance(output, list | tuple) else []


def _reference(item: Any) -> Any:
    if isinstance(item, Activation | Runtime):
        return item.ref
    return item.tensor if isinstance(item, Constant) else item
