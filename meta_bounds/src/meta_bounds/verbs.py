"""The verbs `bound`, `risk`, `sweep` and `adapt`: the method for one's own numbers, as tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from .environment import PAPER_TAU, gaussian_designs, polynomial_designs
from .estimators import ESTIMATORS, Designs, pooled
from .hierarchical import HBLR, TrainingSummary, gram
from .linear_regression import linear_regression_bound, packing_bound, printed_bound
from .packing import greedy_packing
from .setting import counts
from .sweep import TABLES
from .sweep import table as write_table
from .task_tables import TaskTable, diabetes_tasks, read_tasks
from .theory import Row, TheorySettings, mean
from .tidy import write_csv
from .variances import estimate_variances

Counts = int | list[int]
DESIGNS = {"polynomial": polynomial_designs, "gaussian": gaussian_designs}


def bound(
    *,
    d: Counts = 5,
    n: Counts = 20,
    M: Counts = 8,
    k: Counts = 5,
    sigma: float = 1.0,
    gamma: float = 1.0,
    beta: float | None = None,
    seed: int = 0,
    out: str | None = None,
) -> int:
    """Lower bounds on any meta-learner's squared error for linear regression in the unit ball, over a grid.

    Args:
        d: Dimension, one or a list such as [2,5].
        n: Samples of each training task.
        M: Training tasks, at most 2^d.
        k: Samples of the novel task.
        sigma: Standard deviation of the noise.
        gamma: Largest singular value of the features over the square root of the rows.
        beta: Largest divergence between the data of two tasks, in nats.
        seed: Of the greedy packing.
        out: A CSV file for the table.
    """
    rows = []
    packings = {}
    for cell in grid(d=d, n=n, M=M, k=k):
        dimension = cell["d"]
        if dimension not in packings and 2 <= dimension <= 6:
            packings[dimension] = greedy_packing(dimension, torch.Generator().manual_seed(seed))
        sizes = (cell["n"], cell["M"], cell["k"])
        columns = {
            "theorem_3": linear_regression_bound(dimension, sigma**2, gamma, *sizes, beta=beta),
            "as_printed": printed_bound(dimension, sigma**2, gamma, *sizes),
            "no_training_data": linear_regression_bound(dimension, sigma**2, gamma, 0, 0, cell["k"], beta=beta),
        }
        if dimension in packings and beta is None:
            design = gamma**2 * torch.eye(dimension, dtype=torch.float64)
            columns["greedy_packing"] = packing_bound(packings[dimension], design, sigma**2, *sizes)
        shown = {name: "vacuous" if bool(b.vacuous) else float(b.value) for name, b in columns.items()}
        rows.append({**cell, **shown})
    return show(rows, out)


def risk(
    *,
    d: Counts = 7,
    n: Counts = 20,
    M: Counts = 50,
    k: Counts = 5,
    theta_variance: float = 0.1,
    train_variance: float = 0.05,
    novel_variance: float = 0.05,
    features: str = "polynomial",
    designs: int = 100,
    seed: int = 0,
    out: str | None = None,
) -> int:
    """Exact risk of every estimator in the hierarchical model, averaged over tasks and random features, over a grid.

    Args:
        d: Dimension, one or a list such as [3,5]; polynomials have at most 7.
        n: Samples of each training task.
        M: Training tasks.
        k: Samples of the novel task.
        theta_variance: Of the tasks around their mean τ (the paper's for polynomials, else 0).
        train_variance: Of the noise on training tasks.
        novel_variance: Of the noise on the novel task.
        features: polynomial (x in [-1, 1]) or gaussian.
        designs: How many feature matrices to average over, at least 2.
        seed: Of the features.
        out: A CSV file for the table.
    """
    if features not in DESIGNS:
        raise ValueError(f"unknown features {features!r}, choose from {', '.join(DESIGNS)}")
    if designs < 2:
        raise ValueError(f"a standard error needs at least 2 designs, got {designs}")
    rows = []
    for cell in grid(d=d, n=n, M=M, k=k):
        dimension = cell["d"]
        if features == "polynomial" and dimension > len(PAPER_TAU):
            raise ValueError(f"the paper's τ has {len(PAPER_TAU)} coefficients, got d = {dimension}: use gaussian")
        tau = PAPER_TAU[:dimension] if features == "polynomial" else [0.0] * dimension
        model = HBLR(dimension, theta_variance, train_variance, novel_variance)
        generator = torch.Generator().manual_seed(seed)
        X = DESIGNS[features]((designs, cell["M"], cell["n"]), dimension, generator)
        drawn = Designs.of(model, X, DESIGNS[features]((designs, cell["k"]), dimension, generator))
        for name, estimator in ESTIMATORS.items():
            if name == "least_squares" and cell["k"] < dimension:
                continue
            rows.append({**cell, "estimator": name, **mean("risk", estimator(drawn).hierarchy_risk(tau))})
        nothing = torch.zeros(drawn.train.shape[:-1], dtype=torch.float64)
        floor = model.bayes_risk(model.expect(drawn.train, nothing, cell["M"]), drawn.novel)
        rows.append({**cell, "estimator": "floor: tr Σ", **mean("risk", floor)})
        rows.append({**cell, "estimator": "its limit for M, n → ∞", **mean("risk", model.plateau(drawn.novel))})
    return show(rows, out)


def sweep(
    name: str = "all", *, out: str = "runs/meta_bounds-sweep", seed: int = 0, designs: int = 100, draws: int = 20_000
) -> int:
    """Compute a figure of the theory: a tidy CSV and a PNG in OUT.

    Args:
        name: noise, samples, chain, packings, shots, estimators, instances, exchange, or all.
        out: Folder for the files.
        seed: Of all draws.
        designs: Feature matrices per curve.
        draws: Monte Carlo draws per packing.
    """
    if name != "all" and name not in TABLES:
        raise ValueError(f"unknown sweep {name!r}, choose from all, {', '.join(TABLES)}")
    settings = TheorySettings(designs=designs, draws=draws, seed=seed)
    for each in TABLES if name == "all" else [name]:
        _, names = write_table(each, settings, Path(out))
        print(", ".join(str(Path(out) / file) for file in [f"{each}.csv", *names]))
    return 0


def adapt(file: str, *, novel: str, k: int = 10, seed: int = 0) -> int:
    """Learn from all other tasks of FILE, adapt to k rows of a novel one, and test on the rest of its rows.

    Args:
        file: A CSV (columns task, features, y) or NPZ (X, y, task) file, or `diabetes`, which scikit-learn ships.
        novel: Name of the novel task.
        k: Rows of it to adapt to.
        seed: Of the choice of rows.
    """
    table = (diabetes_tasks() if file == "diabetes" else read_tasks(file)).standardised()
    result = adapt_to(learn_from_others(table, novel), table, novel, k, torch.Generator().manual_seed(seed))
    print(f"{len(table.names) - 1} training tasks; task {novel}: {k} rows to adapt to, {result.held_out} to test on")
    print(f"estimated σ_θ² = {result.task_variance:.4g} per feature of variance 1, σ² = {result.noise:.4g}")
    print("\n| feature | other tasks' mean | adapted | ± |\n|---|---|---|---|")
    for name, before, after, spread in zip(table.columns, result.tau, result.theta, result.spread, strict=True):
        print(f"| {name} | {before:.3g} | {after:.3g} | {spread:.2g} |")
    print("\n| estimator | held-out mean squared error |\n|---|---|")
    for name, error in result.errors.items():
        print(f"| {name} | {error:.4g} |")
    return 0


@dataclass(frozen=True)
class Adapted:
    """What `adapt_to` found.

    noise, task_variance: σ² and σ_θ². tau, theta, spread: coefficients before and after, standard deviations after,
    (d,).
    held_out: rows tested on. errors: mean squared error on them by estimator.
    """

    noise: float
    task_variance: float
    tau: list[float]
    theta: list[float]
    spread: list[float]
    held_out: int
    errors: dict[str, float]


@dataclass(frozen=True)
class Learnt:
    """The other tasks of a table: their moments, (M, d, d) and (M, d), and the model with variances found from them."""

    grams: Tensor
    moments: Tensor
    model: HBLR
    summary: TrainingSummary


def learn_from_others(table: TaskTable, novel: str) -> Learnt:
    """All tasks of a table but one.

    Raises:
        ValueError: no such task, or fewer than two others.
    """
    table.rows_of(novel)
    others = [table.rows_of(name) for name in table.names if name != novel]
    grams = torch.stack([gram(x) for x, _ in others])
    moments = torch.stack([x.mT @ y for x, y in others])
    energies, rows = torch.stack([y @ y for _, y in others]), torch.tensor([len(y) for _, y in others])
    found = estimate_variances(grams, moments, energies, rows)
    model = HBLR(table.features.shape[1], found.task_cov, found.noise, found.noise)
    return Learnt(grams, moments, model, model.accumulate(grams, moments, len(others)))


def adapt_to(learnt: Learnt, table: TaskTable, novel: str, k: int, generator: torch.Generator) -> Adapted:
    """The hierarchical model and its rivals on `k` random rows of the novel task, tested on its others.

    Raises:
        ValueError: k that leaves no row to test on.
    """
    (rows, targets), model = table.rows_of(novel), learnt.model
    counts(1, k=k)
    if k >= len(rows):
        raise ValueError(f"k must leave rows of task {novel!r} to test on: it has {len(rows)}, got k = {k}")
    order = torch.randperm(len(rows), generator=generator)
    own, rest = order[:k], order[k:]
    posterior = model.adapt(learnt.summary, rows[own], targets[own])
    tau = torch.linalg.solve(learnt.summary.precision, learnt.summary.information)
    together = pooled(Designs(model, learnt.grams, gram(rows[own])))
    alone = torch.linalg.lstsq(rows[own], targets[own][:, None], driver="gelsd").solution[:, 0]  # least norm if k < d
    thetas = {
        "hierarchical MAP": posterior.mean,
        "other tasks' mean": tau,
        "pooled least squares": together.estimate(learnt.moments, rows[own].mT @ targets[own]),
        "least squares, novel task alone": alone,
    }
    errors = {name: float((rows[rest] @ theta - targets[rest]).square().mean()) for name, theta in thetas.items()}
    coefficients = (part.tolist() for part in (tau, posterior.mean, posterior.covariance.diagonal().sqrt()))
    return Adapted(float(model.train_variance), float(model.task_cov[0, 0]), *coefficients, len(rest), errors)


def grid(**named: Counts) -> list[dict[str, int]]:
    """Every combination of the numbers given, whole and at least 1 (0 training tasks are allowed).

    Raises:
        ValueError: an empty list, or a number that is not whole or too small.
    """
    lists = {name: values if isinstance(values, list) else [values] for name, values in named.items()}
    for name, values in lists.items():
        if not values:
            raise ValueError(f"{name} must not be an empty list")
        counts(0 if name == "M" else 1, **{name: values})
    return [dict(zip(lists, cell, strict=True)) for cell in product(*lists.values())]


def show(rows: Sequence[Row], out: str | None) -> int:
    """A markdown table on the terminal, and a CSV file if `out` names one."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in rows:
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in (row.get(name, "") for name in columns)]
        print("| " + " | ".join(cells) + " |")
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_csv(Path(out), rows)
    return 0
