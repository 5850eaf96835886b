"""No estimator beats a lower bound: exact risks of all of them against every floor, over random settings."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meta_bounds import (
    ESTIMATORS,
    HBLR,
    PAPER_TAU,
    AffineEstimator,
    Designs,
    Packing,
    gaussian_designs,
    gradient_steps,
    gram,
    greedy_packing,
    hexagon,
    linear_regression_bound,
    packing_bound,
    packing_information,
    polynomial_designs,
    sample_targets,
    sample_tasks,
)
from meta_bounds.estimators import maximum_a_posteriori, plug_in, prior_mean, ridge

variances = st.floats(-2, 1).map(lambda exponent: 10**exponent)
settings_of_d = st.integers(2, 4)


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.float64)


@st.composite
def random_designs(draw, tau_cov=None):
    """A model and features: d, M, n, k and all three variances random; k >= d so that least squares exists."""
    d = draw(settings_of_d)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    M, n, k = draw(st.integers(1, 2**d)), d + draw(st.integers(1, 20)), d + draw(st.integers(1, 20))
    prior = {} if tau_cov is None else {"tau_mean": torch.randn(d, generator=generator).double(), "tau_cov": tau_cov}
    model = HBLR(d, draw(variances), draw(variances), draw(variances), **prior)
    return Designs.of(model, gaussian_designs((M, n), d, generator), gaussian_designs((k,), d, generator)), n, k


@given(random_designs(), st.integers(1, 8), st.floats(0.1, 1.5))
def test_no_estimator_beats_theorem_3_over_a_packing_of_the_unit_ball(setting, steps, rate):
    """Averaged over the orderings of a packing, hence also in the worst case; any scale of the packing is allowed."""
    designs, n, k = setting
    d, model = designs.model.dim, designs.model
    packing = greedy_packing(d, torch.Generator().manual_seed(d), candidates=5000)
    gamma = max(
        float((torch.linalg.matrix_norm(designs.train, 2) / n).sqrt().max()),
        float((torch.linalg.matrix_norm(designs.novel, 2) / k).sqrt()),
    )
    variance = float(torch.minimum(model.train_variance, model.novel_variance))
    bound = linear_regression_bound(d, variance, gamma, n, designs.M, k)
    at = packing.scaled(4 * float(bound.psi.sqrt()))
    tighter = packing_bound(packing, gamma**2 * torch.eye(d), variance, n, designs.M, k)
    tighter_at = packing.scaled(float(tighter.psi.sqrt()) / packing.delta)
    for estimator in [*ESTIMATORS.values(), gradient_steps(steps, rate)]:
        made = estimator(designs)
        assert made.packing_risk(at) >= bound.value
        assert made.packing_risk(tighter_at) >= tighter.value


@given(random_designs(), st.integers(1, 8), st.floats(0.1, 1.5))
def test_no_estimator_beats_tr_sigma_over_the_hierarchy(setting, steps, rate):
    """Flat τ: the MAP attains tr Σ; those that do not know τ's place stay above it around any τ, ridge in the worst."""
    designs, *_ = setting
    d, model = designs.model.dim, designs.model
    floor = model.bayes_risk(model.expect(designs.train, zeros(designs.M, d), designs.M), designs.novel)
    tau = torch.arange(1, d + 1).double()
    for name, estimator in {**ESTIMATORS, "more": gradient_steps(steps, rate)}.items():
        made = estimator(designs)
        assert made.hierarchy_risk(1e3 * tau if name == "ridge" else tau) >= floor * (1 - 1e-9)
    assert maximum_a_posteriori(designs).hierarchy_risk(tau) == pytest.approx(float(floor), rel=1e-8)


@given(random_designs(tau_cov=0.5))
def test_under_a_proper_prior_of_tau_even_ridge_is_above_its_floor(setting):
    designs, *_ = setting
    model, d = designs.model, designs.model.dim
    floor = model.bayes_risk(model.expect(designs.train, zeros(designs.M, d), designs.M), designs.novel)
    for estimator in ESTIMATORS.values():
        assert estimator(designs).prior_risk() >= floor * (1 - 1e-9)
    assert maximum_a_posteriori(designs).prior_risk() == pytest.approx(float(floor), rel=1e-7)


