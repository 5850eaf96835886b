"""What the data truly tell of the novel task: mutual information, the Bayes decoder and the Bayes risk, by Monte Carlo.

The corollaries bound I(π_{M+1}; W) by divergences. For linear tasks the posterior of π_{M+1} can be computed exactly
for each draw, by summing over all orderings of the packing, so the quantities themselves are averages with a standard
error. Not in the paper, except for the inequalities they must satisfy: Bayes risk >= δ² P_err >= Theorem 1 >=
Corollaries 1 and 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from .packing import Packing
from .setting import Number, check_packing_holds, float64, positive

LARGEST_TABLE = 2**16  # sets of tasks in the sum over orderings
CHUNK = 2**22  # numbers held at once


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo mean and its standard error."""

    mean: float
    stderr: float

    @classmethod
    def of(cls, draws: Tensor) -> Estimate:
        return cls(float(draws.mean()), float(draws.std() / math.sqrt(len(draws))))


@dataclass(frozen=True)
class PackingInformation:
    """What (W, Z) tells of the novel task when the tasks are dealt from a packing.

    training, novel, both: I(π_{M+1}; W), I(π_{M+1}; Z), I(π_{M+1}; W, Z) in bits. decoder_error: P(the most probable
    task is not the novel one). bayes_risk: least expected squared error of any estimate of the novel θ.
    """

    training: Estimate
    novel: Estimate
    both: Estimate
    decoder_error: Estimate
    bayes_risk: Estimate


def packing_information(
    packing: Packing,
    train_gram: Tensor,
    novel_gram: Tensor,
    M: int,
    draws: int,
    generator: torch.Generator,
    train_variance: Number = 1.0,
    novel_variance: Number = 1.0,
) -> PackingInformation:
    """Draw orderings and data, and average over them; entropies rather than single outcomes, which lowers the variance.

    Args:
        packing: J tasks in d dimensions.
        train_gram: X'X of every training task, (d, d); n rows with unit design have n I.
        novel_gram: X'X of the novel task, (d, d).
        M: training tasks.
        draws: Monte Carlo draws.
        generator: source of orderings and noise.
        train_variance, novel_variance: σ² of the rows.
    Raises:
        ValueError: M + 1 > J, shapes that do not fit, or more orderings than can be summed.
    """
    points, J, d = packing.points, packing.J, packing.d
    check_packing_holds(float64(M), float64(J))
    train_gram, novel_gram = float64(train_gram), float64(novel_gram)
    if train_gram.shape != (d, d) or novel_gram.shape != (d, d):
        raise ValueError(f"grams must be ({d}, {d}), got {tuple(train_gram.shape)} and {tuple(novel_gram.shape)}")
    if draws < 2:
        raise ValueError(f"a standard error needs at least 2 draws, got {draws}")
    train_variance, novel_variance = positive(train_variance=train_variance, novel_variance=novel_variance)
    order = torch.rand(draws, J, generator=generator, dtype=torch.float64).argsort(1)
    training, novel = order[:, :M], order[:, M]

    train_rows = _log_likelihoods(points, points[training], train_gram, train_variance, generator)  # (S, M, J)
    novel_row = _log_likelihoods(points, points[novel], novel_gram, novel_variance, generator)  # (S, J)
    from_training = orderings_log_likelihood(train_rows)  # (S, J)

    entropies = []
    for joint in (from_training, novel_row, from_training + novel_row):
        posterior = joint.log_softmax(-1)
        entropies.append(-(posterior.exp() * posterior.clamp(min=-1e3)).sum(-1) / math.log(2))
    belief = posterior.exp()  # given W and Z, (S, J)
    bits = [Estimate.of(math.log2(J) - entropy) for entropy in entropies]
    spread = belief @ points.square().sum(1) - (belief @ points).square().sum(1)
    return PackingInformation(*bits, Estimate.of(1 - belief.max(-1).values), Estimate.of(spread))


def orderings_log_likelihood(rows: Tensor) -> Tensor:
    """log of the sum over all ways to deal the M rows to M different tasks, none of them j; one number for every j.

    Up to a constant it is log p(W | π_{M+1} = j). The sum is a permanent; sets of tasks are extended one row at a time,
    J 2^J steps instead of J! terms.

    Args:
        rows: log-likelihood of the data of row t under task i, shape (S, M, J), constants in i dropped.
    Returns:
        (S, J); zeros for M = 0.
    Raises:
        ValueError: more than 2^16 sets.
    """
    samples, M, J = rows.shape
    if sum(math.comb(J, size) for size in range(M + 1)) > LARGEST_TABLE:
        raise ValueError(
            f"M = {M} of J = {J} tasks are more than {LARGEST_TABLE} sets to sum over: take a smaller packing (J <= 16)"
        )
    if M == 0:
        return rows.new_zeros(samples, J)
    largest = math.comb(J, min(M, J // 2)) * M
    chunks = rows.split(max(1, CHUNK // largest))
    return torch.cat([_sum_over_orderings(chunk) for chunk in chunks])


def _sum_over_orderings(rows: Tensor) -> Tensor:
    samples, M, J = rows.shape
    sums, index = rows.new_zeros(samples, 1), {(): 0}
    for size in range(1, M + 1):
        sets = list(combinations(range(J), size))
        without = torch.tensor([[index[s[:i] + s[i + 1 :]] for i in range(size)] for s in sets])
        sums = (sums[:, without] + rows[:, size - 1][:, torch.tensor(sets)]).logsumexp(-1)  # (S, sets)
        index = {s: i for i, s in enumerate(sets)}
    lacking = torch.tensor([[i for i, s in enumerate(sets) if j not in s] for j in range(J)])
    return sums[:, lacking].logsumexp(-1)


def _log_likelihoods(
    points: Tensor, truth: Tensor, gram: Tensor, variance: Tensor, generator: torch.Generator
) -> Tensor:
    """log N(y; Xθ_i, σ²I) for drawn data, without the terms free of i: (..., d) -> (..., J).

    X'y is sufficient, and has mean X'X θ and covariance σ² X'X.
    """
    values, vectors = torch.linalg.eigh(gram)
    noise = torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    moment = truth @ gram + variance.sqrt() * (noise * values.clamp(min=0).sqrt()) @ vectors.mT
    energy = torch.einsum("ja,ab,jb->j", points, gram, points)
    return (moment @ points.mT - energy / 2) / variance
