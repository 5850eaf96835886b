"""Networks fitted to zero loss, which Theorem 1 asks for and stochastic gradients do not reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .curves import OutputCurve
from .mlp import MLP
from .stacked_trainer import seeded
from .theorem1 import Theorem1, theorem1


def fit_squared_error(model: nn.Module, inputs: Tensor, targets: Tensor, steps: int = 3000) -> float:
    """Minimise the mean of |f(x) - y|² by L-BFGS with a strong Wolfe line search, in place; the loss in the end.

    Args:
        model: in float64, if the loss is to vanish. inputs: (B, ...). targets: (B, k).
        steps: the most that are taken; it stops where the gradient vanishes.
    """
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=steps,
        max_eval=2 * steps,
        tolerance_grad=1e-12,
        tolerance_change=0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(inputs) - targets).square().sum(-1).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return float((model(inputs) - targets).square().sum(-1).mean())


@dataclass(frozen=True)
class TheoremSettings:
    """Which networks Theorem 1 is checked on: tanh, float64, fitted to Gaussian targets of Gaussian inputs.

    inputs, hidden, outputs: widths. examples: that are fitted. scale: of the targets. seeds: one network each, on the
    same examples. points: of the paths. steps: of L-BFGS at most.
    """

    inputs: int = 4
    hidden: Sequence[int] = (40, 40)
    outputs: int = 3
    examples: int = 24
    scale: float = 0.15
    seeds: Sequence[int] = (0, 1)
    points: int = 101
    steps: int = 5000


def theorem_check(settings: TheoremSettings, shift: int = 0) -> Theorem1:
    """Fit the networks to zero loss, and look at each example's output path; `shift` moves all seeds."""
    generator = torch.Generator().manual_seed(shift)
    x, y = (
        torch.randn(settings.examples, width, generator=generator, dtype=torch.float64)
        for width in (settings.inputs, settings.outputs)
    )
    y = settings.scale * y
    found = []
    alphas = torch.linspace(0, 1, settings.points, dtype=torch.float64)
    for seed in settings.seeds:
        start, end = (
            seeded(lambda: MLP(settings.inputs, settings.hidden, settings.outputs, "tanh").double(), seed + shift)
            for _ in "ab"
        )
        fit_squared_error(end, x, y, settings.steps)
        found.append(theorem1(OutputCurve(end, start, end, x), y, alphas))
    return Theorem1(*(torch.cat(values) for values in zip(*found, strict=True)))
