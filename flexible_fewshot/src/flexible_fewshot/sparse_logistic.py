"""The linear readout: logistic regression with an L1 penalty, all episodes at once, by FISTA.

    min over w, b of  mean_i log(1 + exp(-s_i (w·x_i + b))) + λ |w|_1,   s_i = ±1

The intercept is not penalised. The step 4 n / σ_max([X, 1])² is the inverse of the gradient's Lipschitz constant. FISTA:
Beck and Teboulle (2009); its momentum restarts when it points uphill (O'Donoghue and Candès, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


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
                f"lam must be >= 0, tolerance > 0 and max_steps >= 1, got {self.lam}, {self.tolerance}, {self.max_steps}"
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
        n, width = x1.shape[1:]
        gram = x1 @ x1.mT if n <= width else x1.mT @ x1
        step = 4 * n / torch.linalg.eigvalsh(gram)[:, -1, None].clamp(min=1e-12)  # (E, 1)
        shrink = torch.full((width,), self.lam, dtype=x.dtype, device=x.device)
        shrink[-1] = 0
        solution = torch.zeros(len(x), width, dtype=x.dtype, device=x.device)
        active = torch.arange(len(x), device=x.device)
        w = ahead = solution.clone()
        momentum = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
        for iteration in range(1, self.max_steps + 1):
            gradient = _gradient(x1, y, ahead)
            new = _soft(ahead - step * gradient, step * shrink)
            restart = ((ahead - new) * (new - w)).sum(-1, keepdim=True) > 0
            momentum = torch.where(restart, 1.0, momentum)
            following = (1 + (1 + 4 * momentum.square()).sqrt()) / 2
            ahead = new + torch.where(restart, 0.0, (momentum - 1) / following) * (new - w)
            w, momentum = new, following
            if iteration % 25 == 0 or iteration == self.max_steps:
                solution[active] = w
                open_ = optimality_gap(_gradient(x1, y, w), w, shrink) > self.tolerance
                if not open_.any():
                    break
                if open_.sum() < 0.8 * len(open_):  # leave out what is solved
                    active, x1, y, step = active[open_], x1[open_], y[open_], step[open_]
                    w, ahead, momentum = w[open_], ahead[open_], momentum[open_]
        return LinearRule(solution[:, :-1], solution[:, -1])

    def objective(self, rule: LinearRule, x: Tensor, y: Tensor) -> Tensor:
        """(E,): the value that `fit` minimises."""
        loss = F.binary_cross_entropy_with_logits(rule.logits(x), y.to(x), reduction="none").mean(-1)
        return loss + self.lam * rule.weight.abs().sum(-1)


def optimality_gap(gradient: Tensor, w: Tensor, shrink: Tensor) -> Tensor:
    """(E,): how far 0 is from the subdifferential, |∂_j + λ sign w_j| where w_j ≠ 0, max(|∂_j| - λ, 0) where it is 0."""
    gap = torch.where(w == 0, (gradient.abs() - shrink).clamp(min=0), (gradient + shrink * w.sign()).abs())
    return gap.amax(-1)


def check_support(x: Tensor, y: Tensor) -> None:
    """Refuse what no readout can be fitted to.

    Raises:
        ValueError: shapes disagree, labels are not 0 and 1, a class is missing, or a feature is not finite.
    """
    if x.ndim != 3 or y.shape != x.shape[:2] or 0 in x.shape:
        raise ValueError(
            f"features must be (episodes, images, D) and labels (episodes, images), got {tuple(x.shape)}, {tuple(y.shape)}"
        )
    if not ((y == 0) | (y == 1)).all() or not ((y == 1).any(-1) & (y == 0).any(-1)).all():
        raise ValueError("every episode's labels must be 0 and 1, and both must occur")
    if not torch.isfinite(x).all():
        raise ValueError(f"features must be finite, got {int((~torch.isfinite(x)).sum())} that are not")


def _gradient(x1: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """Of the mean logistic loss, (E, D + 1)."""
    residual = torch.sigmoid(torch.bmm(x1, w[..., None])[..., 0]) - y
    return torch.bmm(residual[:, None], x1)[:, 0] / x1.shape[1]


def _soft(w: Tensor, threshold: Tensor) -> Tensor:
    return w.sign() * (w.abs() - threshold).clamp(min=0)
