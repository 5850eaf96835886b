"""What a distiller is: any way to a one-step student fits the framework, which only restricts it to its part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from .ledger import Ledger
from .step_noise import StepNoise


class DistillBatch(NamedTuple):
    """B rows for each of S students in turn; absent tensors are empty.

    labels: conditions to generate for, (S·B,). real: data (S·B, ...) with `real_labels`. pair_z, pair_x, pair_labels:
    the teacher's sampler took z to x.
    """

    labels: Tensor
    real: Tensor
    real_labels: Tensor
    pair_z: Tensor
    pair_x: Tensor
    pair_labels: Tensor


class Distiller(Protocol):
    """Losses of one iteration, each a mean over the batch. Modules: `student`, and what is trained beside it."""

    student: nn.Module
    guidance: nn.ModuleList
    ledger: Ledger

    def generate(self, batch: DistillBatch, noise: StepNoise) -> Tensor:
        """Samples of the student, with a graph where gradients are on."""

    def student_losses(self, x: Tensor, batch: DistillBatch, noise: StepNoise) -> dict[str, Tensor]:
        """Weighted terms; their sum is the student's loss. Nothing but the student is moved."""

    def guidance_losses(self, x: Tensor, batch: DistillBatch, noise: StepNoise) -> dict[str, Tensor]:
        """Weighted terms of what is trained beside the student, on the detached samples; empty if nothing is."""

    def after_student_step(self) -> None:
        """Called after every step of the student."""


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Gradients flow through the modules, but not to their parameters."""
    own = [p for m in modules for p in m.parameters() if p.requires_grad]
    for p in own:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in own:
            p.requires_grad_(True)
