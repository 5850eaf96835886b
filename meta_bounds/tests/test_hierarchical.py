"""The hierarchical model: its closed form, its exact risk, its limits, and the noises kept apart."""

import gpytorch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meta_bounds import (
    HBLR,
    PAPER_TAU,
    Designs,
    estimate_variances,
    explicit_upper_bound,
    gaussian_designs,
    gram,
    linear_regression_bound,
    orthonormal_worst_case,
    polynomial_designs,
    sample_targets,
    sample_tasks,
    theorem4_rate,
)
from meta_bounds.estimators import ridge


def small(generator, M=4, n=8, k=3, d=3):
    """Designs of M tasks and a novel one."""
    return gaussian_designs((M, n), d, generator), gaussian_designs((k,), d, generator)


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.float64)


def test_the_map_is_where_the_gradient_of_the_joint_log_posterior_vanishes(generator):
    """Over all thetas and τ together, with different variances everywhere; plug-in empirical Bayes is elsewhere."""
    X, novel = small(generator)
    y, novel_y = torch.randn(4, 8, generator=generator).double(), torch.randn(3, generator=generator).double()
    task_cov = torch.tensor([[0.5, 0.1, 0.0], [0.1, 0.3, 0.0], [0.0, 0.0, 0.2]]).double()
    model = HBLR(3, task_cov, 0.7, 0.2)
    theta = model.adapt(model.fit(X, y), novel, novel_y).mean

    prior, identity = torch.linalg.inv(task_cov), torch.eye(3).double()
    grams = [g / 0.7 for g in gram(X)] + [gram(novel) / 0.2]
    moments = [x.mT @ t / 0.7 for x, t in zip(X, y, strict=True)] + [novel.mT @ novel_y / 0.2]
    shrinks = [torch.linalg.solve(g + prior, prior) for g in grams]  # θ_i = own + shrink τ at the mode
    owns = [torch.linalg.solve(g + prior, m) for g, m in zip(grams, moments, strict=True)]
    tau = torch.linalg.solve(5 * identity - sum(shrinks), sum(owns))  # τ = mean θ_i
    assert torch.allclose(theta, owns[-1] + shrinks[-1] @ tau, atol=1e-10)

    summary = model.fit(X, y)
    mean = torch.linalg.solve(summary.precision, summary.information)
    plug_in = torch.linalg.solve(grams[-1] + prior, moments[-1] + prior @ mean)
    assert (plug_in - theta).abs().max() > 0.01


def test_predictions_are_those_of_a_gaussian_process_with_the_same_kernel(generator):
    """cov(y, y') = x'(T + Σ_θ [same task])x' + noise, by gpytorch's own linear algebra."""
    X, novel = small(generator)
    y, novel_y = torch.randn(4, 8, generator=generator).double(), torch.randn(3, generator=generator).double()
    model = HBLR(3, 0.4, 0.7, 0.2, tau_mean=zeros(3), tau_cov=2.0)
    posterior = model.adapt(model.fit(X, y), novel, novel_y)

    class Hierarchy(gpytorch.kernels.Kernel):
        def forward(self, a, b, **_):
            same = a[:, None, 3] == b[None, :, 3]
            return (2.0 + 0.4 * same) * (a[:, :3] @ b[:, :3].mT)

    class Process(gpytorch.models.ExactGP):
        def __init__(self, x, t, likelihood):
            super().__init__(x, t, likelihood)
            self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), Hierarchy()

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    tasks = torch.cat([torch.arange(4).repeat_interleave(8), torch.full((3,), 4)]).double()[:, None]
    rows = torch.cat([torch.cat([X.reshape(-1, 3), novel]), tasks], 1)
    noise = torch.cat([torch.full((32,), 0.7), torch.full((3,), 0.2)]).double()
    likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(noise)
    process = Process(rows, torch.cat([y.reshape(-1), novel_y]), likelihood).double().eval()
    queries = torch.cat([gaussian_designs((6,), 3, generator), torch.full((6, 1), 4.0).double()], 1)
    with torch.no_grad():
        predicted = process(queries)
    assert torch.allclose(queries[:, :3] @ posterior.mean, predicted.mean, atol=1e-6)
    assert torch.allclose(
        queries[:, :3] @ posterior.covariance @ queries[:, :3].mT, predicted.covariance_matrix, atol=1e-6
    )


