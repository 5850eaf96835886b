"""The compared surrogates by name: none (DyHPO), FLAT, STAT, NFN, GMN, each with or without the learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from .encoders import FlatEncoder, NFNEncoder, NoEncoder, StatEncoder, WeightEncoder
from .graph_encoder import GraphEncoder
from .parameter_graph import ParameterGraph
from .surrogate import DeepKernel, DeepKernelGP

ENCODERS = ("none", "flat", "stat", "nfn", "gmn")


@dataclass(frozen=True)
class SurrogateSettings:
    """encoder: one of none, flat, stat, nfn, gmn. curve: look at the learning curve. width, blocks: of the graph
    metanetwork. out: of the embedding of GMN and STAT. multi_horizon: predict any later epoch, not the next alone."""

    encoder: str = "gmn"
    curve: bool = True
    width: int = 8
    blocks: int = 2
    out: int = 32
    frequency: float = 1.5
    multi_horizon: bool = False

    def __post_init__(self):
        if self.encoder not in ENCODERS:
            raise ValueError(f"unknown encoder {self.encoder!r}, choose from {', '.join(ENCODERS)}")


def make_encoder(settings: SurrogateSettings, graphs: Sequence[ParameterGraph]) -> WeightEncoder:
    """The encoder for checkpoints of these architectures."""
    if settings.encoder == "none":
        return NoEncoder()
    if not graphs:
        raise ValueError(f"the encoder {settings.encoder!r} needs checkpoints, and there are none: take 'none'")
    if settings.encoder == "flat":
        return FlatEncoder(max(sum(torch.Size(shape).numel() for _, shape in g.shapes) for g in graphs))
    if settings.encoder == "stat":
        return StatEncoder(max(len(g.shapes) for g in graphs), settings.out)
    if settings.encoder == "nfn":
        if len(set(graphs)) > 1:
            raise ValueError(f"NFN reads one architecture, got {len(set(graphs))}; take stat or gmn")
        return NFNEncoder(graphs[0])
    return GraphEncoder(settings.width, settings.blocks, settings.out, settings.frequency)


def make_surrogate(
    settings: SurrogateSettings, config_size: int, graphs: Sequence[ParameterGraph], seed: int
) -> DeepKernelGP:
    """A new surrogate whose first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = make_encoder(settings, graphs)
        return DeepKernelGP(DeepKernel(config_size, 1 + settings.multi_horizon, encoder, settings.curve))


def load_surrogate(gp: DeepKernelGP, parameters: Mapping[str, torch.Tensor]) -> None:
    """Parameters of a surrogate of the same kind.

    Raises:
        ValueError: they are of another encoder, space or width.
    """
    try:
        gp.load_state_dict(dict(parameters))
    except RuntimeError as error:
        raise ValueError(
            f"the pretrained surrogate is of another kind: {str(error).splitlines()[-1].strip()}"
        ) from error
