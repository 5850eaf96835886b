"""The paper's closed-form figures as tidy tables: exact risks over many designs at once, each with a simulation beside
it.

A row is a dict of names and numbers; `stderr` columns are standard errors over designs or draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .divergence import linear_kl_bits, mean_kl
from .environment import (
    PAPER_TAU,
    gaussian_designs,
    polynomial_designs,
    polynomial_features,
    sample_targets,
    sample_tasks,
)
from .estimators import ESTIMATORS, Designs
from .fano import iid_bound, information_bound, meta_bound, partial_bound
from .hierarchical import HBLR, gram
from .information import packing_information
from .linear_regression import linear_regression_bound, packing_bound
from .packing import Packing, greedy_packing, hexagon
from .planner import min_shots
from .upper_bounds import explicit_upper_bound, orthonormal_worst_case

Row = dict[str, float | int | str]
D, THETA_VARIANCE = 7, 0.1  # of the paper's polynomials


@dataclass(frozen=True)
class TheorySettings:
    """How much is averaged.

    designs: feature matrices drawn for every curve (the paper: 100). draws: Monte Carlo draws of the packing.
    instances: random settings in which bounds are held against risks. seed: of all draws.

    Raises:
        ValueError: designs, draws or instances below 2.
    """

    designs: int = 100
    draws: int = 20_000
    instances: int = 500
    seed: int = 0

    def __post_init__(self):
        if min(self.designs, self.draws, self.instances) < 2:
            raise ValueError(
                "designs, draws and instances must be at least 2 for a standard error, got "
                f"{self.designs}, {self.draws}, {self.instances}"
            )

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def noise_table(settings: TheorySettings) -> list[Row]:
    """Figure 2A: the MAP's risk against the novel noise, for (M, n, k) = (50, 20, 5), (50, 20, 1000), (50, 200, 5).

    d = 7, σ_θ² = .1, thetas drawn once around the paper's τ, source noise 1 (the paper does not give it).
    """
    generator, rows = settings.generator(), []
    thetas = sample_tasks(PAPER_TAU, THETA_VARIANCE, (51,), generator)
    noises = 10 ** torch.arange(-8, 3.01, 0.5, dtype=torch.float64)
    for M, n, k in ((50, 20, 5), (50, 20, 1000), (50, 200, 5)):
        X = polynomial_grams(settings.designs, M, n, generator)
        novel = polynomial_designs((settings.designs, k), D, generator)
        model = HBLR(D, THETA_VARIANCE, 1.0, noises[:, None])
        expected = model.expect(X, thetas[:M], M)
        risk = model.risk(expected, gram(novel), thetas[M])  # (noises, designs)
        bayes = model.bayes_risk(expected, gram(novel))
        simulated = simulate(model, X, novel, thetas, generator)
        for i, noise in enumerate(noises.tolist()):
            cell = {"M": M, "n": n, "k": k, "novel_variance": noise, "bayes_risk": float(bayes[i].mean())}
            rows.append({**cell, **mean("risk", risk[i]), **mean("simulated", simulated[i])})
    return rows


def simulate(model: HBLR, grams: Tensor, novel: Tensor, thetas: Tensor, generator: torch.Generator) -> Tensor:
    """Squared error of one draw of data for every noise and design: what `HBLR.risk` is the mean of. (noises, designs)

    X'y = X'X θ + noise of covariance σ² X'X; the training noise is shared by all novel noises.
    """
    M = grams.shape[-3]
    noise = torch.randn(grams.shape[:-1], generator=generator, dtype=torch.float64)
    factor = torch.linalg.cholesky(grams)
    moments = ((grams @ thetas[:M, :, None]) + model.train_variance.sqrt() * (factor @ noise[..., None]))[..., 0]
    targets = sample_targets(novel, thetas[M], 1.0, generator) - (novel @ thetas[M])  # noise of variance 1
    clean = (novel.mT @ (novel @ thetas[M])[..., None])[..., 0]
    moment = clean + model.novel_variance.sqrt()[..., None] * (novel.mT @ targets[..., None])[..., 0]
    means = model.posterior(model.accumulate(grams, moments, M), gram(novel), moment).mean
    return (means - thetas[M]).square().sum(-1)


def samples_table(settings: TheorySettings, variance: float = 0.005) -> list[Row]:
    """Figure 2B: the MAP's risk against all samples Mn + k, by more shots (M = 2) or by more tasks (k = 20); n = 20."""
    generator, rows = settings.generator(), []
    thetas = sample_tasks(PAPER_TAU, THETA_VARIANCE, (801,), generator)
    model = HBLR(D, THETA_VARIANCE, variance, variance)
    shots = [20, 40, 70, 100, 200, 400, 700, 1000, 2000, 4000, 8000]
    tasks = [2, 4, 7, 10, 20, 40, 70, 120, 200, 400, 800]
    designs = settings.designs

    few = model.expect(polynomial_grams(designs, 2, 20, generator), thetas[:2], 2)
    increments = [shots[0], *torch.tensor(shots).diff().tolist()]
    novel = torch.stack([gram(polynomial_designs((designs, more), D, generator)) for more in increments])
    novel = novel.cumsum(0)  # (shots, designs, d, d)
    risk, bayes = model.risk(few, novel, thetas[-1]), model.bayes_risk(few, novel)
    for i, k in enumerate(shots):
        cell = {"line": "k", "M": 2, "n": 20, "k": k, "samples": 40 + k}
        rows.append({**cell, **mean("risk", risk[i]), **mean("bayes_risk", bayes[i])})

    many = model.expect(polynomial_grams(designs, 800, 20, generator), thetas[:800], tasks)
    risk, bayes = model.risk(many, novel[0], thetas[-1]), model.bayes_risk(many, novel[0])
    plateau = float(model.plateau(novel[0]).mean())
    for i, M in enumerate(tasks):
        cell = {"line": "M", "M": M, "n": 20, "k": 20, "samples": 20 * M + 20, "plateau": plateau}
        rows.append({**cell, **mean("risk", risk[i]), **mean("bayes_risk", bayes[i])})
    return rows


