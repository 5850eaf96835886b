"""SpaceMesh: vectors at vertices that decode to manifold polygon meshes, whatever their values.

fit_mesh(mesh).embedding          the vectors of any mesh that is an oriented manifold
decode(positions, embedding, tau) the mesh of any vectors
edges_to_polygons(positions, edges)  faces for bare edges, without a network
"""

from .batch import MeshBatch
from .collection import CollectionTraining
from .connectivity import Connectivity, Targets
from .cycles import decode_cycles
from .data import ABC, MeshFolder, ProceduralMeshes, ShapeNetCore, Thingi10K
from .decode import Decoded, decode, decode_faces
from .diffusion import VertexDiffusion
from .embedding import EmbeddingSizes, VertexEmbedding
from .errors import NotRepresentable
from .files import read_mesh, read_polygons, write_mesh, write_polygons
from .fit import FitResult, FitSettings, fit_mesh
from .geometric import edges_to_polygons, geometric_permutation_embedding
from .halfedge import HalfedgeMesh
from .manifold import ManifoldReport, manifold_report
from .metrics import MeshMetrics, edge_scores, face_scores, mesh_metrics
from .permutation import permutation_loss, permutation_scores, sinkhorn_log
from .predictor import ConnectivityPredictor, PointCloudEncoder
from .repair import Repaired, repair_mesh
from .representable import make_representable, weld
from .spacetime import decode_edges, decode_edges_pruned, exact_embedding, spacetime_sqdist, spectral_embedding
from .training import ConnectivityTraining
from .triangulation import triangulate

__version__ = "0.1.0"
__all__ = [
    "ABC",
    "CollectionTraining",
    "Connectivity",
    "ConnectivityPredictor",
    "ConnectivityTraining",
    "Decoded",
    "EmbeddingSizes",
    "FitResult",
    "FitSettings",
    "HalfedgeMesh",
    "ManifoldReport",
    "MeshBatch",
    "MeshFolder",
    "MeshMetrics",
    "NotRepresentable",
    "PointCloudEncoder",
    "ProceduralMeshes",
    "Repaired",
    "ShapeNetCore",
    "Targets",
    "Thingi10K",
    "VertexDiffusion",
    "VertexEmbedding",
    "decode",
    "decode_cycles",
    "decode_edges",
    "decode_edges_pruned",
    "decode_faces",
    "edge_scores",
    "edges_to_polygons",
    "exact_embedding",
    "face_scores",
    "fit_mesh",
    "geometric_permutation_embedding",
    "make_representable",
    "manifold_report",
    "mesh_metrics",
    "permutation_loss",
    "permutation_scores",
    "read_mesh",
    "read_polygons",
    "repair_mesh",
    "sinkhorn_log",
    "spacetime_sqdist",
    "spectral_embedding",
    "triangulate",
    "weld",
    "write_mesh",
    "write_polygons",
]
