"""Multi-student distillation: several one-step students, each for its part of the conditions, and a router.

Partition.contiguous(C, K)           which student answers for which condition
DMD2(teacher, student, fake, head)   the losses of an iteration; K = 1 is plain DMD2
route(students, chosen, z, labels)   a mixed batch, each needed student run once
"""

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
