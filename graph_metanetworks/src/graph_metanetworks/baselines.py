"""What graph metanets are compared with: statistics, sets of weights, a 1-D convolution over weights, a plain MLP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch import NetBatch
from .encoder import GraphEncoder
from .parameter_graph import ParameterGraph

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def statnn_features(graph: ParameterGraph, flat: Tensor, tensors: int | None = None) -> Tensor:
    """StatNN (Unterthiner et al. 2020): mean, variance and five quantiles of every tensor.

    Args:
        flat: (B, P). tensors: pads with zeros to so many tensors, for several architectures; None: no padding.
    Returns:
        (B, 7 · tensors).
    Raises:
        ValueError: the architecture has more tensors than that.
    """
    layout, rows = graph.layout, []
    for shape, offset in zip(layout.shapes, layout.offsets, strict=True):
        part = flat[:, offset : offset + torch.Size(shape).numel()]
        quantiles = torch.quantile(part, part.new_tensor(QUANTILES), dim=1).T
        rows.append(torch.cat([part.mean(1, keepdim=True), part.var(1, correction=0, keepdim=True), quantiles], 1))
    features = torch.cat(rows, 1)
    wanted = features.shape[1] if tensors is None else 7 * tensors
    if features.shape[1] > wanted:
        raise ValueError(f"at most {tensors} tensors expected, this architecture has {len(layout.shapes)}")
    return F.pad(features, (0, wanted - features.shape[1]))


class StatNN(nn.Module):
    """An MLP on `statnn_features`; of one architecture, or of several whose tensors are padded to `tensors`."""

    def __init__(self, outputs: int, tensors: int, hidden: int = 128):
        super().__init__()
        self.tensors = tensors
        self.norm = nn.LayerNorm(7 * tensors)
        self.readout = nn.Sequential(
            nn.Linear(7 * tensors, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        )

    def forward(self, batch: NetBatch) -> Tensor:
        dtype = self.readout[0].weight.dtype
        rows = [statnn_features(graph, flat.to(dtype), self.tensors) for graph, flat in batch.groups]
        return batch.restore(self.readout(self.norm(torch.cat(rows))))


class DeepSetsMetanet(nn.Module):
    """Edges as a set: the graph's own encoder of type, layer, position and value, no message passing."""

    def __init__(self, outputs: int = 1, width: int = 32, depth: int = 3):
        super().__init__()
        self.encoder = GraphEncoder(width)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.ReLU()]
        self.each = nn.Sequential(*layers)
        self.readout = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, outputs))

    def forward(self, batch: NetBatch) -> Tensor:
        rows = []
        for (graph, _), values in zip(batch.groups, batch.values(self.readout[0].weight.dtype), strict=True):
            edges = self.encoder.edges(graph) + self.encoder.edge_values(graph, values)
            rows.append(self.each(edges.relu()).mean(1))
        return batch.restore(self.readout(torch.cat(rows)))


class DMC(nn.Module):
    """Deep meta-classifier (Eilertsen et al. 2020): a 1-D CNN on the flat parameter vector, of any length."""

    def __init__(self, outputs: int = 1, width: int = 32, kernel: int = 8, stride: int = 4, depth: int = 3):
        super().__init__()
        self.kernel = kernel
        layers: list[nn.Module] = [nn.Conv1d(1, width, kernel, stride), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Conv1d(width, width, kernel, stride, padding=kernel // 2), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.readout = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, outputs))

    def forward(self, batch: NetBatch) -> Tensor:
        rows = []
        for _, flat in batch.groups:
            flat = flat.to(self.readout[0].weight.dtype)
            maps = self.convolutions(F.pad(flat, (0, max(0, self.kernel - flat.shape[1])))[:, None])
            rows.append(torch.cat([maps.mean(-1), maps.amax(-1)], -1))
        return batch.restore(self.readout(torch.cat(rows)))


class FlatMLP(nn.Module):
    """An MLP on the flat parameters of one architecture."""

    def __init__(self, parameters: int, outputs: int, hidden: int = 256):
        super().__init__()
        self.parameters = parameters
        self.net = nn.Sequential(
            nn.Linear(parameters, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        )

    def forward(self, batch: NetBatch) -> Tensor:
        if len(batch.groups) != 1 or batch.groups[0][1].shape[1] != self.parameters:
            sizes = [flat.shape[1] for _, flat in batch.groups]
            raise ValueError(f"a flat MLP reads one architecture of {self.parameters} parameters, got {sizes}")
        return batch.restore(self.net(batch.groups[0][1].to(self.net[0].weight.dtype)))


class EditingFlatMLP(nn.Module):
    """θ̃ = θ + γ · MLP(θ) on flat parameters."""

    def __init__(self, parameters: int, hidden: int = 256, scale: float = 0.01):
        super().__init__()
        self.flat = FlatMLP(parameters, parameters, hidden)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, batch: NetBatch) -> list[Tensor]:
        (_, flat), change = batch.groups[0], self.flat(batch)
        return [flat + self.scale * change[batch.order]]
