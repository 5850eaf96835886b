"""Parameter graphs for other libraries: PyTorch Geometric and networkx."""

from __future__ import annotations

import torch
from torch import Tensor

from .parameter_graph import ParameterGraph
from .vocabulary import EDGE_TYPES, NODE_TYPES


def to_pyg(graph: ParameterGraph, values: Tensor):
    """A `torch_geometric.data.Data`: x is (type, layer, index, activation), edge_attr (value, type, layer, position).

    Raises:
        ImportError: torch_geometric is not installed (the extra `pyg`).
    """
    from torch_geometric.data import Data

    node = [graph.node_type, graph.node_layer, graph.node_index, graph.node_activation]
    edge = torch.stack([graph.edge_type, graph.edge_layer], 1).to(values.dtype)
    return Data(
        x=torch.stack([part.to(values.dtype) for part in node], 1),
        edge_index=torch.stack([graph.edge_src, graph.edge_dst]).long(),
        edge_attr=torch.cat([values[:, None], edge, graph.edge_pos.to(values.dtype)], 1),
        edge_param=graph.edge_param.long(),
    )


def to_networkx(graph: ParameterGraph):
    """A `networkx.MultiDiGraph` with the names of types."""
    from networkx import MultiDiGraph

    drawn = MultiDiGraph()
    for number, (kind, layer) in enumerate(zip(graph.node_type.tolist(), graph.node_layer.tolist(), strict=True)):
        drawn.add_node(number, type=NODE_TYPES[kind], layer=layer)
    ends = zip(graph.edge_src.tolist(), graph.edge_dst.tolist(), graph.edge_type.tolist(), strict=True)
    drawn.add_edges_from((a, b, {"type": EDGE_TYPES[kind]}) for a, b, kind in ends)
    return drawn
