"""Verbs for one's own networks: zoo, graph and check-symmetry."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from .figures import graph_figure
from .networks.families import FAMILIES
from .parameter_graph import ParameterGraph
from .results import save_figure
from .tracing import build_parameter_graph
from .zoo import Recipe
from .zoo_files import cached_nets

DRAWABLE = 20_000  # edges of a figure
COUNTABLE = 100_000  # edges of a graph whose automorphisms are counted


def zoo(
    family: str = "all", *, width: int = 8, count: int = 96, seed: int = 0, out: str = "runs/graph_metanetworks-zoo"
) -> int:
    """Train a zoo of small classifiers and keep it as safetensors files.

    Args:
        family: mlp, cnn, cnn_norm, residual, deep_sets, vit, or all.
        width: Of every hidden layer.
        count: Networks of each family.
        seed: Of all draws.
        out: Folder for the files.
    """
    chosen = list(FAMILIES) if family == "all" else [family]
    for name in chosen:
        nets = cached_nets(out, name, width, count, Recipe(), seed)
        low, middle, high = torch.quantile(nets.accuracy, torch.tensor([0.25, 0.5, 0.75])).tolist()
        print(f"{name} of width {width}: {count} networks, accuracy {middle:.2f} ({low:.2f} to {high:.2f})")
    print(f"safetensors: {out}")
    return 0


def graph(
    network: str,
    *,
    input: list[int] | None = None,
    integers: bool = False,
    style: str = "exact",
    include_buffers: bool = False,
    out: str | None = None,
) -> int:
    """Draw a network as a parameter graph: counts of nodes and edges by type, and whether the graph alone computes it.

    Args:
        network: pkg.mod:Net, a class without arguments, a function or an instance.
        input: Shape of one input without the batch axis, as [3,32,32]; Net.example_input, if there is one, otherwise.
        integers: The input is token numbers.
        style: exact or paper.
        include_buffers: Edges for running statistics and fixed tensors in the paper's style, too.
        out: A PNG file for a picture.
    """
    model, example = load_network(network, input, integers)
    drawn = build_parameter_graph(model, example, style, include_buffers=True if include_buffers else None)
    print(drawn.describe())
    report_execution(drawn, model, example)
    if out:
        if drawn.num_edges > DRAWABLE:
            raise ValueError(f"--out: a picture of {drawn.num_edges} edges shows nothing; at most {DRAWABLE} are drawn")
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        save_figure(out, graph_figure(drawn))
        print(f"picture: {out}")
    return 0


def check_symmetry(
    network: str,
    *,
    input: list[int] | None = None,
    integers: bool = False,
    style: str = "exact",
    tolerance: float = 1e-8,
) -> int:
    """Count a graph's automorphisms and try every generator on the network; status 1 if one changes the function.

    Args:
        network: pkg.mod:Net, a class without arguments, a function or an instance.
        input: Shape of one input without the batch axis, as [3,32,32]; Net.example_input, if there is one, otherwise.
        integers: The input is token numbers.
        style: exact or paper.
        tolerance: Largest change of an output that counts as none, relative to the largest output, in float64.
    """
    model, example = load_network(network, input, integers)
    model = model.double().eval()
    example = example.double() if example.is_floating_point() else example
    drawn = build_parameter_graph(model, example, style, include_buffers=True)
    if drawn.num_edges > COUNTABLE:
        raise ValueError(f"{network}: {drawn.num_edges} edges are too many to count automorphisms; make it narrower")
    generators = drawn.automorphism_generators()
    print(f"{drawn.automorphism_count():,} automorphisms, {len(generators)} generators")
    worst = 0.0
    with torch.no_grad():
        output = model(example)
        for phi in generators:
            moved = torch.func.functional_call(model, drawn.permute(phi, model), (example,), strict=False)
            worst = max(worst, float((moved - output).abs().max() / output.abs().max().clamp(min=1e-30)))
    kept = worst <= tolerance
    print(
        f"largest change of the function: {worst:.2g}, " + ("all are symmetries" if kept else "NOT all are symmetries")
    )
    return int(not kept)


def report_execution(drawn: ParameterGraph, model: nn.Module, example: Tensor) -> None:
    """Whether the graph computes what the network does, where all that it needs are edges."""
    training = model.training
    model.eval()
    with torch.no_grad():
        difference = (drawn.execute(example, values=drawn.edge_values(model)) - model(example)).abs().max()
    model.train(training)
    print(f"the graph alone computes the network up to {float(difference):.2g}")


def load_network(name: str, shape: list[int] | None, integers: bool) -> tuple[nn.Module, Tensor]:
    """The network pkg.mod:Net and an example of two inputs.

    Raises:
        ValueError: no such module or name, not a network, or no shape of an input is known.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"{name}: expected pkg.mod:Net")
    sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"{name}: cannot import {module_name} ({error})") from error
    finally:
        sys.path.pop(0)
    if not hasattr(found, attribute):
        raise ValueError(f"{name}: {module_name} has no {attribute}")
    found = getattr(found, attribute)
    try:
        model = found if isinstance(found, nn.Module) else found()
    except TypeError as error:
        raise ValueError(f"{name}: it must be callable without arguments ({error})") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name}: a torch.nn.Module expected, got a {type(model).__name__}")
    example = getattr(model, "example_input", None)
    if shape is None and example is None:
        raise ValueError(
            f"{name}: say the shape of one input, as --input=[3,32,32], or give the class an example_input"
        )
    if shape is None:
        return model, example
    generator = torch.Generator().manual_seed(0)
    return model, torch.zeros(2, *shape).long() if integers else torch.randn(2, *shape, generator=generator)