def test_the_exact_risk_is_what_simulation_finds(generator):
    """General Σ_θ, two noises, fixed thetas: |z| < 4."""
    X, novel = small(generator)
    task_cov = torch.tensor([[0.5, 0.1, 0.0], [0.1, 0.3, 0.0], [0.0, 0.0, 0.2]]).double()
    model = HBLR(3, task_cov, 0.7, 0.2)
    thetas = sample_tasks([1.0, -1.0, 0.5], 0.4, (5,), generator)
    exact = model.risk(model.expect(gram(X), thetas[:4], 4), gram(novel), thetas[4])
    draws = 20_000
    y = sample_targets(X.expand(draws, -1, -1, -1), thetas[:4], 0.7, generator)
    novel_y = sample_targets(novel.expand(draws, -1, -1), thetas[4], 0.2, generator)
    means = model.adapt(model.fit(X.expand(draws, -1, -1, -1), y), novel.expand(draws, -1, -1), novel_y).mean
    squares = (means - thetas[4]).square().sum(-1)
    assert abs(float((squares.mean() - exact) / (squares.std() / draws**0.5))) < 4


def test_the_bayes_risk_is_the_risk_averaged_over_the_hierarchy_whatever_tau(generator):
    X, novel = small(generator)
    model = HBLR(3, 0.5, 0.7, 0.2)
    for tau in ([0.0, 0.0, 0.0], [50.0, -20.0, 7.0]):
        thetas = sample_tasks(tau, 0.5, (40_000, 5), generator)
        risks = model.risk(model.expect(gram(X), thetas[:, :4], 4), gram(novel), thetas[:, 4])
        exact = model.bayes_risk(model.expect(gram(X), zeros(4, 3), 4), gram(novel))
        assert abs(float((risks.mean() - exact) / (risks.std() / 200))) < 4


def test_the_orthonormal_case_has_the_known_numbers():
    """X'X = rows I, d = 3, n = 20, M = 10, k = 5, variances .1, 1, .5."""
    model, identity = HBLR(3, 0.1, 1.0, 0.5), torch.eye(3).double()
    train, novel = 20 * identity.expand(10, 3, 3), 5 * identity
    _, variance = model.bias_and_variance(model.expect(train, zeros(10, 3), 10), novel, zeros(3))
    assert float(variance) == pytest.approx(0.08908, abs=5e-6)
    assert float(model.worst_case_risk(train, novel)) == pytest.approx(0.95441, abs=5e-6)
    assert float(orthonormal_worst_case(3, 20, 10, 5, 0.1, 1.0, 0.5)) == pytest.approx(0.95441, abs=5e-6)
    assert float(explicit_upper_bound(3, 20, 10, 5, 1, 1, 1, 0.1, 1, 0.5)) == pytest.approx(2.66804, abs=5e-6)
    assert float(explicit_upper_bound(3, 20, 10, 5, 1, 1, 1, 0.1, 0.5, 1)) != pytest.approx(2.66804, abs=1e-2)


def test_the_two_noises_are_not_each_other(generator):
    X, novel = small(generator, k=8)
    swapped = [
        HBLR(3, 0.5, *noises).bayes_risk(HBLR(3, 0.5, *noises).expect(gram(X), zeros(4, 3), 4), gram(novel))
        for noises in ((5.0, 0.01), (0.01, 5.0))
    ]
    assert swapped[1] > 10 * swapped[0]  # a noisy novel task hurts, noisy training tasks hardly


def test_without_training_tasks_or_with_unrelated_ones_it_is_least_squares(generator):
    X, novel = small(generator, k=6)
    y, novel_y = torch.randn(4, 8, generator=generator).double(), torch.randn(6, generator=generator).double()
    least_squares = torch.linalg.lstsq(novel, novel_y[:, None]).solution[:, 0]
    model = HBLR(3, 0.5, 0.7, 0.2)
    alone = model.posterior(model.accumulate(gram(X), zeros(4, 3), 0), gram(novel), novel.mT @ novel_y)
    assert torch.allclose(alone.mean, least_squares)
    unrelated = HBLR(3, 1e9, 0.7, 0.2)
    assert torch.allclose(unrelated.adapt(unrelated.fit(X, y), novel, novel_y).mean, least_squares, atol=1e-6)


def test_with_identical_tasks_all_data_are_pooled(generator):
    X, novel = small(generator)
    y, novel_y = torch.randn(4, 8, generator=generator).double(), torch.randn(3, generator=generator).double()
    model = HBLR(3, 1e-10, 0.7, 0.7)
    pooled = torch.linalg.lstsq(torch.cat([*X, novel]), torch.cat([*y, novel_y])[:, None]).solution[:, 0]
    assert torch.allclose(model.adapt(model.fit(X, y), novel, novel_y).mean, pooled, atol=1e-6)


def test_the_order_of_tasks_and_a_rotation_of_features_change_no_risk(generator):
    X, novel = small(generator)
    thetas = sample_tasks([1.0, -1.0, 0.5], 0.4, (5,), generator)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    model, order = HBLR(3, 0.4, 0.7, 0.2), torch.tensor([2, 0, 3, 1])
    risk = model.risk(model.expect(gram(X), thetas[:4], 4), gram(novel), thetas[4])
    shuffled = model.risk(model.expect(gram(X)[order], thetas[:4][order], 4), gram(novel), thetas[4])
    turned = model.expect(gram(X @ rotation), thetas[:4] @ rotation, 4)
    assert torch.allclose(risk, shuffled)
    assert torch.allclose(risk, model.risk(turned, gram(novel @ rotation), thetas[4] @ rotation))


