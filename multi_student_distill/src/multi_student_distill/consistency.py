"""A second distiller: consistency distillation (Song et al., 2023), for the paper's remark that any distiller fits.

f(x, σ) = x at σ_min, and f(x_{n+1}, σ_{n+1}) is drawn to f⁻(x̂_n, σ_n), where the teacher's Heun step leads from x_{n+1}
to x̂_n and f⁻ is a slow average of f. A trained f takes σ_max z to a sample in one step.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .distiller import DistillBatch
from .edm import SIGMA_MIN, EDMDenoiser, karras_sigmas, like
from .ledger import Ledger
from .step_noise import StepNoise


class ConsistencyFunction(EDMDenoiser):
    """f(x, σ, y): EDM's scalings moved so that f(x, σ_min) = x, exactly."""

    def _forward(self, x: Tensor, sigma: Tensor, labels: Tensor, features: bool) -> tuple[Tensor, Tensor | None]:
        sigma = sigma.to(x.dtype).expand(len(x))
        s, d = like(sigma, x), self.sigma_data
        norm = (s.square() + d**2).sqrt()
        raw = self.net(x / norm, sigma.log() / 4, labels)
        above = s - SIGMA_MIN
        return d**2 / (above.square() + d**2) * x + above * d / norm * raw, None


class ConsistencyDistillation(nn.Module):
    """The losses of one iteration; nothing is trained beside the student.

    Args:
        teacher: μ_T. student: a `ConsistencyFunction`. steps: n of the grid. decay: of the slow average.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: ConsistencyFunction,
        steps: int = 18,
        decay: float = 0.95,
        ledger: Ledger | None = None,
    ):
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.teacher, self.student = teacher.requires_grad_(False), student
        self.target = copy.deepcopy(student).requires_grad_(False)
        self.guidance = nn.ModuleList()
        self.decay, self.ledger = decay, ledger or Ledger()
        self.register_buffer("grid", karras_sigmas(steps).flip(0), persistent=False)  # ascending

    def generate(self, batch: DistillBatch, noise: StepNoise) -> Tensor:
        """The batch's data: this distiller trains on noised data, and generates nothing."""
        return batch.real

    def student_losses(self, x: Tensor, batch: DistillBatch, noise: StepNoise) -> dict[str, Tensor]:
        """E |f(x_{n+1}) - f⁻(x̂_n)|² on noised real data of the student's part."""
        real, labels, rows = batch.real, batch.real_labels, len(batch.real) // noise.students
        level = noise.integers(0, len(self.grid) - 1, rows)
        low, high = self.grid[level], self.grid[level + 1]
        noised = real + like(high, real) * noise.normal(rows, *real.shape[1:])
        with torch.no_grad():
            target = self.target(self.heun(noised, high, low, labels), low, labels)
        self.ledger.count("teacher", 2 * len(real))
        self.ledger.count("student", len(real))
        self.ledger.count("student", len(real), backward=True)
        return {"consistency": (self.student(noised, high, labels) - target).square().mean()}

    def heun(self, x: Tensor, high: Tensor, low: Tensor, labels: Tensor) -> Tensor:
        """One step of the teacher's ODE from σ = high to low, each (N,)."""
        up, down = like(high, x), like(low, x)
        slope = (x - self.teacher(x, high, labels)) / up
        euler = x + (down - up) * slope
        second = (euler - self.teacher(euler, low, labels)) / down
        return x + (down - up) * (slope + second) / 2

    def guidance_losses(self, x: Tensor, batch: DistillBatch, noise: StepNoise) -> dict[str, Tensor]:
        return {}

    @torch.no_grad()
    def after_student_step(self) -> None:
        """The slow average follows."""
        for slow, fast in zip(self.target.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.decay)
