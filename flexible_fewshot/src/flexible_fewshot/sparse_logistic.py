"""The linear readout: logistic regression with an L1 penalty, all episodes at once, by FISTA.

    min over w, b of  mean_i log(1 + exp(-s_i (w·x_i + b))) + λ |w|_1,   s_i = ±1

The intercept is not penalised. A step of 4 n / σ_max([X, 1])², the inverse of the gradient's Lipschitz
constant, is always safe. FISTA:
Beck and Teboulle (2009); the step grows while it may (the loss of well separated classes is much flatter than that
bound), and the momentum restarts when it points uphill (O'Donoghue and Candès, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NEWTON_EVERY = 20  # steps of FISTA between two of Newton's, and between two looks at the optimality conditions
RIDGE = 1e-7  # added to the Hessian: among separable classes it is nearly singular
LENGTHS = (1.0, 0.5, 0.2, 0.05)  # of Newton's step that are tried
GROWTH = 1.1  # of the step, after one that was not too long


@dataclass(frozen=True)
class LinearRule:
    """Weights (E, D) and intercepts (E,) of E linear classifiers; `logits` of x (E, Q, D) are (E, Q)."""

    weight: Tensor
    bias: Tensor

    def logits(self, x: Tensor) -> Tensor:
        return torch.einsum("eqd,ed->eq", x, self.weight) + self.bias[:, None]


@dataclass(frozen=True)
class SparseLogisticRegression:
    """The problem above for `lam` = λ. tolerance: of the optimality conditions. max_steps: at which one stops anyhow.

    Raises:
        ValueError: λ or a limit is out of range.
    """

    lam: float = 1e-3
    tolerance: float = 1e-4
    max_steps: int = 3000

    def __post_init__(self):
        if self.lam < 0 or self.tolerance <= 0 or self.max_steps < 1:
            raise ValueError(
                f"lam must be >= 0, tolerance > 0 and max_steps >= 1, "
                f"got {self.lam}, {self.tolerance}, {self.max_steps}"
            )

    def fit(self, x: Tensor, y: Tensor) -> LinearRule:
        """Args:
            x: features (E, n, D). y: labels (E, n) in {0, 1}.
        Raises:
            ValueError: shapes disagree, or a feature is not finite.
        """
        check_support(x, y)
        x1 = torch.cat([x, torch.ones_like(x[..., :1])], -1)  # the intercept is the last weight
        y = y.to(x)
        shrink = torch.full(x1.shape[2:], self.lam, dtype=x.dtype, device=x.device)
        shrink[-1] = 0
        solution = x.new_zeros(len(x), x1.shape[2])
        active = torch.arange(len(x), device=x.device)
        state = _start(x1)
        for iteration in range(1, self.max_steps + 1):
            state = _step(x1, y, state, shrink)
            if iteration % NEWTON_EVERY == 0 or iteration == self.max_steps:
                state = _newton(x1, y, state, shrink)
                solution[active] = state.w
                unsolved = optimality_gap(_gradient(x1, y, state.at_w), state.w, shrink) > self.tolerance
                if not unsolved.any():
                    break
                if unsolved.sum() < 0.8 * len(unsolved):  # leave out what is solved
                    active, x1, y = active[unsolved], x1[unsolved], y[unsolved]
                    state = _State(*(part[unsolved] for part in state))
        return LinearRule(solution[:, :-1], solution[:, -1])

    def objective(self, rule: LinearRule, x: Tensor, y: Tensor) -> Tensor:
        """(E,): the value that `fit` minimises."""
        loss = F.binary_cross_entropy_with_logits(rule.logits(x), y.to(x), reduction="none").mean(-1)
        return loss + self.lam * rule.weight.abs().sum(-1)


def optimality_gap(gradient: Tensor, w: Tensor, shrink: Tensor) -> Tensor:
    """(E,): how far 0 is from the subdifferential: |∂_j + λ sign w_j| where w_j ≠ 0, else max(|∂_j| - λ, 0)."""
    gap = torch.where(w == 0, (gradient.abs() - shrink).clamp(min=0), (gradient + shrink * w.sign()).abs())
    return gap.amax(-1)


def check_support(x: Tensor, y: Tensor) -> None:
    """Refuse what no readout can be fitted to.

    Raises:
        ValueError: shapes disagree, labels are not 0 and 1, a class is missing, or a feature is not finite.
    """
    if x.ndim != 3 or y.shape != x.shape[:2] or 0 in x.shape:
        raise ValueError(
            f"features must be (episodes, images, D) and labels (episodes, images), "
            f"got {tuple(x.shape)}, {tuple(y.shape)}"
        )
    if not ((y == 0) | (y == 1)).all() or not ((y == 1).any(-1) & (y == 0).any(-1)).all():
        raise ValueError("every episode's labels must be 0 and 1, and both must occur")
    if not torch.isfinite(x).all():
        raise ValueError(f"features must be finite, got {int((~torch.isfinite(x)).sum())} that are not")


class _State(NamedTuple):
    """Of FISTA: w and the point ahead of it (E, D + 1), their logits (E, n), momentum, step and safe step (E, 1)."""

    w: Tensor
    ahead: Tensor
    at_w: Tensor
    at_ahead: Tensor
    momentum: Tensor
    step: Tensor
    safe: Tensor


def _start(x1: Tensor) -> _State:
    n, width = x1.shape[1:]
    gram = x1 @ x1.mT if n <= width else x1.mT @ x1
    safe = 4 * n / torch.linalg.eigvalsh(gram)[:, -1, None].clamp(min=1e-12)
    zero, logits = x1.new_zeros(len(x1), width), x1.new_zeros(len(x1), n)
    return _State(zero, zero, logits, logits, torch.ones_like(safe), safe, safe)


def _step(x1: Tensor, y: Tensor, state: _State, shrink: Tensor) -> _State:
    """One step from `ahead`, longer than the safe one as long as the loss stays below its quadratic model.

    Where it does not, the step is halved and tried again next time. Logits are linear, so that those of the next point
    ahead cost no product.
    """
    w, ahead, at_w, at_ahead, momentum, step, safe = state
    new = _soft(ahead - step * _gradient(x1, y, at_ahead), step * shrink)
    at_new = torch.bmm(x1, new[..., None])[..., 0]
    move, moved = at_new - at_ahead, (new - ahead).square().sum(-1, keepdim=True)
    above = F.softplus(at_new) - F.softplus(at_ahead) - at_ahead.sigmoid() * move  # of the loss above its tangent
    fits = (above.mean(-1, keepdim=True) <= moved / (2 * step)) | (step <= safe)
    restart = ((ahead - new) * (new - w)).sum(-1, keepdim=True) > 0
    momentum = torch.where(restart & fits, 1.0, momentum)
    following = (1 + (1 + 4 * momentum.square()).sqrt()) / 2
    beta = torch.where(restart, 0.0, (momentum - 1) / following)
    return _State(
        torch.where(fits, new, w),
        torch.where(fits, new + beta * (new - w), ahead),
        torch.where(fits, at_new, at_w),
        torch.where(fits, at_new + beta * (at_new - at_w), at_ahead),
        torch.where(fits, following, momentum),
        torch.where(fits, GROWTH * step, torch.maximum(step / 2, safe)),
        safe,
    )


def _newton(x1: Tensor, y: Tensor, state: _State, shrink: Tensor) -> _State:
    """Newton's step on the weights that are not zero, or should not be, within their orthant; taken where it descends.

    FISTA finds which weights are zero quickly, but not the values of the others, since the loss is flat there. With B
    the rows of X scaled by sqrt(p (1 - p) / n), the system (Bᵀ B + ridge) d = -g costs only one of size n by Woodbury's
    formula.
    """
    w, n = state.w, x1.shape[1]
    gradient = _gradient(x1, y, state.at_w)
    free = (w != 0) | (gradient.abs() > shrink)
    orthant = torch.where(w == 0, -gradient.sign(), w.sign())
    g = torch.where(free, gradient + shrink * orthant, 0.0).double()
    p = state.at_w.double().sigmoid()
    B = x1.double() * free[:, None] * (p * (1 - p) / n).sqrt()[..., None]  # (E, n, D + 1)
    inner = B @ B.mT + RIDGE * torch.eye(n, dtype=B.dtype, device=B.device)
    solved = torch.cholesky_solve(B @ g[..., None], torch.linalg.cholesky(inner))
    d = ((B.mT @ solved)[..., 0] - g) / RIDGE
    best, at_best, value = w, state.at_w, _value(state.at_w, w, y, shrink)
    for length in LENGTHS:
        new = (w + length * d).to(w)
        new = torch.where((new.sign() == orthant) | (shrink == 0), new, 0.0) * free
        at_new = torch.bmm(x1, new[..., None])[..., 0]
        new_value = _value(at_new, new, y, shrink)
        lower = (new_value < value)[:, None]
        best, at_best = torch.where(lower, new, best), torch.where(lower, at_new, at_best)
        value = torch.where(lower[:, 0], new_value, value)
    moved = (best != w).any(-1, keepdim=True)
    return state._replace(
        w=best,
        at_w=at_best,
        ahead=torch.where(moved, best, state.ahead),
        at_ahead=torch.where(moved, at_best, state.at_ahead),
        momentum=torch.where(moved, 1.0, state.momentum),
    )


def _value(logits: Tensor, w: Tensor, y: Tensor, shrink: Tensor) -> Tensor:
    """(E,): the objective."""
    return F.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(-1) + (shrink * w.abs()).sum(-1)


def _gradient(x1: Tensor, y: Tensor, logits: Tensor) -> Tensor:
    """Of the mean logistic loss, (E, D + 1)."""
    return torch.bmm((logits.sigmoid() - y)[:, None], x1)[:, 0] / x1.shape[1]


def _soft(w: Tensor, threshold: Tensor) -> Tensor:
    return w.sign() * (w.abs() - threshold).clamp(min=0)