def test_the_bayes_risk_falls_with_M_n_and_k(generator):
    X, rows = gaussian_designs((30, 40), 3, generator), gaussian_designs((40,), 3, generator)
    model = HBLR(3, 0.4, 0.7, 0.2)

    def risk(M, n, k):
        grams = gram(X[:, :n])
        return float(model.bayes_risk(model.expect(grams, zeros(30, 3), M), gram(rows[:k])))

    assert risk(2, 5, 4) > risk(10, 5, 4) > risk(30, 5, 4) > risk(30, 40, 4) > risk(30, 40, 20) > risk(30, 40, 40)


def test_sums_over_the_first_M_tasks_are_what_fitting_M_tasks_gives(generator):
    X, novel = small(generator, M=6)
    thetas = sample_tasks(zeros(3), 0.4, (6,), generator)
    model = HBLR(3, 0.4, 0.7, 0.2)
    many = model.risk(model.expect(gram(X), thetas, [1, 3, 6]), gram(novel), thetas[0])
    one = [model.risk(model.expect(gram(X)[:M], thetas[:M], M), gram(novel), thetas[0]) for M in (1, 3, 6)]
    assert torch.allclose(many, torch.stack(one))


def test_tasks_of_different_sizes_are_a_list(generator):
    X, _ = small(generator)
    y = torch.randn(4, 8, generator=generator).double()
    model = HBLR(3, 0.4, 0.7, 0.2)
    whole, listed = model.fit(X, y), model.fit(list(X), list(y))
    assert all(torch.allclose(a, b) for a, b in zip(whole, listed, strict=True))
    model.fit([X[0], X[1, :2]], [y[0], y[1, :2]])  # of different lengths


def test_the_plateau_is_where_more_tasks_and_samples_lead(generator):
    """More tasks do not help beyond it: with one row of d = 3 the risk stays above tr (F + I/σ_θ²)^-1 > 0."""
    novel = gaussian_designs((1,), 3, generator)
    identity = torch.eye(3).double()
    model = HBLR(3, 0.4, 0.7, 0.2)
    limit = model.plateau(gram(novel))
    assert limit > 0.8  # two of three directions keep σ_θ²
    for M in (1, 5, 1000):
        many = model.bayes_risk(model.expect(1e9 * identity.expand(M, 3, 3), zeros(M, 3), M), gram(novel))
        assert torch.allclose(many, model.plateau(gram(novel), M), rtol=1e-6) and many > limit
    assert torch.allclose(many, limit, rtol=2e-3)


@given(
    st.integers(1, 4),
    st.integers(0, 30),
    st.integers(1, 8),
    st.integers(0, 20),
    st.floats(-2, 1),
    st.floats(-2, 1),
    st.floats(-2, 1),
    st.integers(0, 10**6),
)
def test_the_explicit_bound_is_above_the_worst_case_risk_above_theorem_3(d, more, M, k, theta, train, novel, seed):
    """Theorem 3 wherever its packing holds the tasks (M <= 2^d); every variance from .01 to 10."""
    generator = torch.Generator().manual_seed(seed)
    n, theta, train, novel = d + 1 + more, 10**theta, 10**train, 10**novel
    X, Z = gaussian_designs((M, n), d, generator), gaussian_designs((k,), d, generator)
    singular, own = torch.linalg.svdvals(X / n**0.5), torch.linalg.svdvals(Z / max(k, 1) ** 0.5)
    s_2 = float(own.min()) if k >= d else 0.0
    worst = HBLR(d, theta, train, novel).worst_case_risk(gram(X), gram(Z))
    gamma_2 = float(own.max()) if k else 0.0
    upper = explicit_upper_bound(d, n, M, k, singular.min(), s_2, gamma_2, theta, train, novel)
    assert upper >= worst * (1 - 1e-9)
    if 2**d >= M:
        gamma, variance = max(float(singular.max()), gamma_2), min(train, novel)
        assert worst >= linear_regression_bound(d, variance, gamma, n, M, k).value


def test_the_printed_rate_falls_with_k_and_is_no_bound(generator):
    """Its hidden constants matter: it is far below the exact risk on some designs, so it is never drawn as a bound."""
    at = [theorem4_rate(3, 20, 10, k, 1, 1, 1, 1, 0.1, 1, 0.5) for k in (5, 50, 500)]
    assert at[0] > at[1] > at[2]
    assert at[0] < 0.95441


