"""A network as a graph of its parameters: a node for each neuron or channel, an edge for each number.

Every tensor of weights joins a set of nodes to another, so the graph is kept as a list of `Joint`s: equal architectures
share it, and the dense encoder never looks at single edges.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.fx import Tracer

NODE_TYPES = ("input", "hidden", "output", "bias", "scale", "shift")
EDGE_TYPES = ("linear", "conv", "bias", "scale", "shift", "residual")
POINTWISE = (
    *(nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.Softplus, nn.Identity),
    *(nn.Dropout, nn.Dropout2d, nn.Flatten, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
POINTWISE_FUNCTIONS = {
    *("relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid", "elu", "softplus", "dropout", "flatten", "mean", "amax"),
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "view", "reshape", "sum", "contiguous", "size"),
}
ON_INPUTS = {
    "cat",
    "stack",
    "expand",
    "getattr",
    "unsqueeze",
    "getitem",
    "add",
    "sub",
    "mul",
    "truediv",
}  # before any layer anything may be done to the data
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class NodeSet:
    """`size` neurons or channels of one layer; `start` is the number of the first among the graph's nodes."""

    start: int
    size: int
    layer: int
    type: int
    ordered: bool  # inputs and outputs have an order that no symmetry changes


@dataclass(frozen=True)
class Joint:
    """One tensor of parameters, as edges from every node of `source` to every node of `target` (or one to one).

    name: of the tensor, '' for residual edges of value 1. shape: (target, source, kernel positions) of its edges;
    (target, 1, 1) where each target has one edge. kernel: sizes of the kernel, to number its positions.
    """

    name: str
    source: int
    target: int
    shape: tuple[int, int, int]
    layer: int
    type: int
    kernel: tuple[int, ...] = ()
    one_to_one: bool = False

    @property
    def edges(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2]


@dataclass(frozen=True)
class ParameterGraph:
    """All node sets and joints of one architecture; hashable by `key`, the layout of its tensors."""

    node_sets: tuple[NodeSet, ...]
    joints: tuple[Joint, ...]
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = field(default=())

    @property
    def nodes(self) -> int:
        return sum(s.size for s in self.node_sets)

    @property
    def edges(self) -> int:
        return sum(joint.edges for joint in self.joints)

    @property
    def parameters(self) -> int:
        return sum(joint.edges for joint in self.joints if joint.name)

    @property
    def names(self) -> list[str]:
        """Tensors that are edges, in the order of the joints."""
        return [joint.name for joint in self.joints if joint.name]

    def values(self, weights: dict[str, Tensor], joint: Joint) -> Tensor:
        """The numbers on the edges of a joint, (B, target, source, kernel), of stacked weights (B, ...)."""
        if not joint.name:
            count = len(next(iter(weights.values())))
            return torch.ones(count, *joint.shape)
        tensor = weights[joint.name]
        return tensor.reshape(len(tensor), *joint.shape)

    def check(self, weights: dict[str, Tensor]) -> None:
        """Raises ValueError where a state does not have this architecture's tensors."""
        for name, shape in self.shapes:
            if name not in weights:
                raise ValueError(f"expected a tensor {name!r} of shape {shape}, got only {', '.join(weights)}")
            if tuple(weights[name].shape) != shape:
                raise ValueError(f"expected {name!r} of shape {shape}, got {tuple(weights[name].shape)}")


class _LeafTracer(Tracer):
    """Stops at torch's own layers."""

    def is_leaf_module(self, module, _):
        return module.__module__.startswith("torch.nn") and not isinstance(module, nn.Sequential)