def test_every_estimator_is_above_the_decoder_s_floor_on_the_hexagon(generator):
    """Bayes risk >= δ² P_err: with unit design, n = 5, k = 3, M = 2."""
    identity = torch.eye(2).double()
    packing = hexagon(0.5)
    told = packing_information(packing, 5 * identity, 3 * identity, 2, 20_000, generator)
    designs = Designs(HBLR(2, 0.1, 1.0, 1.0), 5 * identity.expand(2, 2, 2), 3 * identity)
    for estimator in ESTIMATORS.values():
        risk = float(estimator(designs).packing_risk(packing))
        assert risk >= told.bayes_risk.mean - 4 * told.bayes_risk.stderr
        assert risk >= packing.delta**2 * told.decoder_error.mean


@pytest.mark.parametrize("name", ESTIMATORS)
def test_exact_risks_are_what_simulation_finds(name, generator):
    """For given thetas, over the hierarchy and over a packing: |z| < 4 each."""
    X, novel = gaussian_designs((3, 6), 2, generator), gaussian_designs((4,), 2, generator)
    made = ESTIMATORS[name](Designs.of(HBLR(2, 0.4, 0.7, 0.2), X, novel))
    draws, packing, tau = 20_000, hexagon(0.8), [0.7, -0.3]
    order = torch.rand(draws, 7, generator=generator).argsort(1)[:, :4]
    fixed = sample_tasks(tau, 0.4, (4,), generator)
    cases = [
        (fixed.expand(draws, 4, 2), made.risk(fixed)),
        (sample_tasks(tau, 0.4, (draws, 4), generator), made.hierarchy_risk(tau)),
        (packing.points[order], made.packing_risk(packing)),
    ]
    for thetas, exact in cases:
        y = sample_targets(X.expand(draws, -1, -1, -1), thetas[:, :3], 0.7, generator)
        novel_y = sample_targets(novel.expand(draws, -1, -1), thetas[:, 3], 0.2, generator)
        found = made.estimate((X.mT @ y[..., None])[..., 0], (novel.mT @ novel_y[..., None])[..., 0])
        squares = (found - thetas[:, 3]).square().sum(-1)
        assert abs(float((squares.mean() - exact) / (squares.std() / draws**0.5))) < 4


def test_the_affine_map_is_the_model_s_own_posterior_mean(generator):
    X, novel = gaussian_designs((5, 3, 6), 2, generator), gaussian_designs((5, 4), 2, generator)
    y, novel_y = torch.randn(5, 3, 6, generator=generator).double(), torch.randn(5, 4, generator=generator).double()
    model = HBLR(2, 0.4, 0.7, 0.2, tau_mean=[1.0, 2.0], tau_cov=3.0)
    made = maximum_a_posteriori(Designs.of(model, X, novel))
    by_map = made.estimate((X.mT @ y[..., None])[..., 0], (novel.mT @ novel_y[..., None])[..., 0])
    assert torch.allclose(by_map, model.adapt(model.fit(X, y), novel, novel_y).mean)


def test_plug_in_is_not_the_map_for_few_tasks(generator):
    """M = 4, n = 8, k = 3: sold as the MAP it would be off by some tenths, and worse on average."""
    X, novel = polynomial_designs((200, 4, 8), 3, generator), polynomial_designs((200, 3), 3, generator)
    designs = Designs.of(HBLR(3, 0.5, 1.0, 1.0), X, novel)
    thetas = sample_tasks([0.0, 1.0, 2.0], 0.5, (200, 5), generator)
    moments = (gram(X) @ thetas[:, :4, :, None])[..., 0], (gram(novel) @ thetas[:, 4, :, None])[..., 0]
    apart = plug_in(designs).estimate(*moments) - maximum_a_posteriori(designs).estimate(*moments)
    assert apart.abs().max() > 0.1
    tau = zeros(3)
    assert (plug_in(designs).hierarchy_risk(tau) > maximum_a_posteriori(designs).hierarchy_risk(tau)).all()


