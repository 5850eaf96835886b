"""Sparse logistic regression for all episodes at once against a loop of scikit-learn's liblinear, at equal objective.

Both on one thread, in CPU-seconds, the best of some repeats.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from flexible_fewshot import LinearRule, RenderedFaces, SmallEncoder, SparseLogisticRegression, Standardizer, extract
from flexible_fewshot.episodes import AttributeEpisodeSampler
from flexible_fewshot.splits import AttributeSplit

LAMS = (1e-3, 1e-2)
WIDTHS = (128, 512, 2048)


def liblinear(x: np.ndarray, y: np.ndarray, lam: float, tolerance: float) -> LinearRule:
    """One fit after another; liblinear penalises the intercept, which a wide column undoes."""
    weights, biases = [], []
    for own, labels in zip(x, y, strict=True):
        model = LogisticRegression(
            C=1 / (lam * len(labels)),
            l1_ratio=1,
            solver="liblinear",
            intercept_scaling=100,
            tol=tolerance,
            max_iter=1000,
        ).fit(own, labels)
        weights.append(model.coef_[0])
        biases.append(model.intercept_[0])
    return LinearRule(torch.from_numpy(np.stack(weights)).float(), torch.from_numpy(np.stack(biases)).float())


def features() -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised features of 3,000 faces by random weights, as 20-shot supports (600, 40, 128), and their labels."""
    faces = RenderedFaces(3000, seed=1)
    torch.manual_seed(0)
    h = extract(SmallEncoder(), faces.images())
    pool = AttributeSplit.load("faces").test
    episodes = AttributeEpisodeSampler(faces.table(), pool, 20, 20, 600).sample()
    return Standardizer.of(h)(h)[episodes.support], episodes.support_y


def widened(h: torch.Tensor, width: int) -> torch.Tensor:
    """`width` standardised features of those in h: h itself, or a random layer of tanh units on it."""
    if width == h.shape[-1]:
        return h
    torch.manual_seed(0)
    units = torch.tanh(h @ torch.randn(h.shape[-1], width) / h.shape[-1] ** 0.5 + 0.3 * torch.randn(width))
    return (units - units.mean((0, 1))) / units.std((0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    h, y = features()
    print("| features | λ | ours, CPU-s | liblinear loop, CPU-s | ratio | mean objective, ours | liblinear |")
    print("|---" * 7 + "|")
    for width, lam in itertools.product(WIDTHS, LAMS):
        x = widened(h, width)
        solver = SparseLogisticRegression(lam)
        ours, theirs = [], []
        for _ in range(repeats):
            start = time.process_time()
            rule = solver.fit(x, y)
            ours.append(time.process_time() - start)
            start = time.process_time()
            other = liblinear(x.double().numpy(), y.numpy(), lam, 1e-4)
            theirs.append(time.process_time() - start)
        values = [float(solver.objective(r, x, y).mean()) for r in (rule, other)]
        best, loop = min(ours), min(theirs)
        print(
            f"| {width} | {lam:g} | {best:.2f} | {loop:.2f} | {loop / best:.1f} | {values[0]:.5f} | {values[1]:.5f} |"
        )


if __name__ == "__main__":
    main()
