"""The linear readout: logistic regression with an L1 penalty, all episodes at once, by Newton's method.

    min over w, b of  mean_i log(1 + exp(-s_i (w·x_i + b))) + λ |w|_1,   s_i = ±1

The intercept is not penalised. This is newGLMNET, the method inside liblinear (Yuan, Ho and Lin, 2012), with the
episodes as an axis of every array: of the features only a working set is looked at, those whose weight is not zero and
those whose gradient is the largest; there the loss is replaced by its quadratic model, coordinate descent minimises the
model plus penalty, and a line search takes the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST, SPARE = 24, 8  # features in a working set: at least so many, and so many beyond the weights that are not zero
MODELS = 2  # quadratic models of the loss that are minimised before the working set is chosen anew
SWEEPS, GROWTH, MOST_SWEEPS = 6, 1.3, 64  # of coordinate descent: at first, growing as fewer episodes are left, at most
RIDGE = 1e-6  # added to the Hessian, which is singular where there are more features than images
LENGTHS = (1.0, 0.5, 0.2, 0.05)  # of a step that are tried


@dataclass(frozen=True)
class LinearRule:
    """Weights (E, D) and intercepts (E,) of E linear classifiers; `logits` of x (E, Q, D) are (E, Q)."""

    weight: Tensor
    bias: Tensor

    def logits(self, x: Tensor) -> Tensor:
        return torch.einsum("eqd,ed->eq", x, self.weight) + self.bias[:, None]


@dataclass(frozen=True)
class SparseLogisticRegression:
    """The problem above for `lam` = λ. tolerance: of the optimality conditions. max_rounds: of working sets.

    Raises:
        ValueError: λ or a limit is out of range.
    """

    lam: float = 1e-3
    tolerance: float = 1e-4
    max_rounds: int = 100

    def __post_init__(self):
        if self.lam < 0 or self.tolerance <= 0 or self.max_rounds < 1:
            raise ValueError(
                f"lam must be >= 0, tolerance > 0 and max_rounds >= 1, "
                f"got {self.lam}, {self.tolerance}, {self.max_rounds}"
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
        left = torch.arange(len(x), device=x.device)
        solution = x.new_zeros(len(x), x1.shape[2])
        w, logits = solution.clone(), x.new_zeros(x.shape[:2])
        for number in range(self.max_rounds):
            gradient = _gradient(x1, y, logits)
            unsolved = optimality_gap(gradient, w, shrink) > self.tolerance
            if not unsolved.any():
                break
            if unsolved.sum() < 0.8 * len(unsolved):  # leave out what is solved
                left, x1, y, w, logits, gradient = (a[unsolved] for a in (left, x1, y, w, logits, gradient))
            members = _working_set(gradient, w)
            chosen = x1.gather(2, members[:, None].expand(-1, x1.shape[1], -1))
            values = w.gather(1, members)
            for _ in range(MODELS):
                sweeps = min(MOST_SWEEPS, int(SWEEPS * GROWTH**number))
                values, logits = self._step(chosen, y, values, logits, sweeps)
            w = torch.zeros_like(w).scatter_(1, members, values)
            solution[left] = w
        return LinearRule(solution[:, :-1], solution[:, -1])

    def _step(self, x1: Tensor, y: Tensor, w: Tensor, logits: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
        """Towards the minimum of the quadratic model around w (E, K), as far as the objective falls: w, logits."""
        p = logits.sigmoid()
        rooted = x1 * (p * (1 - p) / x1.shape[1]).sqrt()[..., None]
        hessian = rooted.mT @ rooted
        hessian.diagonal(dim1=1, dim2=2).add_(RIDGE)
        goal = _minimise_model(hessian, _gradient(x1, y, logits), w, self.lam, sweeps)
        at_goal = torch.bmm(x1, goal[..., None])[..., 0]
        best, at_best, lowest = w, logits, self._value(logits, w, y)
        for length in LENGTHS:
            new, at_new = w.lerp(goal, length), logits.lerp(at_goal, length)
            value = self._value(at_new, new, y)
            lower = (value < lowest)[:, None]
            best, at_best = torch.where(lower, new, best), torch.where(lower, at_new, at_best)
            lowest = torch.minimum(value, lowest)
        return best, at_best

    def objective(self, rule: LinearRule, x: Tensor, y: Tensor) -> Tensor:
        """(E,): the value that `fit` minimises."""
        return self._value(rule.logits(x), torch.cat([rule.weight, rule.bias[:, None]], -1), y.to(x))

    def _value(self, logits: Tensor, w: Tensor, y: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(-1)
        return loss + self.lam * w[:, :-1].abs().sum(-1)


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


def _working_set(gradient: Tensor, w: Tensor) -> Tensor:
    """Indices (E, K): the weights that are not zero, then those of the largest gradients; the intercept is the last."""
    weights = w.shape[1] - 1
    used = int((w[:, :-1] != 0).sum(-1).max())
    urgency = torch.where(w == 0, gradient.abs(), torch.inf)[:, :-1]
    members = urgency.topk(min(weights, max(SMALLEST, used + SPARE)), sorted=False).indices
    return torch.cat([members, torch.full_like(members[:, :1], weights)], -1)


def _minimise_model(hessian: Tensor, gradient: Tensor, w: Tensor, lam: float, sweeps: int) -> Tensor:
    """v (E, K) that lowers g·(v - w) + (v - w)ᵀ H (v - w) / 2 + λ |v|_1 (last weight free), by coordinate descent.

    Episodes are the last axis here, so that a coordinate of all of them lies side by side in memory.
    """
    h, v, slope = hessian.permute(1, 2, 0).contiguous(), w.mT.clone(), gradient.mT.clone()
    curvature = h.diagonal().mT.contiguous()
    coordinates = list(zip(h, v, slope, curvature, strict=True))
    for _ in range(sweeps):
        for k in reversed(range(len(v))):
            column, value, own_slope, own_curvature = coordinates[k]
            pull = torch.addcmul(-own_slope, value, own_curvature)
            new = (pull if k == len(v) - 1 else F.softshrink(pull, lam)).div_(own_curvature)
            slope.addcmul_(column, new - value)
            value.copy_(new)
    return v.mT


def _gradient(x1: Tensor, y: Tensor, logits: Tensor) -> Tensor:
    """Of the mean logistic loss, (E, D + 1)."""
    return torch.bmm((logits.sigmoid() - y)[:, None], x1)[:, 0] / x1.shape[1]