def test_a_ridge_that_knows_a_narrow_tau_beats_the_flat_floor_but_not_its_own(generator):
    X, novel = small(generator)
    flat = HBLR(3, 0.1, 0.7, 2.0)
    narrow = HBLR(3, 0.1, 0.7, 2.0, tau_mean=zeros(3), tau_cov=0.01)
    floors = [m.bayes_risk(m.expect(gram(X), zeros(4, 3), 4), gram(novel)) for m in (flat, narrow)]
    risk = ridge(Designs.of(narrow, X, novel)).prior_risk()
    assert floors[1] <= risk < floors[0]


def test_variances_are_recovered_from_many_tasks(generator):
    X = polynomial_designs((400, 30), 3, generator)
    thetas = sample_tasks(PAPER_TAU[:3], 0.5, (400,), generator)
    y = sample_targets(X, thetas, 0.2, generator)
    found = estimate_variances(gram(X), (X.mT @ y[..., None])[..., 0], y.square().sum(1), torch.full((400,), 30))
    assert found.noise == pytest.approx(0.2, rel=0.05)
    assert float(found.task_cov[0, 0]) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: HBLR(3, 0, 1, 1), "task_cov must be positive definite"),
        (lambda: HBLR(2, [[1, 2], [2, 1]], 1, 1), "task_cov must be positive definite, its smallest eigenvalue is -1"),
        (lambda: HBLR(2, [[1, 2], [0, 1]], 1, 1), "finite and symmetric"),
        (lambda: HBLR(2, torch.eye(3), 1, 1), r"task_cov must be a number or \(2, 2\), got \(3, 3\)"),
        (lambda: HBLR(3, 1, 0, 1), "train_variance must be positive and finite, got 0"),
        (lambda: HBLR(3, 1, 1, -2), "novel_variance must be positive and finite, got -2"),
        (lambda: HBLR(3, 1, 1, 1, tau_mean=[0, 0, 0]), "needs both tau_mean and tau_cov"),
        (lambda: HBLR(3, 1, 1, 1, tau_mean=[0, 0], tau_cov=1), r"tau_mean must be \(3,\), got \(2,\)"),
        (lambda: HBLR(3, 1, 1, 1).fit(torch.ones(2, 5, 4), torch.ones(2, 5)), r"features must be \(..., n, 3\)"),
        (lambda: HBLR(3, 1, 1, 1).fit(torch.ones(2, 5, 3), torch.ones(2, 4)), r"got \(2, 5, 3\) and \(2, 4\)"),
        (lambda: HBLR(3, 1, 1, 1).fit(torch.ones(5, 3), torch.ones(5)), r"must be \(..., M, n, 3\)"),
        (lambda: HBLR(3, 1, 1, 1).fit([torch.ones(5, 3)], []), "one target vector per task, got 1 tasks and 0"),
        (lambda: HBLR(3, 1, 1, 1).fit(torch.full((2, 5, 3), float("nan")), torch.ones(2, 5)), "found NaN or infinity"),
        (lambda: HBLR(3, 1, 1, 1).fit(torch.ones(2, 0, 3), torch.ones(2, 0)), "at least one row, got 0"),
        (lambda: HBLR(3, 1, 1, 1).expect(torch.ones(2, 4, 4), zeros(2, 3), 2), r"grams must be \(..., 3, 3\)"),
        (lambda: HBLR(3, 1, 1, 1).expect(torch.ones(2, 3, 3), zeros(2, 3), 3), "from 0 to the 2 tasks given, got 3"),
        (lambda: explicit_upper_bound(5, 4, 2, 1, 1, 0, 1, 1, 1, 1), "n >= d is needed"),
        (lambda: explicit_upper_bound(3, 4, 0, 1, 1, 0, 1, 1, 1, 1), "M must be a whole number of at least 1"),
        (lambda: estimate_variances(zeros(1, 2, 2), zeros(1, 2), zeros(1), zeros(1)), "at least 2 of them, got 1"),
    ],
)
def test_bad_input_is_refused_by_name(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_a_singular_design_is_refused_not_inverted():
    """Two equal columns, no training tasks; k < d alike."""
    model = HBLR(2, 1.0, 1.0, 1.0)
    nothing = model.accumulate(zeros(1, 2, 2), zeros(1, 2), 0)
    rows = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    with pytest.raises(ValueError, match="singular design"):
        model.adapt(nothing, rows, torch.ones(3))
    with pytest.raises(ValueError, match="singular design"):
        model.adapt(nothing, rows[:1], torch.ones(1))


def test_data_that_one_function_fits_exactly_have_no_variance_to_estimate(generator):
    X = gaussian_designs((3, 5), 2, generator)
    y = X @ torch.tensor([1.0, 2.0]).double()
    with pytest.raises(ValueError, match="fits all tasks exactly"):
        estimate_variances(gram(X), (X.mT @ y[..., None])[..., 0], y.square().sum(1), torch.full((3,), 5))