def test_the_reference_setting_of_polynomials(generator):
    """d = 7, M = 50, n = 20, k = 5, both noises .05: MAP 1.18, five steps 1.20, μ_τ unadapted 1.41, pooled 3.8."""
    X, novel = polynomial_designs((100, 50, 20), 7, generator), polynomial_designs((100, 5), 7, generator)
    designs = Designs.of(HBLR(7, 0.1, 0.05, 0.05), X, novel)
    risk = {
        name: float(ESTIMATORS[name](designs).hierarchy_risk(PAPER_TAU).mean())
        for name in ("map", "plug_in", "gradient_steps", "prior_mean", "pooled")
    }
    assert risk["map"] == pytest.approx(1.19, abs=0.03) and risk["prior_mean"] == pytest.approx(1.41, abs=0.02)
    assert risk["pooled"] == pytest.approx(3.8, abs=0.2)
    assert risk["map"] < risk["plug_in"] < risk["gradient_steps"] < risk["prior_mean"] < risk["pooled"]


def test_gradient_steps_go_from_the_prior_mean_to_least_squares(generator):
    designs = Designs.of(
        HBLR(2, 0.4, 0.7, 0.2), gaussian_designs((3, 6), 2, generator), gaussian_designs((9,), 2, generator)
    )
    none, many = gradient_steps(0, 1.0)(designs), gradient_steps(3000, 1.0)(designs)
    assert torch.equal(none.training, prior_mean(designs).training) and not none.novel.any()
    assert torch.allclose(many.novel, ESTIMATORS["least_squares"](designs).novel)


def test_what_cannot_be_estimated_is_refused(generator):
    """One row in two dimensions: no least squares alone; and a flat τ has no average."""
    designs = Designs.of(
        HBLR(2, 0.4, 0.7, 0.2), gaussian_designs((3, 6), 2, generator), gaussian_designs((1,), 2, generator)
    )
    with pytest.raises(ValueError, match="singular design"):
        ESTIMATORS["least_squares"](designs)
    with pytest.raises(ValueError, match="prior of τ is flat"):
        maximum_a_posteriori(designs).prior_risk()
    with pytest.raises(ValueError, match=r"M \+ 1 <= J is needed, got M = 3 and J = 2"):
        ridge(designs).packing_risk(Packing(torch.eye(2)))


def test_an_estimate_that_is_right_by_luck_beats_the_bound_at_its_theta_but_not_on_the_packing():
    """A constant has no error where it is right; only the average over the packing, or the worst case, is bounded."""
    identity = torch.eye(2).double()
    designs = Designs(HBLR(2, 0.1, 1.0, 1.0), 5 * identity.expand(2, 2, 2), identity)
    packing = hexagon(0.5)
    bound = packing_bound(packing, identity, 1.0, 5, 2, 1, radius=0.5)
    lucky = AffineEstimator(designs, 0 * identity, torch.zeros(2, 2, 2).double(), packing.points[3])
    assert lucky.risk(packing.points[[0, 1, 3]]) == 0 < bound.value
    assert lucky.packing_risk(packing) > bound.value


def test_rounding_on_ill_conditioned_monomials_is_far_below_the_noise_or_refused(generator):
    """d = 7, k = 8, condition numbers of X'X beyond 1e12: targets without noise give θ back, or an error says why."""
    agreed = 0
    for X in polynomial_designs((200, 8), 7, generator):
        theta = torch.tensor(PAPER_TAU).double()
        designs = Designs(HBLR(7, 0.1, 1.0, 1.0), zeros(1, 7, 7), gram(X))
        try:
            made = ESTIMATORS["least_squares"](designs)
        except ValueError:
            continue
        found = made.estimate(zeros(1, 7), X.mT @ (X @ theta))
        assert (found - theta).norm() < 1e-6 * made.variance().sqrt()  # what noise of σ = 1 would do
        agreed += 1
    assert agreed > 150
