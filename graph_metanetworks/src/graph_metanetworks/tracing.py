"""From a module to its parameter graph: trace it with torch.fx, then read it step by step with the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_any

from . import rules  # noqa: F401  fills the registry
from .builder import GraphBuilder, flat_activations
from .layouts import LAYOUTS
from .parameter_graph import ParameterGraph
from .registry import FUNCTIONS, UnsupportedModuleError, rule_for
from .rules.shape import FUNCTIONS as SHAPE_FUNCTIONS
from .rules.shape import METHODS, arithmetic
from .values import Activation, Constant, Runtime, Weight, grid_codes

PASSES_ON = {*SHAPE_FUNCTIONS, *METHODS, "contiguous", "clone", "detach", "float", torch.clone}
ASKS_SHAPE = ("size", "dim", getattr)


class Tracer(fx.Tracer):
    """Takes every module with a rule of its own as one piece."""

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        return rule_for(module) is not None or super().is_leaf_module(module, path)


@torch.inference_mode(False)
def build_parameter_graph(
    model: nn.Module,
    example_input: Tensor | Sequence[Tensor],
    style: str = "exact",
    include_buffers: bool | None = None,
) -> ParameterGraph:
    """The parameter graph of any network that torch.fx can trace; its modules and buffers are left as they are.

    Args:
        example_input: an input, or a tuple of inputs, with a batch axis first; its values do not matter.
        style: "exact": automorphisms are the function's symmetries; "paper": as the paper draws it.
        include_buffers: whether running statistics and fixed encodings get edges; None: in the exact style.
    Raises:
        UnsupportedModuleError: no rule for a module or function; says how to register one.
        ValueError: an unknown style, or a parameter that no edge carries.
    """
    if style not in LAYOUTS:
        raise ValueError(f"unknown style {style!r}, choose from {', '.join(LAYOUTS)}")
    layout = LAYOUTS[style]
    examples = (example_input,) if isinstance(example_input, Tensor) else tuple(example_input)
    attributes = set(vars(model))
    try:
        traced = trace(model)
        builder = GraphBuilder(model, layout, layout.include_buffers if include_buffers is None else include_buffers)
        return Reader(traced, model, builder, examples).read()
    finally:
        for name in set(vars(model)) - attributes:  # torch.fx keeps tensors that the forward pass makes on the module
            delattr(model, name)


def trace(model: nn.Module) -> fx.Graph:
    """Raises UnsupportedModuleError where the forward pass cannot be traced."""
    if rule_for(model) is not None:  # a single layer is a network too
        model = nn.Sequential(model)
    try:
        return Tracer().trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        what = type(model).__name__
        raise UnsupportedModuleError("", what, f"torch.fx cannot trace its forward pass ({error})") from error


class Reader:
    """Runs a traced graph with node ids in the place of numbers."""

    def __init__(self, traced: fx.Graph, model: nn.Module, builder: GraphBuilder, examples: tuple[Tensor, ...]):
        self.traced, self.builder, self.examples = traced, builder, examples
        self.model = nn.Sequential(model) if rule_for(model) is not None else model
        self.found: dict[fx.Node, Any] = {}
        self.inputs: list[Activation] = []

    def read(self) -> ParameterGraph:
        output = None
        for node in self.traced.nodes:
            if node.op == "output":
                output = self._resolve(node.args[0])
            else:
                with self.builder.sharing(is_shared(node)), _named(self.builder, node):
                    self.found[node] = self._read(node)
        return self.builder.finish(tuple(x.ref for x in self.inputs), output)

    def _read(self, node: fx.Node) -> Any:
        args, kwargs = self._resolve(node.args), self._resolve(node.kwargs)
        if node.op == "placeholder":
            return self._placeholder(node)
        if node.op == "get_attr":
            return self._attribute(node.target)
        if node.op == "call_module":
            module = self.model.get_submodule(node.target)
            rule = rule_for(module)
            if rule is None:
                raise UnsupportedModuleError(node.target, type(module).__name__)
            return rule(self.builder, module, *args, **kwargs)
        if not tree_any(_is_abstract, (args, kwargs)) and callable(node.target):
            return node.target(*args, **kwargs)  # numbers and fixed tensors of the trace
        if (
            not flat_activations([args, list(kwargs.values())])
            and tree_any(_is_runtime, args)
            and callable(node.target)
        ) and (node.target not in FUNCTIONS or not _holds_tensor(args)):
            return arithmetic(self.builder, node.target, *args)
        rule = FUNCTIONS.get(node.target)
        if rule is None:
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
            raise UnsupportedModuleError(node.name, name, "no rule for this function; put it into a module")
        return rule(self.builder, *args, **kwargs)

    def _placeholder(self, node: fx.Node) -> Any:
        if len(self.inputs) >= len(self.examples):
            if node.args:
                return node.args[0]
            raise ValueError(f"the network takes more inputs than the {len(self.examples)} examples: {node.name}")
        example = self.examples[len(self.inputs)]
        x = self._input_nodes(node, example)
        self.inputs.append(x)
        return x

    def _input_nodes(self, node: fx.Node, example: Tensor) -> Activation:
        """A node per feature, per channel if a convolution reads the input, per entry if it is flattened at once."""
        shape = (1, *example.shape[1:])
        if example.ndim < 2 and example.is_floating_point():
            raise ValueError(f"input {node.name}: a batch axis and features expected, got {tuple(example.shape)}")
        ref = self.builder.new_ref()
        if not example.is_floating_point():
            return Activation(torch.full(shape, -1), grid_codes(shape[1:]).expand(shape), ref)
        axis = input_axis(node, self.model, example)
        if axis == "entries":
            ids = self.builder.nodes(example[0].numel(), "neuron", 0, indexed=True).view(shape)
            return Activation(ids, torch.zeros(shape).long(), ref)
        kind = "channel" if axis == 1 and example.ndim > 2 else "neuron"
        ids = self.builder.nodes(shape[axis], kind, 0, indexed=True)
        view = [shape[axis] if a == axis % len(shape) else 1 for a in range(len(shape))]
        places = tuple(n for a, n in enumerate(shape) if a and a != axis % len(shape))
        sites = grid_codes(places).unsqueeze(axis % len(shape) - 1) if places else torch.zeros(shape[1:]).long()
        return Activation(ids.view(view).expand(shape), sites.expand(shape), ref)

    def _attribute(self, target: str) -> Any:
        path, _, name = target.rpartition(".")
        value = getattr(self.model.get_submodule(path), name)
        return self.builder.weight(value) if isinstance(value, Tensor) else value

    def _resolve(self, argument: Any) -> Any:
        return _plain(fx.node.map_arg(argument, lambda node: self.found[node]))


def _plain(item: Any) -> Any:
    """fx keeps immutable lists; the rest of torch wants its own kinds."""
    if isinstance(item, tuple) and not hasattr(item, "_fields"):
        return tuple(_plain(i) for i in item)
    if isinstance(item, list):
        return [_plain(i) for i in item]
    return {k: _plain(v) for k, v in item.items()} if isinstance(item, dict) else item


def input_axis(node: fx.Node, model: nn.Module, example: Tensor) -> int | str:
    """Which axis of an input holds neurons: decided by the first layer that reads it."""
    if example.ndim == 2:
        return -1
    moved, seen, queue = False, set(), [node]
    while queue:
        current = queue.pop(0)
        for user in current.users:
            if user in seen or user.target in ASKS_SHAPE:
                continue
            seen.add(user)
            if user.op == "call_module":
                name = type(model.get_submodule(user.target)).__name__
                if name == "Flatten":
                    return "entries"
                if name.startswith(("Conv", "BatchNorm", "GroupNorm", "InstanceNorm")):
                    return 1
                if name == "Linear" or (rule_for(model.get_submodule(user.target)) and not _passes(name)):
                    return 1 if moved else -1
            elif getattr(user.target, "__name__", "").startswith("conv"):
                return 1
            elif (user.target in ("flatten", torch.flatten) and _flattens_all(user)) or (
                user.target in ("view", "reshape", torch.reshape) and len(user.args) == 3 and user.args[2] == -1
            ):
                return "entries"
            moved |= user.target in PASSES_ON
            queue.append(user)
    return -1


def _passes(name: str) -> bool:
    return "Pool" in name or "Pad" in name or name in ("ReLU", "GELU", "Tanh", "Dropout", "Identity", "Upsample")


def _flattens_all(user: fx.Node) -> bool:
    return tuple(user.args[1:]) in ((1,), (1, -1)) or user.kwargs.get("start_dim") == 1


def is_shared(node: fx.Node) -> bool:
    """Whether another step, too, sees the neurons that this one reads first."""
    source = next(iter(node.all_input_nodes), None)
    while source is not None:
        readers = [user for user in source.users if user.target not in ASKS_SHAPE]
        if len(readers) > 1 and not _is_split(source):  # the parts of a split are other neurons, or copies
            return True
        if source.target not in PASSES_ON and not _is_item(source):
            return False
        source = next(iter(source.all_input_nodes), None)
    return False


def _is_split(node: fx.Node) -> bool:
    return node.target in ("chunk", "split", "unbind", torch.chunk, torch.split, torch.unbind)


def _is_item(node: fx.Node) -> bool:
    return getattr(node.target, "__name__", "") == "getitem"


def _is_abstract(item: Any) -> bool:
    return isinstance(item, Activation | Weight | Constant | Runtime)


def _is_runtime(item: Any) -> bool:
    return isinstance(item, Runtime)


def _holds_tensor(args: Any) -> bool:
    return tree_any(lambda item: isinstance(item, Activation | Weight | Constant), args)


@contextmanager
def _named(builder: GraphBuilder, node: fx.Node) -> Iterator[None]:
    before, builder.path = builder.path, str(node.target) if node.op == "call_module" else node.name
    yield
    builder.path = before
