"""The hierarchical model against what one would use instead, on the same novel tasks: error and time, side by side.

scikit-learn's BayesianRidge on the novel task alone and on all rows; a gpytorch process whose kernel is the hierarchy,
with the true variances and with variances that it learns; ours with the true variances and with those of EM. All see
the
polynomials of the paper: M = 20 tasks of n = 20, a novel one of k = 5, noise .05.

python benchmarks/bench_peers.py [--repeats 20]
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable

import gpytorch
import torch
from sklearn.linear_model import BayesianRidge
from torch import Tensor

from meta_bounds import HBLR, PAPER_TAU, estimate_variances, gram, polynomial_designs, sample_targets, sample_tasks

D, M, N, K = 7, 20, 20, 5
TASK_VARIANCE, NOISE = 0.1, 0.05
Data = tuple[Tensor, Tensor, Tensor, Tensor]


def draw(seed: int) -> tuple[Data, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    thetas = sample_tasks(PAPER_TAU, TASK_VARIANCE, (M + 1,), generator)
    X, novel = polynomial_designs((M, N), D, generator), polynomial_designs((K,), D, generator)
    y = sample_targets(X, thetas[:M], NOISE, generator)
    return (X, y, novel, sample_targets(novel, thetas[M], NOISE, generator)), thetas[M]


def ours(X: Tensor, y: Tensor, novel: Tensor, novel_y: Tensor) -> Tensor:
    model = HBLR(D, TASK_VARIANCE, NOISE, NOISE)
    return model.adapt(model.fit(X, y), novel, novel_y).mean


def ours_by_em(X: Tensor, y: Tensor, novel: Tensor, novel_y: Tensor) -> Tensor:
    moments = (X.mT @ y[..., None])[..., 0]
    found = estimate_variances(gram(X), moments, y.square().sum(1), torch.full((M,), N))
    model = HBLR(D, found.task_cov, found.noise, found.noise)
    return model.adapt(model.fit(X, y), novel, novel_y).mean


def ridge_alone(X: Tensor, y: Tensor, novel: Tensor, novel_y: Tensor) -> Tensor:
    return torch.from_numpy(BayesianRidge(fit_intercept=False).fit(novel.numpy(), novel_y.numpy()).coef_)


def ridge_pooled(X: Tensor, y: Tensor, novel: Tensor, novel_y: Tensor) -> Tensor:
    rows, targets = torch.cat([X.reshape(-1, D), novel]), torch.cat([y.reshape(-1), novel_y])
    return torch.from_numpy(BayesianRidge(fit_intercept=False).fit(rows.numpy(), targets.numpy()).coef_)


class HierarchyKernel(gpytorch.kernels.Kernel):
    """x'(T I + σ_θ² I [same task])x'; the last column of the inputs is the task."""

    def __init__(self, task_variance: float):
        super().__init__()
        self.log_variance = torch.nn.Parameter(torch.tensor(math.log(task_variance), dtype=torch.float64))

    def forward(self, a, b, diag=False, **_):
        if diag:
            return (100 + self.log_variance.exp()) * (a[:, :D] * b[:, :D]).sum(-1)
        same = a[:, None, D] == b[None, :, D]
        return (100 + self.log_variance.exp() * same) * (a[:, :D] @ b[:, :D].mT)


class Process(gpytorch.models.ExactGP):
    def __init__(self, rows, targets, likelihood, task_variance):
        super().__init__(rows, targets, likelihood)
        self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), HierarchyKernel(task_variance)

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def process(steps: int) -> Callable[..., Tensor]:
    """θ of a gpytorch process: its predictions at the d unit vectors. `steps` of Adam on its two variances, or none."""

    def fit(X: Tensor, y: Tensor, novel: Tensor, novel_y: Tensor) -> Tensor:
        tasks = torch.cat([torch.arange(M).repeat_interleave(N), torch.full((K,), M)]).double()[:, None]
        rows = torch.cat([torch.cat([X.reshape(-1, D), novel]), tasks], 1)
        likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
        likelihood.noise = NOISE if steps == 0 else 1.0
        model = Process(rows, torch.cat([y.reshape(-1), novel_y]), likelihood, TASK_VARIANCE if steps == 0 else 1.0)
        model = model.double()
        evidence = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            (-evidence(model(rows), model.train_targets)).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            return model(torch.cat([torch.eye(D), torch.full((D, 1), M)], 1).double()).mean

    return fit


CONTENDERS = {
    "ours, variances known": ours,
    "ours, variances by EM": ours_by_em,
    "scikit-learn BayesianRidge, novel task alone": ridge_alone,
    "scikit-learn BayesianRidge, all rows pooled": ridge_pooled,
    "gpytorch, variances known": process(0),
    "gpytorch, variances by 100 steps of Adam": process(100),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    warnings.filterwarnings("ignore")
    print(f"{torch.get_num_threads()} threads, {repeats} draws of tasks and data, M = {M}, n = {N}, k = {K}, d = {D}\n")
    drawn = [draw(seed) for seed in range(repeats)]
    print("| contender | squared error of θ | time, ours with known variances = 1 |\n|---|---|---|")
    base = None
    for name, contender in CONTENDERS.items():
        contender(*drawn[0][0])  # warm-up
        times, errors = [], []
        for data, theta in drawn:
            start = time.perf_counter()
            found = contender(*data)
            times.append(time.perf_counter() - start)
            errors.append(float((found - theta).square().sum()))
        seconds = sorted(times)[len(times) // 2]
        base = base or seconds
        error = torch.tensor(errors)
        spread = float(error.std() / math.sqrt(repeats))
        print(f"| {name} | {float(error.mean()):.3g} ± {spread:.2g} | {seconds / base:.3g} |", flush=True)


if __name__ == "__main__":
    main()
