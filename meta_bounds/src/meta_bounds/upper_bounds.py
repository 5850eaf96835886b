"""Theorem 4: upper bounds on the MAP's worst-case risk over unit balls, in singular values alone.

Training tasks have n rows with singular values of X/√n in [s_1, γ_1], the novel task k rows with those of X/√k in
[s_2, γ_2]; α_1 = σ_1²/σ_θ², α_2 = σ_{M+1}²/σ_θ².
"""

from __future__ import annotations

from torch import Tensor

from .setting import Number, counts, not_negative, positive


def explicit_upper_bound(
    d: Number,
    n: Number,
    M: Number,
    k: Number,
    s_1: Number,
    s_2: Number,
    gamma_2: Number,
    theta_variance: Number,
    train_variance: Number,
    novel_variance: Number,
) -> Tensor:
    """A bound with all its constants, derived here: with u = 1 + α_1/(n s_1²) and q = k s_2² + α_2 M/(M + u),

    q^-2 (d σ_{M+1}² [k γ_2² + (u/(M+u))² M α_1 α_2/(n s_1²)] + 4 u² α_2²).

    The printed Theorem 4 hides its constants, so it cannot be drawn as a bound (`theorem4_rate`).

    Args:
        d, n, M, k: dimension (n >= d), rows of a training task, training tasks (at least 1), rows of the novel task.
        s_1, s_2, gamma_2: see the module; s_2 = 0 where k < d.
        theta_variance, train_variance, novel_variance: σ_θ², σ_1², σ_{M+1}².
    Raises:
        ValueError: a number out of its range, or n < d.
    """
    d, n, M = counts(1, d=d, n=n, M=M)
    (k,) = counts(0, k=k)
    if (n < d).any():
        raise ValueError(f"n >= d is needed: fewer rows leave s_1 = 0; got n = {n.tolist()} and d = {d.tolist()}")
    (s_1,) = positive(s_1=s_1)
    s_2, gamma_2 = not_negative(s_2=s_2, gamma_2=gamma_2)
    theta, train, novel = positive(
        theta_variance=theta_variance, train_variance=train_variance, novel_variance=novel_variance
    )
    alpha_1, alpha_2 = train / theta, novel / theta
    u = 1 + alpha_1 / (n * s_1**2)
    q = k * s_2**2 + alpha_2 * M / (M + u)
    training = (u / (M + u)) ** 2 * M * alpha_1 * alpha_2 / (n * s_1**2)
    return (d * novel * (k * gamma_2**2 + training) + 4 * u**2 * alpha_2**2) / q**2


def orthonormal_worst_case(
    d: Number,
    n: Number,
    M: Number,
    k: Number,
    theta_variance: Number,
    train_variance: Number,
    novel_variance: Number,
) -> Tensor:
    """`HBLR.worst_case_risk` where X'X = rows I for every task: all matrices are multiples of I. Derived here.

    C = σ_θ² + (σ_θ² + σ_1²/n)/M, s = Σ/C and Σ = 1/(k/σ² + 1/C) give d (Σ² k/σ² + s² σ_1²/(nM)) + 4 s².

    Args:
        d, n, M, k: dimension, rows of a training task, training tasks (at least 1), rows of the novel task.
        theta_variance, train_variance, novel_variance: σ_θ², σ_1², σ_{M+1}² = σ².
    """
    d, n, M = counts(1, d=d, n=n, M=M)
    (k,) = counts(0, k=k)
    theta, train, novel = positive(
        theta_variance=theta_variance, train_variance=train_variance, novel_variance=novel_variance
    )
    C = theta + (theta + train / n) / M
    covariance = 1 / (k / novel + 1 / C)
    share = covariance / C
    return d * (covariance**2 * k / novel + share**2 * train / (n * M)) + 4 * share**2


def theorem4_rate(
    d: Number,
    n: Number,
    M: Number,
    k: Number,
    s_1: Number,
    s_2: Number,
    kappa: Number,
    kappa_2: Number,
    theta_variance: Number,
    train_variance: Number,
    novel_variance: Number,
) -> Tensor:
    """The printed rate d σ_{M+1}² C^-2 D: how the risk scales, not a bound, for its constants are hidden.

    C = k + Mn/(n (M + κ²) s_2²/α_2 + A), D = k + Mn/((n/L_1 + A_1)(Mn/L_2 + A_2)); A, A_1, A_2, L_1, L_2 as in the
    paper, with κ~ = κ² and κ_τ = κ⁴, the largest that it allows. Needs n, M, k >= 1.

    Args:
        kappa, kappa_2: condition numbers of the training and the novel design.
        others: see `explicit_upper_bound`.
    """
    d, n, M, k = counts(1, d=d, n=n, M=M, k=k)
    s_1, s_2, kappa, kappa_2 = positive(s_1=s_1, s_2=s_2, kappa=kappa, kappa_2=kappa_2)
    theta, train, novel = positive(
        theta_variance=theta_variance, train_variance=train_variance, novel_variance=novel_variance
    )
    alpha_1, alpha_2 = train / theta, novel / theta
    kappa_tau, kappa_tilde = kappa**4, kappa**2
    A = s_2**2 * alpha_1 / (s_1**2 * alpha_2)
    A_1 = s_2**2 * kappa_2**2
    A_2 = alpha_1 * s_2**2 * kappa_2**2 / (kappa_tau**2 * s_1**2 * alpha_2)
    L_1 = alpha_1 / (s_1**2 * s_2**2 * kappa_2**2)
    L_2 = kappa_tilde * kappa_tau * alpha_2 / (2 * s_2**2 * kappa_2**2)
    C = k + M * n / (n * (M + kappa**2) * s_2**2 / alpha_2 + A)
    D = k + M * n / ((n / L_1 + A_1) * (M * n / L_2 + A_2))
    return d * novel * D / C**2