class _Builder:
    """Walks the traced network and joins node sets."""

    def __init__(self):
        self.sets: list[NodeSet] = []
        self.joints: list[Joint] = []
        self.layer = 0

    def add_set(self, size: int, type: str, layer: int, ordered: bool = False) -> int:
        start = self.sets[-1].start + self.sets[-1].size if self.sets else 0
        self.sets.append(NodeSet(start, size, layer, NODE_TYPES.index(type), ordered))
        return len(self.sets) - 1

    def join(self, name, source, target, shape, type, kernel=(), one_to_one=False):
        kind = EDGE_TYPES.index(type)
        self.joints.append(Joint(name, source, target, tuple(shape), self.layer, kind, tuple(kernel), one_to_one))

    def weights(self, name: str, module: nn.Linear | nn.Conv2d, source: int | None) -> int:
        """A linear or convolutional layer behind the node set `source`, or behind the input."""
        rows, columns = module.weight.shape[:2]
        if source is None:
            source = self.add_set(columns, "input", 0, ordered=True)
        self.layer += 1
        target = self.add_set(rows, "hidden", self.layer)
        channels = self.sets[source].size
        if isinstance(module, nn.Linear):
            if columns % channels:
                raise ValueError(f"{name}: {columns} inputs do not divide among {channels} channels before it")
            places = columns // channels  # behind Flatten: one edge for each place of a channel's map
            self.join(f"{name}.weight", source, target, (rows, channels, places), "linear", (places,) * (places > 1))
        else:
            if module.groups != 1 and columns != 1:
                raise ValueError(f"{name}: grouped convolutions other than depthwise are not supported")
            depthwise = module.groups > 1
            kernel = module.weight.shape[2:]
            shape = (rows, 1 if depthwise else columns, kernel.numel())
            self.join(f"{name}.weight", source, target, shape, "conv", kernel, one_to_one=depthwise)
        if module.bias is not None:
            node = self.add_set(1, "bias", self.layer)
            self.join(f"{name}.bias", node, target, (rows, 1, 1), "bias")
        return target

    def norm(self, name: str, module: nn.Module, target: int) -> int:
        """γ and β as two nodes that point at the channels they act on."""
        size = self.sets[target].size
        for tensor, type in (("weight", "scale"), ("bias", "shift")):
            parameter = getattr(module, tensor)
            if parameter is not None:
                if parameter.numel() != size:
                    raise ValueError(f"{name}: expected {size} channels, got {parameter.numel()}")
                node = self.add_set(1, type, self.layer)
                self.join(f"{name}.{tensor}", node, target, (size, 1, 1), type)
        return target

    def residual(self, first: int, second: int) -> int:
        """A sum: the later set receives edges of value 1 from the earlier, one for each channel."""
        source, target = sorted((first, second))
        if source == target:
            return target
        if self.sets[source].size != self.sets[target].size:
            raise ValueError(f"a sum of {self.sets[source].size} and {self.sets[target].size} channels")
        self.join("", source, target, (self.sets[target].size, 1, 1), "residual", one_to_one=True)
        return target


def model_to_graph(model: nn.Module) -> ParameterGraph:
    """The parameter graph of a network of linear and convolutional layers, norms, pointwise layers, pools and sums.

    Raises:
        ValueError: the network has other layers or cannot be traced by torch.fx.
    """
    if isinstance(model, nn.Linear | nn.Conv2d | nn.Conv1d):
        raise ValueError(f"{type(model).__name__} is a single layer: put it into nn.Sequential")
    try:
        trace = _LeafTracer().trace(model)
    except Exception as error:  # fx raises whatever the model's own code raises on a proxy
        raise ValueError(f"{type(model).__name__} cannot be traced: {error}") from error
    modules, builder, found = dict(model.named_modules()), _Builder(), {}
    for node in trace.nodes:
        inputs = [found[n] for n in node.all_input_nodes if n in found]
        before = inputs[0] if inputs else None
        if node.op == "placeholder":
            found[node] = None
        elif node.op == "call_module":
            found[node] = _layer(builder, node.target, modules[node.target], before)
        elif node.op in ("call_function", "call_method"):
            name = node.target if isinstance(node.target, str) else node.target.__name__
            if name in ("add", "iadd") and len(inputs) == 2 and None not in inputs:
                found[node] = builder.residual(*inputs)
            elif name in POINTWISE_FUNCTIONS or (name in ON_INPUTS and set(inputs) <= {None}):
                found[node] = before
            else:
                raise ValueError(f"{type(model).__name__}: the function {name!r} is not supported in a graph")
        elif node.op == "output":
            _mark_output(builder, before)
    shapes = tuple((name, tuple(p.shape)) for name, p in model.named_parameters())
    graph = ParameterGraph(tuple(builder.sets), tuple(builder.joints), shapes)
    if missing := {name for name, _ in shapes} - set(graph.names):
        raise ValueError(f"{type(model).__name__}: parameters that no edge carries: {', '.join(sorted(missing))}")
    if not graph.joints:
        raise ValueError(f"{type(model).__name__} has no parameters")
    return graph


def _layer(builder: _Builder, name: str, module: nn.Module, before: int | None) -> int | None:
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv1d):
        return builder.weights(name, module, before)
    if isinstance(module, NORMS) and before is not None:
        return builder.norm(name, module, before)
    if isinstance(module, POINTWISE) or (isinstance(module, nn.Unflatten) and before is None):
        return before
    raise ValueError(f"{name}: a layer of type {type(module).__name__} is not supported in a graph")


def _mark_output(builder: _Builder, last: int | None) -> None:
    if last is not None:
        old = builder.sets[last]
        builder.sets[last] = NodeSet(old.start, old.size, old.layer, NODE_TYPES.index("output"), ordered=True)