def polynomial_grams(designs: int, M: int, n: int, generator: torch.Generator) -> Tensor:
    """X'X of polynomial features, (designs, M, d, d), a few designs at a time."""
    chunk = max(1, 2**21 // (M * n))
    sizes = [min(chunk, designs - start) for start in range(0, designs, chunk)]
    return torch.cat([gram(polynomial_designs((size, M, n), D, generator)) for size in sizes])


def chain_table(settings: TheorySettings) -> list[Row]:
    """Bayes risk >= δ² P_err >= Theorem 1 >= Corollaries, on a hexagon of radius 1/2, σ = 1, unit design, M = 2.

    Against n with k = 1, and against k with n = 5.
    """
    generator, rows = settings.generator(), []
    packing, identity = hexagon(0.5), torch.eye(2, dtype=torch.float64)
    psi, J = packing.delta**2, packing.J
    kl = mean_kl(linear_kl_bits(packing.points, identity, 1.0))
    grid = [("n", n, 1) for n in (1, 2, 5, 10, 20, 50, 100, 1000)] + [("k", 5, k) for k in (1, 2, 3, 5, 7, 10, 15, 20)]
    for axis, n, k in grid:
        told = packing_information(packing, n * identity, k * identity, 2, settings.draws, generator)
        by_information = information_bound(psi, J, max(told.training.mean, 0), max(told.novel.mean, 0))
        spread = math.hypot(told.training.stderr, told.novel.stderr)
        rows.append(
            {
                "axis": axis,
                "n": n,
                "k": k,
                "M": 2,
                "bayes_risk": told.bayes_risk.mean,
                "bayes_risk_stderr": told.bayes_risk.stderr,
                "decoder": psi * told.decoder_error.mean,
                "decoder_stderr": psi * told.decoder_error.stderr,
                "theorem_1": float(by_information.value),
                "theorem_1_stderr": psi * spread / math.log2(J),
                "corollary_1": float(meta_bound(psi, J, kl, n, 2, k).value),
                "corollary_2": float(partial_bound(psi, J, kl, 2, k).value),
                "iid": float(iid_bound(psi, J, kl, k).value),
                "training_bits": told.training.mean,
                "novel_bits": told.novel.mean,
            }
        )
    return rows


def packings_table(settings: TheorySettings, n: int = 20, k: int = 5) -> list[Row]:
    """The best of Corollaries 1 and 2 against M for packings of growing J: greedy ones of unit balls, d = 2 to 5."""
    generator, rows = settings.generator(), []
    for d in (2, 3, 4, 5):
        packing = greedy_packing(d, generator)
        M = torch.unique((packing.J - 1) ** torch.linspace(0, 1, 24, dtype=torch.float64)).round().unique()
        bound = packing_bound(packing, torch.eye(d, dtype=torch.float64), 1.0, n, M, k)
        alone = packing_bound(packing, torch.eye(d, dtype=torch.float64), 1.0, 0, 0, k)
        rows.append({"d": d, "J": packing.J, "M": 0, "n": n, "k": k, "bound": float(alone.value)})
        rows += [
            {"d": d, "J": packing.J, "M": int(m), "n": n, "k": k, "bound": value}
            for m, value in zip(M.tolist(), bound.value.tolist(), strict=True)
        ]
    return rows


def exchange_table(settings: TheorySettings, dimensions: tuple[int, ...] = (2, 3, 4, 5, 6)) -> list[Row]:
    """Training samples worth one novel sample in Corollary 1, J - 1, for greedy packings of unit balls."""
    generator = settings.generator()
    return [{"d": d, "J": J, "bits": math.log2(J - 1)} for d in dimensions for J in [greedy_packing(d, generator).J]]


def shots_table(settings: TheorySettings, d: int = 5, n: int = 20) -> list[Row]:
    """Shots that are necessary (Theorem 3) and that suffice (the MAP's worst case) for an error; orthonormal designs.

    X'X = rows I, θ in the unit ball, σ² = 1; the MAP takes the σ_θ² that is best for it.
    """
    rows, spreads = [], 10 ** torch.linspace(-3, 3, 61, dtype=torch.float64)

    def worst(k: Tensor, M: int) -> Tensor:
        return orthonormal_worst_case(d, n, M, k, spreads, 1.0, 1.0).min()

    for M in (1, 8, 32):
        for error in (10 ** torch.arange(-4, 0.01, 0.25, dtype=torch.float64)).tolist():
            necessary = min_shots(lambda k, M=M: linear_regression_bound(d, 1.0, 1.0, n, M, k).value, error)
            sufficient = min_shots(lambda k, M=M: worst(k, M), error)
            rows.append({"M": M, "n": n, "d": d, "error": error, "necessary": necessary, "sufficient": sufficient})
    return rows


def estimators_table(settings: TheorySettings) -> list[Row]:
    """Every estimator's risk over the hierarchy against the novel noise, with the floor tr Σ; d = 7 polynomials.

    M = 50, n = 20, k = 5 and training noise .05; one simulated draw of tasks and data per design beside it.
    """
    generator, rows = settings.generator(), []
    X = polynomial_designs((settings.designs, 50, 20), D, generator)
    novel = polynomial_designs((settings.designs, 5), D, generator)
    thetas = sample_tasks(PAPER_TAU, THETA_VARIANCE, (settings.designs, 51), generator)
    y = sample_targets(X, thetas[:, :50], 0.05, generator)
    for variance in (10 ** torch.arange(-3, 2.01, 0.5, dtype=torch.float64)).tolist():
        designs = Designs.of(HBLR(D, THETA_VARIANCE, 0.05, variance), X, novel)
        novel_y = sample_targets(novel, thetas[:, 50], variance, generator)
        moments = (X.mT @ y[..., None])[..., 0], (novel.mT @ novel_y[..., None])[..., 0]
        floor = designs.model.bayes_risk(designs.model.expect(designs.train, thetas[:, :50], 50), designs.novel)
        for name, estimator in ESTIMATORS.items():
            if name == "least_squares":  # k < d
                continue
            made = estimator(designs)
            squares = (made.estimate(*moments) - thetas[:, 50]).square().sum(-1)
            cell = {"estimator": name, "novel_variance": variance, "floor": float(floor.mean())}
            rows.append({**cell, **mean("risk", made.hierarchy_risk(PAPER_TAU)), **mean("simulated", squares)})
    return rows


def instances_table(settings: TheorySettings) -> list[Row]:
    """Random settings: every estimator's exact risk over the bounds that it must respect, the smallest of all.

    d from 2 to 4, M <= 2^d, n and k from d + 1 to d + 20, all variances from .01 to 10, Gaussian designs.
    theorem_3, packing: average risk over the orderings of a greedy packing of the unit ball over the bound. floor:
    average risk over the hierarchy over tr Σ. upper: the explicit upper bound over the MAP's worst case; worst: that
    over Theorem 3.
    """
    generator, rows = settings.generator(), []
    packings = {d: greedy_packing(d, generator) for d in (2, 3, 4)}
    for _ in range(settings.instances):
        draw = torch.rand(7, generator=generator, dtype=torch.float64)
        d = 2 + int(3 * draw[0])
        M, n, k = 1 + int(2**d * draw[1]), d + 1 + int(20 * draw[2]), d + 1 + int(20 * draw[3])
        theta, train, novel = (10 ** (3 * draw[4:] - 2)).tolist()
        X, Z = gaussian_designs((M, n), d, generator), gaussian_designs((k,), d, generator)
        cell = {"d": d, "M": M, "n": n, "k": k}
        cell |= {"theta_variance": theta, "train_variance": train, "novel_variance": novel}
        rows.append({**cell, **ratios(Designs.of(HBLR(d, theta, train, novel), X, Z), packings[d], n, k)})
    return rows


def ratios(designs: Designs, packing: Packing, n: int, k: int) -> Row:
    """The columns of `instances_table` for one setting."""
    model, d, M = designs.model, designs.model.dim, designs.M
    spectra = torch.linalg.eigvalsh(designs.train) / n, torch.linalg.eigvalsh(designs.novel) / k
    gamma = float(max(spectra[0].max(), spectra[1].max())) ** 0.5
    variance = float(torch.minimum(model.train_variance, model.novel_variance))
    made = {name: estimator(designs) for name, estimator in ESTIMATORS.items()}
    theorem = linear_regression_bound(d, variance, gamma, n, M, k)
    sharper = packing_bound(packing, gamma**2 * torch.eye(d, dtype=torch.float64), variance, n, M, k)
    floor = model.bayes_risk(model.expect(designs.train, torch.zeros(M, d, dtype=torch.float64), M), designs.novel)
    worst = float(model.worst_case_risk(designs.train, designs.novel))
    upper = explicit_upper_bound(
        d,
        n,
        M,
        k,
        spectra[0].min() ** 0.5,
        spectra[1].min() ** 0.5,
        spectra[1].max() ** 0.5,
        model.task_cov[0, 0],
        model.train_variance,
        model.novel_variance,
    )
    far = 1e3 * torch.ones(d, dtype=torch.float64)  # ridge knows no τ: its worst case is far from 0
    at = packing.scaled(4 * float(theorem.psi.sqrt()))
    sharper_at = packing.scaled(float(sharper.psi.sqrt()) / packing.delta)
    return {
        "theorem_3": min(float(m.packing_risk(at) / theorem.value) for m in made.values()),
        "packing": min(float(m.packing_risk(sharper_at) / sharper.value) for m in made.values()),
        "floor": min(float(m.hierarchy_risk(far) / floor) for m in made.values()),
        "upper": float(upper) / worst,
        "worst": worst / float(theorem.value),
    }


def mean(name: str, values: Tensor) -> Row:
    """Mean and standard error as two columns."""
    return {name: float(values.mean()), f"{name}_stderr": float(values.std() / math.sqrt(len(values)))}


def least_squares_line(variance: float, k: int) -> float:
    """σ² tr(E xx')^-1 / k for the polynomials: the risk of least squares for many rows, 10,248.8 σ²/k at d = 7."""
    power = torch.arange(D)[:, None] + torch.arange(D)
    moment = torch.where(power % 2 == 0, 1 / (power + 1.0).double(), 0.0)  # E x^p for x ~ U[-1, 1]
    return variance / k * float(torch.linalg.inv(moment).diagonal().sum())


@dataclass(frozen=True)
class PolynomialExample:
    """Figure 1: one draw of tasks and data, and the curves fitted to the novel one.

    x: grid, (g,). training: (x, y) of each training task. novel: (x, y) of the novel one. truth, least_squares, map,
    band: its curve, the two fits and the posterior's standard deviation on the grid, (g,).
    """

    x: Tensor
    training: list[tuple[Tensor, Tensor]]
    novel: tuple[Tensor, Tensor]
    truth: Tensor
    least_squares: Tensor
    map: Tensor
    band: Tensor


def polynomial_example(settings: TheorySettings, d: int = 5, variance: float = 0.25) -> PolynomialExample:
    """3 training tasks of 20 points, a novel one of 5, one in each fifth; with d = 5 least squares meets them all."""
    generator = settings.generator()
    thetas = sample_tasks(PAPER_TAU[:d], THETA_VARIANCE, (4,), generator)
    X = polynomial_designs((3, 20), d, generator)
    fifths = (2 * torch.arange(5) - 4 + 2 * torch.rand(5, generator=generator, dtype=torch.float64) - 1) / 5
    novel = polynomial_features(fifths, d)
    y = sample_targets(X, thetas[:3], variance, generator)
    novel_y = sample_targets(novel, thetas[3], variance, generator)
    model = HBLR(d, THETA_VARIANCE, variance, variance)
    posterior = model.adapt(model.fit(X, y), novel, novel_y)
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    grid = polynomial_features(x, d)
    alone = torch.linalg.lstsq(novel, novel_y[:, None]).solution[:, 0]
    training = [(rows[:, 1], targets) for rows, targets in zip(X, y, strict=True)]
    band = (grid @ posterior.covariance * grid).sum(-1).sqrt()
    return PolynomialExample(
        x, training, (novel[:, 1], novel_y), grid @ thetas[3], grid @ alone, grid @ posterior.mean, band
    )
