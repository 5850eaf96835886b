"""LATTE3D: from a prompt to a textured mesh in one forward pass.

Latte3DPipeline.from_pretrained(checkpoint)(prompts)   textured meshes, exported by .export("a.glb")
get_rasterizer("auto"), antialias, marching_tetrahedra  meshes to pixels and back, with gradients, in pure torch
CleanDistillation(...)(prior, x, t, noise, condition)   the loss under any diffusion prior
"""

from .antialias import antialias
from .assets import AssetFolder
from .bake import bake_texture
from .cameras import Cameras, CameraSampler, orbit, ring
from .diffusion import Condition, TimeRange
from .marching_tetrahedra import isosurface, kuhn_tet_grid, marching_tetrahedra
from .metrics import chamfer_distance, mask_iou, render_fid, retrieval_at_k, volume_iou
from .networks import GeometryNetwork, Latte3D, Sizes, Text, TextureNetwork, TriplaneEncoder, dummy_cloud
from .pipeline import Latte3DPipeline
from .point_voxel import PointVoxelEncoder
from .pretrained import ControlNetDepthPrior, MVDreamPrior
from .prior_files import read_prior, write_prior
from .priors import DepthDiffusionPrior, MultiViewAttnProcessor, MultiViewDiffusionPrior
from .rasterizer import PackedMeshes, Rasterizer, RasterOutput, get_rasterizer, interpolate, pack
from .retrieval import ShapeRetriever
from .score_distillation import CleanDistillation, NoiseDistillation
from .shapes import ProceduralShapes, Shape
from .stages import ReconstructionStage, SurfaceStage, VolumetricStage
from .surface import extract, render_surface
from .text import WordEncoder
from .textured_mesh import TexturedMesh, read_mesh
from .triplane_unet import TriplaneUNet
from .volsdf import VolSDFRenderer

__version__ = "0.1.0"
__all__ = [
    "AssetFolder",
    "CameraSampler",
    "Cameras",
    "CleanDistillation",
    "Condition",
    "ControlNetDepthPrior",
    "DepthDiffusionPrior",
    "GeometryNetwork",
    "Latte3D",
    "Latte3DPipeline",
    "MVDreamPrior",
    "MultiViewAttnProcessor",
    "MultiViewDiffusionPrior",
    "NoiseDistillation",
    "PackedMeshes",
    "PointVoxelEncoder",
    "ProceduralShapes",
    "RasterOutput",
    "Rasterizer",
    "ReconstructionStage",
    "Shape",
    "ShapeRetriever",
    "Sizes",
    "SurfaceStage",
    "Text",
    "TextureNetwork",
    "TexturedMesh",
    "TimeRange",
    "TriplaneEncoder",
    "TriplaneUNet",
    "VolSDFRenderer",
    "VolumetricStage",
    "WordEncoder",
    "antialias",
    "bake_texture",
    "chamfer_distance",
    "dummy_cloud",
    "extract",
    "get_rasterizer",
    "interpolate",
    "isosurface",
    "kuhn_tet_grid",
    "marching_tetrahedra",
    "mask_iou",
    "orbit",
    "pack",
    "read_mesh",
    "read_prior",
    "render_fid",
    "render_surface",
    "retrieval_at_k",
    "ring",
    "volume_iou",
    "write_prior",
]
