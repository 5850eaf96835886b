"""A figure at once against a plain loop, d x d against n x n formulas, and the cost of a larger grid, side by side.

python benchmarks/bench_monte_carlo.py [--designs 100]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from meta_bounds import HBLR, PAPER_TAU, gram, polynomial_designs, sample_tasks

D, VARIANCE = 7, 0.1


def fastest(run: Callable[[], object], repeats: int = 3) -> tuple[float, object]:
    """Seconds of the fastest run (other load only adds), and its result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return min(times), result


def draw(designs: int, M: int, n: int, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    thetas = sample_tasks(PAPER_TAU, VARIANCE, (M + 1,), generator)
    return polynomial_designs((designs, M, n), D, generator), polynomial_designs((designs, k), D, generator), thetas


def at_once(X, novel, thetas, noises) -> torch.Tensor:
    """Exact risks, (noises, designs), by this package."""
    model = HBLR(D, VARIANCE, 1.0, noises[:, None])
    return model.risk(model.expect(gram(X), thetas[:-1], len(thetas) - 1), gram(novel), thetas[-1])


def one_by_one(X, novel, thetas, noises) -> np.ndarray:
    """The same numbers by loops over noises, designs and tasks, each step one d x d product in numpy."""
    X, novel, thetas = X.numpy(), novel.numpy(), thetas.numpy()
    risks = np.empty((len(noises), len(X)))
    identity = np.eye(D)
    for j in range(len(X)):
        precision, information, scatter = np.zeros((D, D)), np.zeros(D), np.zeros((D, D))
        for i in range(len(thetas) - 1):
            A = X[j, i].T @ X[j, i]
            R = np.linalg.inv(identity + VARIANCE * A)
            precision += R @ A
            information += R @ A @ thetas[i]
            scatter += R @ A @ R.T
        pull = np.linalg.inv(identity + VARIANCE * precision)
        for i, noise in enumerate(noises):
            F = novel[j].T @ novel[j] / float(noise)
            covariance = np.linalg.inv(F + pull @ precision)
            bias = covariance @ pull @ information - covariance @ pull @ precision @ thetas[-1]
            variance = covariance @ F @ covariance + covariance @ pull @ scatter @ pull.T @ covariance.T
            risks[i, j] = bias @ bias + np.trace(variance)
    return risks


def large_formula(X: torch.Tensor) -> torch.Tensor:
    """Λ with the n x n inverses of the paper's formula, batched: X'(σ_θ² XX' + σ² I)^-1 X summed over tasks."""
    inner = VARIANCE * X @ X.mT + torch.eye(X.shape[-2], dtype=X.dtype)
    return (X.mT @ torch.linalg.solve(inner, X)).sum(-3)


def small_formula(X: torch.Tensor) -> torch.Tensor:
    """Λ with d x d inverses, as the package computes it."""
    nothing = torch.zeros(*X.shape[:-2], D, dtype=X.dtype)
    return HBLR(D, VARIANCE, 1.0, 1.0).expect(gram(X), nothing, X.shape[-3]).precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--designs", type=int, default=100)
    designs = parser.parse_args().designs
    noises = 10 ** torch.linspace(-4, 3, 15, dtype=torch.float64)
    print(f"{torch.get_num_threads()} threads, {designs} designs, d = {D}\n")

    print("| exact risks, M = 50, n = 20, k = 5 | cells | loop / at once | relative difference |\n|---|---|---|---|")
    X, novel, thetas = draw(designs, 50, 20, 5)
    together, risks = fastest(lambda: at_once(X, novel, thetas, noises))
    alone, looped = fastest(lambda: one_by_one(X, novel, thetas, noises), 1)
    apart = np.abs(looped / risks.numpy() - 1).max()
    print(f"| numpy loop against one batch | {risks.numel()} | {alone / together:.0f} | {apart:.0e} |", flush=True)

    print("\n| Λ of 50 tasks, 20 designs | n x n / d x d, time | largest relative difference |\n|---|---|---|")
    for n in (20, 200):
        X, _, _ = draw(20, 50, n, 5)
        small, ours = fastest(lambda X=X: small_formula(X))
        large, theirs = fastest(lambda X=X: large_formula(X))
        print(
            f"| n = {n} | {large / small:.1f} | {float((ours - theirs).abs().max() / ours.abs().max()):.0e} |",
            flush=True,
        )

    print("\n| designs | cells | time per cell, first = 1 |\n|---|---|---|")
    base = None
    for factor in (1, 2, 4, 8):
        X, novel, thetas = draw(designs * factor, 50, 20, 5)
        seconds, risks = fastest(lambda X=X, novel=novel, thetas=thetas: at_once(X, novel, thetas, noises))
        per_cell = seconds / risks.numel()
        base = base or per_cell
        print(f"| {designs * factor} | {risks.numel()} | {per_cell / base:.2f} |", flush=True)


if __name__ == "__main__":
    main()
