"""ATT3D: one network from text to 3-D scenes, trained on many prompts at once.

model.generate("spike-topped red cube")   scenes in one pass
MappingNetwork, ModulatedGridEncoder      text -> grid, and its batched look-up
ExactPrior, ScoreDistillation             the oracle prior, and what distils it
"""

from .background import ConstantBackground, ModulatedBackground
from .cameras import Cameras, CameraSampler, ring
from .checkpoints import load_model, save_model
from .data import PromptBatch, PromptDataModule
from .distillation import (
    AsynchronousDistillation,
    ClassifierDistillation,
    ScoreDistillation,
    VariationalDistillation,
    dot_loss,
    mse_loss,
)
from .embeddings import EmbeddingCache
from .field import DensityBlob, RadianceField, SharedDecoder, StackedDecoder, normals
from .grid_encoder import PAPER_RESOLUTIONS, ModulatedGridEncoder
from .guidance import ExactPrior, Guidance, PerpNeg
from .interpolation import PromptInterpolator, Strategy, dirichlet_shares
from .mapping import MappingNetwork
from .mesh import to_mesh
from .metrics import RPrecision, RProbability, clip_scores, iou, psnr
from .packed import packed_scans_work, render_packed
from .per_prompt import PerPromptBaseline, finetuning
from .prompts import PromptLibrary, read_prompts
from .regularisers import Regularisers
from .renderer import RenderOutput, VolumeRenderer
from .scenes import Scenes
from .shape_prior import ShapePrior
from .shapes import ShapeField, render_truth, shape_prompts
from .text import CLIPTextEncoder, HashTokenEncoder, T5TextEncoder, TextEncoder
from .training import ATT3D, SceneSettings
from .tuning import finetune
from .view_prompts import view_buckets, with_view

__version__ = "0.1.0"
__all__ = [
    "ATT3D",
    "PAPER_RESOLUTIONS",
    "AsynchronousDistillation",
    "CLIPTextEncoder",
    "CameraSampler",
    "Cameras",
    "ClassifierDistillation",
    "ConstantBackground",
    "DensityBlob",
    "EmbeddingCache",
    "ExactPrior",
    "Guidance",
    "HashTokenEncoder",
    "MappingNetwork",
    "ModulatedBackground",
    "ModulatedGridEncoder",
    "PerPromptBaseline",
    "PerpNeg",
    "PromptBatch",
    "PromptDataModule",
    "PromptInterpolator",
    "PromptLibrary",
    "RPrecision",
    "RProbability",
    "RadianceField",
    "Regularisers",
    "RenderOutput",
    "SceneSettings",
    "Scenes",
    "ScoreDistillation",
    "ShapeField",
    "ShapePrior",
    "SharedDecoder",
    "StackedDecoder",
    "Strategy",
    "T5TextEncoder",
    "TextEncoder",
    "VariationalDistillation",
    "VolumeRenderer",
    "clip_scores",
    "dirichlet_shares",
    "dot_loss",
    "finetune",
    "finetuning",
    "iou",
    "load_model",
    "mse_loss",
    "normals",
    "packed_scans_work",
    "psnr",
    "read_prompts",
    "render_packed",
    "render_truth",
    "ring",
    "save_model",
    "shape_prompts",
    "to_mesh",
    "view_buckets",
    "with_view",
]
