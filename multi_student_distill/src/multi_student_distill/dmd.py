"""Distribution matching with a fake score, regression on pairs, and an adversarial head: DMD and DMD2 in one iteration.

The same iteration serves one student (K = 1 is plain DMD2) and each of several; only their batches differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from .adversarial import gan_discriminator_loss, gan_generator_loss
from .distiller import DistillBatch, frozen
from .distribution_matching import MATCH_HIGH, MATCH_LOW, denoising_loss, matched_loss
from .edm import LEVELS, like, one_step
from .ledger import Ledger
from .regression import Distance, regression_loss
from .step_noise import StepNoise


@dataclass(frozen=True)
class DMDWeights:
    """λ of each term; a term of weight 0 is not computed.

    regression: λ_reg (DMD 0.25). generator: of L_G (DMD2 3e-3 on ImageNet). head: of L_D (DMD2 1e-2), added to the fake
    score's loss.

    Raises:
        ValueError: a negative weight, or one of generator and head alone.
    """

    regression: float = 0.25
    generator: float = 0.0
    head: float = 0.0

    def __post_init__(self):
        if min(self.regression, self.generator, self.head) < 0:
            raise ValueError(f"weights must be at least 0, got {self}")
        if (self.generator > 0) != (self.head > 0):
            raise ValueError(f"the adversarial term needs both weights or neither, got {self.generator}, {self.head}")


class DMD2(nn.Module):
    """The losses of one iteration.

    Args:
        teacher: μ_T, frozen. student: its `one_step` is G. fake: μ_fake, trained on the student's samples.
        head: bottleneck of the fake score -> logits (N,); None without the adversarial term.
        ledger: where passes are counted, under teacher, student, fake.
    Raises:
        ValueError: a head without a weight of its loss, or the other way round.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        fake: nn.Module,
        head: nn.Module | None = None,
        weights: DMDWeights | None = None,
        distance: Distance = mse_loss,
        ledger: Ledger | None = None,
    ):
        super().__init__()
        self.weights = weights or DMDWeights()
        if (head is None) != (self.weights.head == 0):
            raise ValueError("a head and a weight of its loss belong together")
        self.teacher, self.student = teacher.requires_grad_(False), student
        self.guidance = nn.ModuleList([fake] if head is None else [fake, head])
        self.distance, self.ledger = distance, ledger or Ledger()

    @property
    def fake(self) -> nn.Module:
        return self.guidance[0]

    def generate(self, batch: DistillBatch, noise: StepNoise) -> Tensor:
        """G(z, y) for fresh z, (S·B, ...)."""
        z = noise.normal(len(batch.labels) // noise.students, *self.shape_of(batch))
        graph = torch.is_grad_enabled()
        self.ledger.count("student", len(z), backward=graph)
        self.ledger.generated += len(z)
        return one_step(self.student, z, batch.labels)

    def shape_of(self, batch: DistillBatch) -> tuple[int, ...]:
        """Of one sample; every batch carries data or pairs or an empty tensor of their shape."""
        return tuple(batch.real.shape[1:])

    def student_losses(self, x: Tensor, batch: DistillBatch, noise: StepNoise) -> dict[str, Tensor]:
        """L_DM, λ_reg ℓ and λ_G L_G; teacher and guidance receive no gradient."""
        rows = len(x) // noise.students
        levels = noise.integers(MATCH_LOW, MATCH_HIGH + 1, rows)
        draw = noise.normal(rows, *x.shape[1:])
        losses = {"matching": matched_loss(self.teacher, self.fake, x, batch.labels, levels, draw)}
        self.ledger.count("teacher", len(x))
        self.ledger.count("fake", len(x))
        if self.weights.regression:
            generated = one_step(self.student, batch.pair_z, batch.pair_labels)
            self.ledger.count("student", len(generated), backward=True)
            losses["regression"] = self.weights.regression * regression_loss(generated, batch.pair_x, self.distance)
        if self.weights.generator:
            with frozen(self.guidance):
                logits = self.logits(x, batch.labels, noise)
            self.ledger.count("fake", len(x), backward=True)
            losses["generator"] = self.weights.generator * gan_generator_loss(logits)
        return losses

    def guidance_losses(self, x: Tensor, batch: DistillBatch, noise: StepNoise) -> dict[str, Tensor]:
        """The fake score's denoising loss, and λ_D L_D, which reaches the fake score's backbone too."""
        x, rows = x.detach(), len(x) // noise.students
        sigma = self.fake.levels[noise.integers(0, LEVELS, rows)]
        noised = x + like(sigma, x) * noise.normal(rows, *x.shape[1:])
        denoised = self.fake(noised, sigma, batch.labels)
        losses = {"denoising": denoising_loss(denoised, x, self.fake.loss_weight(sigma))}
        self.ledger.count("fake", len(x), backward=True)
        if self.weights.head:
            fakes = self.logits(x, batch.labels, noise)
            reals = self.logits(batch.real, batch.real_labels, noise)
            self.ledger.count("fake", 2 * len(x), backward=True)
            losses["head"] = self.weights.head * gan_discriminator_loss(fakes, reals)
        return losses

    def logits(self, x: Tensor, labels: Tensor, noise: StepNoise) -> Tensor:
        """The head's verdict on x, noised at a level of its own for each row."""
        rows = len(x) // noise.students
        sigma = self.fake.levels[noise.integers(0, LEVELS, rows)]
        noised = x + like(sigma, x) * noise.normal(rows, *x.shape[1:])
        return self.guidance[1](self.fake.with_features(noised, sigma, labels)[1])

    def after_student_step(self) -> None:
        """Nothing: the fake score follows by its own steps."""
