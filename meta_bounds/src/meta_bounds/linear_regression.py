"""Theorem 3: the lower bound for linear regression, with constants that hold, and tighter ones for packings at hand.

y ~ N(Xθ, σ²I), |θ| <= 1, squared error; γ = max_i σ_max(X_i / √n_i) over all tasks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .divergence import linear_kl_bits, mean_kl
from .fano import Bound
from .packing import Packing
from .setting import Number, check_packing_holds, counts, float64, positive

AVERAGE_KL = 16 / math.log(2)  # bits per sample for γ² δ² / σ² = 1, averaged over pairs
PRINTED_FACTOR = 1 / 512


def effective_samples(d: Number, n: Number, M: Number, k: Number) -> Tensor:
    """S = 2^-d nM + k: 2^d samples of training tasks count as one of the novel task, at most."""
    d, n, M, k = counts(0, d=d, n=n, M=M, k=k)
    return n * M * 2**-d + k


def linear_regression_bound(
    d: Number,
    variance: Number,
    gamma: Number,
    n: Number,
    M: Number,
    k: Number,
    beta: Number | None = None,
) -> Bound:
    """Theorem 3 with corrected constants: R* >= δ² (1 - (a γ² δ² S/σ² + 1)/d), a = 16/ln 2, at the best δ.

    The points are 4δ times a 1/2-packing of the unit ball with J - 1 >= 2^d, so δ <= 1/4 keeps |θ| <= 1, and
    δ² = min(1/16, β σ²/(32 n γ²), (1 - 1/d) d σ²/(2 a γ² S)). Derived here: the paper divides nats by log2 J and lets δ
    reach 1/2, where the points leave the ball; its claim survives with other constants (`printed_bound`).

    Args:
        d: dimension; d = 1 is vacuous.
        variance: σ².
        gamma: γ.
        n, M, k: samples of a training task, training tasks, samples of the novel task.
        beta: largest divergence in nats between the data sets of two tasks, where the environment limits it.
    Raises:
        ValueError: a number out of its range, no data at all, or M > 2^d, which the packing may not hold.
    """
    (d,) = counts(1, d=d)
    variance, gamma = positive(variance=variance, gamma=gamma)
    n, M, k = counts(0, n=n, M=M, k=k)
    check_packing_holds(M, 2**d + 1)
    S = effective_samples(d, n, M, k)
    cost = AVERAGE_KL * gamma**2 * S / variance  # bits for δ = 1
    delta_squared = torch.minimum(float64(1 / 16), (d - 1) / (2 * cost))  # S = 0: no cost
    if beta is not None:
        (beta,) = positive(beta=beta)
        delta_squared = torch.minimum(delta_squared, beta * variance / (32 * n * gamma**2))
    bits = torch.nan_to_num(cost * delta_squared)
    error = 1 - (bits + 1) / d
    vacuous = (error <= 0) | (d == 1)
    value, vacuous, psi, J, bits = torch.broadcast_tensors(
        torch.where(vacuous, 0, delta_squared * error), vacuous, delta_squared, 2**d + 1, bits
    )
    return Bound(value, vacuous, psi, J, bits)


def printed_bound(d: Number, variance: Number, gamma: Number, n: Number, M: Number, k: Number) -> Bound:
    """Theorem 3 as printed, where it holds: R* >= d σ²/(512 γ² S), at δ² = d σ²/(128 γ² S).

    Its conditions with our constants: d >= 2, M + 1 <= J, and S >= d σ²/(8 γ²), so that δ <= 1/4; elsewhere it is
    flagged as vacuous. (The paper asks for S >= d σ²/(256 γ²), where its points leave the unit ball.)

    Args:
        d, variance, gamma, n, M, k: see `linear_regression_bound`.
    """
    (d,) = counts(1, d=d)
    variance, gamma = positive(variance=variance, gamma=gamma)
    check_packing_holds(*counts(0, M=M), 2**d + 1)
    S = effective_samples(d, n, M, k)
    delta_squared = d * variance / (128 * gamma**2 * S)
    vacuous = (d < 2) | (delta_squared > 1 / 16)
    value = torch.where(vacuous, 0, d * variance * PRINTED_FACTOR / (gamma**2 * S))
    value, vacuous, psi, J, bits = torch.broadcast_tensors(value, vacuous, delta_squared, 2**d + 1, d / 8 / math.log(2))
    return Bound(value, vacuous, psi, J, bits)


def packing_bound(
    packing: Packing, gram: Tensor, variance: Number, n: Number, M: Number, k: Number, radius: float = 1.0
) -> Bound:
    """Corollaries 1 and 2 with the packing's own divergences, at its best scale inside the ball: the larger of the two.

    With δ = s δ_1 and K = s² K_1, δ² (1 - (1 + r + c K)/log2 J) is largest at s² = (log2 J - 1 - r)/(2 c K_1); r and c
    are 0 and Mn/(J-1) + k for Corollary 1, log2(J/(J-M)) and k for Corollary 2. Derived here.

    Args:
        packing: its shape counts, not its scale.
        gram: X'X of one sample, (d, d), the same for every task; unit design has I.
        variance: σ².
        n, M, k: see `linear_regression_bound`.
        radius: |θ| <= radius.
    Raises:
        ValueError: M + 1 > J, or a number out of its range.
    """
    n, M, k = torch.broadcast_tensors(*counts(0, n=n, M=M, k=k))
    J = float64(packing.J)
    check_packing_holds(M, J)
    kl = mean_kl(linear_kl_bits(packing.points, gram, variance))
    largest = (float(positive(radius=radius)[0]) / packing.radius) ** 2
    known, weight = torch.zeros_like(M), M * n / (J - 1) + k
    known, weight = torch.stack([known, (J / (J - M)).log2()]), torch.stack([weight, k])
    room = (J.log2() - 1 - known).clamp(min=0)
    scale = torch.minimum(torch.nan_to_num(room / (2 * weight * kl), nan=largest), float64(largest))  # squared
    bits = known + weight * kl * scale
    psi = scale * packing.delta**2
    error = 1 - (bits + 1) / J.log2()
    value = psi * error.clamp(min=0)
    best = value.argmax(0, keepdim=True)
    value, psi, bits = (t.gather(0, best)[0] for t in (value, psi, bits))
    return Bound(value, value <= 0, psi, J.expand_as(value), bits)
