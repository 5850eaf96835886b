"""Multi-student distillation: several one-step students, each for its part of the conditions, and a router.

Partition.contiguous(C, K)           which student answers for which condition
DMD2(teacher, student, fake, head)   the losses of an iteration; K = 1 is plain DMD2
route(students, chosen, z, labels)   a mixed batch, each needed student run once
"""

from importlib import import_module

from .adversarial import gan_discriminator_loss, gan_generator_loss
from .consistency import ConsistencyDistillation, ConsistencyFunction
from .distiller import DistillBatch, Distiller
from .distribution_matching import denoising_loss, distribution_matching_gradient, distribution_matching_loss
from .dmd import DMD2, DMDWeights
from .edm import EDMDenoiser, edm_sampler, karras_sigmas, one_step
from .ledger import Ledger
from .metrics import energy_distance, frechet_distance, precision_recall
from .mixture import MixtureDenoiser
from .networks import ImageUNet, ResidualMLP
from .partition import Partition
from .regression import regression_loss
from .routing import ClassRouter, EmbeddingRouter, route
from .student_stack import StudentStack
from .teacher_score_matching import tsm_loss

__version__ = "0.1.0"

# Imported when asked for: diffusers and Lightning take seconds. A pipeline finds its classes here when it is loaded.
LAZY = {
    "PACKAGED": "pipeline",
    "MultiStudentPipeline": "pipeline",
    "MultiStudentStableDiffusionPipeline": "text_pipeline",
    "Students": "pipeline",
    "StudentModel": "pipeline",
    "ClassRouterModel": "pipeline",
    "EmbeddingRouterModel": "pipeline",
    "TeacherModule": "training",
    "TSMModule": "training",
    "DistillModule": "distill",
    "ConsistencyModule": "distill",
    "PairedDataset": "pairs",
    "PartitionedDataModule": "partitioned",
    "convert_edm_state_dict": "convert_edm",
    "load_denoiser": "denoisers",
    "save_denoiser": "denoisers",
}


def __getattr__(name: str):
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{LAZY[name]}", __name__), name)


__all__ = [
    "DMD2",
    "ClassRouter",
    "ConsistencyDistillation",
    "ConsistencyFunction",
    "DMDWeights",
    "DistillBatch",
    "Distiller",
    "EDMDenoiser",
    "EmbeddingRouter",
    "ImageUNet",
    "Ledger",
    "MixtureDenoiser",
    "Partition",
    "ResidualMLP",
    "StudentStack",
    "denoising_loss",
    "distribution_matching_gradient",
    "distribution_matching_loss",
    "edm_sampler",
    "energy_distance",
    "frechet_distance",
    "gan_discriminator_loss",
    "gan_generator_loss",
    "karras_sigmas",
    "one_step",
    "precision_recall",
    "regression_loss",
    "route",
    "tsm_loss",
    *LAZY,
]
