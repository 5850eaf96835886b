"""Graph Metanetworks for Processing Diverse Neural Architectures (Lim, Maron, Law, Lorraine, Lucas, ICLR 2024).

`build_parameter_graph` draws any network that torch.fx can trace as a graph with one edge per parameter, whose
automorphisms are the network's symmetries; graph metanets read, compare and edit networks through it. The experiments
are the command `graph-metanetworks`.
"""

from .baselines import DMC, DeepSetsMetanet, EditingFlatMLP, FlatMLP, StatNN, statnn_features
from .batch import NetBatch, collate, edge_budget_batches
from .interop import to_networkx, to_pyg
from .layer import GraphMetanetLayer
from .metanet import EdgeHead, EditingMetanet, GraphMetanet, InvariantHead, InvariantMetanet
from .networks.equivariant import EquivariantLinear
from .networks.triplane import Triplane
from .npnfn import NPNFN
from .parameter_graph import ParameterGraph
from .reference_layer import ReferenceLayer
from .registry import UnsupportedModuleError, register_function, register_module
from .scatter import scatter_mean
from .symmetry import automorphism_count, automorphism_generators, is_symmetry, permute
from .tracing import build_parameter_graph

__version__ = "0.1.0"
__all__ = [
    "DMC",
    "NPNFN",
    "DeepSetsMetanet",
    "EdgeHead",
    "EditingFlatMLP",
    "EditingMetanet",
    "EquivariantLinear",
    "FlatMLP",
    "GraphMetanet",
    "GraphMetanetLayer",
    "InvariantHead",
    "InvariantMetanet",
    "NetBatch",
    "ParameterGraph",
    "ReferenceLayer",
    "StatNN",
    "Triplane",
    "UnsupportedModuleError",
    "automorphism_count",
    "automorphism_generators",
    "build_parameter_graph",
    "collate",
    "edge_budget_batches",
    "is_symmetry",
    "permute",
    "register_function",
    "register_module",
    "scatter_mean",
    "statnn_features",
    "to_networkx",
    "to_pyg",
]
