"""Teacher score matching (TSM): a student too small to copy the teacher's weights first imitates its denoiser.

L = E λ(σ) |μ_φ(x_σ, σ, y) - μ_T(x_σ, σ, y)|² on noised real images of the student's own part. The target is the teacher
and not the data: a teacher that is wrong must be imitated, and with an exact one the gradient is that of denoising
score matching with less variance. The law of σ must reach the σ where the student will generate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .edm import like


def tsm_loss(student: nn.Module, teacher: nn.Module, x: Tensor, labels: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """The loss, averaged over all entries.

    Args:
        x: real data (N, ...). labels: (N,). sigma: (N,). noise: standard normal, shape of x.
    """
    noised = x + like(sigma, x) * noise
    with torch.no_grad():
        target = teacher(noised, sigma, labels)
    error = (student(noised, sigma, labels) - target).square()
    return (like(student.loss_weight(sigma), x) * error).mean()
