"""Theorems 1 and 2 and Corollaries 1 and 2: what no meta-learner can get below.

A packing of J tasks has parameters at least 2δ apart. A uniformly random ordering π of it deals M training tasks and
the novel one, so M + 1 <= J. W holds n samples of each training task, Z holds k of the novel one. An estimate closer
than δ to the truth would name the novel task, and Fano's inequality limits how often that can be right. All
information is in bits. A bound at or below zero says nothing: it is returned as 0 and flagged as vacuous.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .setting import Number, check_packing_holds, counts, not_negative, positive


@dataclass(frozen=True)
class Bound:
    """A lower bound on the worst-case risk; all fields broadcast over the grid asked for.

    value: the bound, 0 where vacuous. vacuous: where it says nothing. psi: ψ(δ), the loss at half the separation.
    J: size of the packing. bits: what the data can tell of the novel task, at most.
    """

    value: Tensor
    vacuous: Tensor
    psi: Tensor
    J: Tensor
    bits: Tensor


def fano_error(J: Number, bits: Number) -> Tensor:
    """P_err >= (log2 J - I - 1) / log2 J, at least 0: Fano's inequality as the paper uses it.

    Args:
        J: number of equally likely hypotheses, at least 2.
        bits: I, information that the data hold about which one it is.
    """
    (J,) = counts(2, J=J)
    (bits,) = not_negative(bits=bits)
    return (1 - (bits + 1) / J.log2()).clamp(min=0)


def sharp_fano_error(J: Number, bits: Number) -> Tensor:
    """The smallest P with h(P) + P log2(J - 1) >= log2 J - I, h the binary entropy in bits: Fano without its slack.

    Not in the paper, which bounds h by 1 and J - 1 by J; never below `fano_error`. By bisection on [0, (J - 1)/J].
    """
    (J,) = counts(2, J=J)
    (bits,) = not_negative(bits=bits)
    J, bits = torch.broadcast_tensors(J, bits)
    equivocation = (J.log2() - bits).clamp(min=0)
    low, high = torch.zeros_like(J), 1 - 1 / J
    for _ in range(60):
        middle = (low + high) / 2
        entropy = -(torch.xlogy(middle, middle) + torch.xlogy(1 - middle, 1 - middle)) / torch.log(torch.tensor(2.0))
        enough = entropy + middle * (J - 1).log2() >= equivocation
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return low


def information_bound(psi: Number, J: Number, training_bits: Number, novel_bits: Number) -> Bound:
    """Theorem 1: R* >= ψ(δ) (1 - [I(π_{M+1}; W) + I(π_{M+1}; Z) + 1] / log2 J).

    Args:
        psi: ψ(δ); δ² for the squared error.
        J: size of the packing.
        training_bits: I(π_{M+1}; W), in bits.
        novel_bits: I(π_{M+1}; Z), in bits.
    Raises:
        ValueError: J below 2, psi not positive, or negative information.
    """
    (psi,) = positive(psi=psi)
    (J,) = counts(2, J=J)
    training_bits, novel_bits = not_negative(training_bits=training_bits, novel_bits=novel_bits)
    bits = training_bits + novel_bits
    error = 1 - (bits + 1) / J.log2()
    psi, J, bits, error = torch.broadcast_tensors(psi, J, bits, error)
    return Bound(psi * error.clamp(min=0), error <= 0, psi, J, bits)


def meta_bound(psi: Number, J: Number, kl: Number, n: Number, M: Number, k: Number) -> Bound:
    """Corollary 1: R* >= ψ(δ) (1 - [1 + (Mn/(J-1) + k) K] / log2 J): training data are divided by J - 1.

    The paper's proof of I(π_{M+1}; W) <= Mn K/(J-1) takes the rows of W for independent given π_{M+1}, which they are
    not. The inequality holds all the same: swap one task for another in whole matrices and use joint convexity.

    Args:
        psi: ψ(δ).
        J: size of the packing.
        kl: K = (1/J²) Σ_ij KL(P_i || P_j) of one sample, in *bits* (see `divergence`).
        n, M, k: samples of a training task, training tasks, samples of the novel task.
    Raises:
        ValueError: M + 1 > J, or a number out of its range.
    """
    (J,) = counts(2, J=J)
    n, M, k = counts(0, n=n, M=M, k=k)
    (kl,) = not_negative(kl=kl)
    check_packing_holds(M, J)
    return information_bound(psi, J, M * n / (J - 1) * kl, k * kl)


def iid_bound(psi: Number, J: Number, kl: Number, k: Number) -> Bound:
    """Theorem 2: R* >= ψ(δ) (1 - [1 + k K] / log2 J) for a learner with k samples of the novel task alone.

    Args:
        psi, J, kl, k: see `meta_bound`.
    """
    return meta_bound(psi, J, kl, 0, 0, k)


def partial_bound(psi: Number, J: Number, kl: Number, M: Number, k: Number) -> Bound:
    """Corollary 2: R* >= ψ(δ) (log2(J - M) - k K - 1) / log2 J, whatever n: M known tasks leave J - M candidates.

    Args:
        psi, J, kl, M, k: see `meta_bound`. With M + 1 = J it is vacuous.
    """
    return information_bound(psi, J, unseen_information(J, M), k * not_negative(kl=kl)[0])


def unseen_information(J: Number, M: Number) -> Tensor:
    """log2(J / (J - M)) bits: what M fully known tasks tell of the next one, the most that I(π_{M+1}; W) can be.

    Raises:
        ValueError: M + 1 > J.
    """
    (J,) = counts(2, J=J)
    (M,) = counts(0, M=M)
    check_packing_holds(M, J)
    return (J / (J - M)).log2()


def mixture_information(J: Number, kl: Number, rows: Number) -> Tensor:
    """I(π_{M+1}; W) <= N K/(J-1) bits for N rows from the even mixture of all other J - 1 tasks, labels hidden.

    The paper's appendix omits the factor N; without it the inequality is false (see the tests).

    Args:
        J: size of the packing.
        kl: K in bits, see `meta_bound`.
        rows: N, rows in all.
    """
    (J,) = counts(2, J=J)
    (rows,) = counts(0, rows=rows)
    (kl,) = not_negative(kl=kl)
    return rows * kl / (J - 1)
